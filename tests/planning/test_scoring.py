"""Which unit is which class of a judge, and what a config says of scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from basics import refusal
from planning import BASE, description

from cnnpref.nets import NetDescription
from cnnpref.planning.config import resolve_config
from cnnpref.planning.plan import Plan, make_plan
from cnnpref.planning.scoring import Scoring

NET = description({"conv1": (5, 9, 9), "conv2": (4, 7, 7), "fc": (4,)}, caffemodel="aa")
JUDGE = {"zoo": "alexnet"}
LABELS = ["tench, Tinca tinca", "goldfish", "crane", "crane"]


def plan(judge: NetDescription, own: NetDescription = NET, /, **config: Any) -> Plan:
    told = resolve_config({**BASE, "layers": {"conv2": {}, "fc": {}}, **config}, "stem")

    def describe(section: Mapping[str, Any]) -> NetDescription:
        return own if section == told["net"] else judge

    return make_plan(told, describe)


def scoring(judge: NetDescription, /, **config: Any) -> Scoring:
    return plan(judge, **config).scoring


def classes(judge: NetDescription, /, **config: Any) -> dict[str, dict[int, int]]:
    found = scoring(judge, **config).judge
    assert found
    return dict(found.classes)


def labelled(count: int, *labels: str) -> NetDescription:
    layers = {"hidden": (9,), "out": (count,)}
    known = description(layers)
    return NetDescription(known.layers, (3, 32, 32), {}, {}, known.maps, labels=labels)


def test_as_many_classes_as_units_are_the_same_in_the_last_such_layer() -> None:
    assert classes(labelled(4), judge=JUDGE) == {"fc": {0: 0, 1: 1, 2: 2, 3: 3}}


def test_other_numbers_of_classes_go_by_labels() -> None:
    judge = labelled(3, "Goldfish", "heron", "tench")
    named = {"layers": {"fc": {"labels": LABELS}}}
    assert classes(judge, judge=JUDGE, **named) == {"fc": {0: 2, 1: 0}}


def test_the_same_labels_in_another_order_go_by_labels() -> None:
    judge = labelled(4, "d", "c", "b", "a")
    named = {"layers": {"fc": {"labels": ["a", "b", "c", "d"]}}}
    assert classes(judge, judge=JUDGE, **named) == {"fc": {0: 3, 1: 2, 2: 1, 3: 0}}
    twice = labelled(4, "d", "d", "b", "a")
    assert classes(twice, judge=JUDGE, **named) == {"fc": {0: 0, 1: 1, 2: 2, 3: 3}}


def test_classes_are_given_by_number_or_label() -> None:
    given = {"zoo": "alexnet", "classes": {0: 6, "goldfish": "heron"}, "layer": "hidden"}
    named = {**given, "labels": [*"abcdefgh", "heron"]}
    layers = {"fc": {"labels": LABELS}}
    assert classes(labelled(3), judge=named, layers=layers) == {"fc": {0: 6, 1: 8}}


@pytest.mark.parametrize(
    ("judge", "config", "named"),
    [
        (labelled(3), {}, ("'out' has 3 classes", "'fc' has 4 units", "judge.classes")),
        (labelled(3, "x", "y", "z"), {"labels": LABELS}, ("'out' has 3", "nor by labels")),
        (labelled(3), {"judge": {**JUDGE, "layer": "ot"}}, ("'ot'", "did you mean 'out'")),
        (labelled(3), {"judge": {**JUDGE, "classes": {7: 1}}}, ("unit '7'", "0 to 3")),
        (labelled(3), {"judge": {**JUDGE, "classes": {1: 3}}}, ("class 3", "0 to 2")),
        (labelled(3), {"judge": {**JUDGE, "labels": ["a"]}}, ("judge.labels", "3 classes")),
        (labelled(3), {"judge": {**JUDGE, "lyaer": "out"}}, ("'lyaer'", "did you mean 'layer'")),
    ],
)
def test_what_cannot_be_told_is_refused(
    judge: NetDescription, config: dict[str, Any], named: tuple[str, ...]
) -> None:
    message = refusal(plan, judge, **{"judge": JUDGE, **config})
    assert all(each in message for each in named), message


def test_a_net_held_out_must_have_the_layers_and_units() -> None:
    assert "evaluate.0: this net has no layer 'conv2'" in refusal(
        plan, labelled(3), evaluate=[JUDGE]
    )
    fewer = description({"conv2": (3, 7, 7), "fc": (4,)})
    assert "'conv2' has the shape (4, 7, 7)" in refusal(plan, fewer, evaluate=[JUDGE])
    small = description({"conv2": (4, 3, 3), "fc": (4,)})
    told = {"layers": {"conv2": {"position": [5, 5]}}}
    assert "without the position" in refusal(plan, small, evaluate=[JUDGE], **told)
    assert len(scoring(small, evaluate=[JUDGE]).held_out) == 1


def test_the_key_is_that_of_all_that_scores() -> None:
    told = [
        scoring(NET),
        scoring(labelled(4), judge=JUDGE),
        scoring(labelled(4), judge={**JUDGE, "classes": {0: 1}}),
        scoring(NET, evaluate=[JUDGE]),
        scoring(description(NET.layers, caffemodel="bb"), evaluate=[JUDGE]),
    ]
    assert len({each.key for each in told}) == 5
    assert plan(NET).series[0].digest == plan(NET, evaluate=[JUDGE]).series[0].digest
