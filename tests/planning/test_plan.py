"""From a config to the list of jobs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from basics import refusal
from hypothesis import given
from hypothesis import strategies as st
from planning import BASE, NET, description, message, plan

from cnnpref.errors import UserError
from cnnpref.methods import resolve
from cnnpref.planning.batches import batches
from cnnpref.planning.config import resolve_config
from cnnpref.planning.files import GENERATE, INDEX, LAYER, METHOD_SHEET
from cnnpref.planning.plan import make_plan
from cnnpref.planning.selection import format_ranges, parse_ranges
from cnnpref.planning.series import escape, unescape


def units(spec: Any, layer: str = "conv1") -> list[int]:
    (series,) = plan(layers={layer: {"units": spec}}).series
    return list(series.units)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("all", list(range(16))),
        (3, [3]),
        ([5, 0, 5], [0, 5]),
        ("0-2,7", [0, 1, 2, 7]),
        ("7, 0-1", [0, 1, 7]),
        ({"every": 5}, [0, 5, 10, 15]),
        ({"count": 4}, [0, 4, 8, 12]),
        ({"count": 16}, list(range(16))),
    ],
)
def test_units(spec: Any, expected: list[int]) -> None:
    assert units(spec) == expected


@given(st.integers(1, 300), st.integers(1, 300))
def test_count_is_exact_and_evenly_spaced(number: int, total: int) -> None:
    net = description({"fc": (total,)})
    config = resolve_config({**BASE, "layers": {"fc": {"units": {"count": number}}}}, "x")
    if number > total:
        with pytest.raises(UserError, match=f"got count {number}; 'fc' has {total} units"):
            make_plan(config, lambda _: net)
        return
    (series,) = make_plan(config, lambda _: net).series
    steps = {b - a for a, b in zip(series.units, series.units[1:], strict=False)}
    assert len(series.units) == number
    assert steps <= {total // number, -(-total // number)}


@given(st.sets(st.integers(0, 200), min_size=1))
def test_ranges_there_and_back(chosen: set[int]) -> None:
    text = format_ranges(sorted(chosen))
    assert {u for a, b in parse_ranges(text) for u in range(a, b + 1)} == chosen


@pytest.mark.parametrize(
    ("spec", "part"),
    [
        (16, "layers.conv1.units: got 16; allowed: 0-15, for 'conv1' has 16 units"),
        ([1, 99], "got 99; allowed: 0-15"),
        ("3-40", "got 3-40; allowed: 0-15"),
        ("5-3", "got 5-3; allowed: 0-15"),
        ("0-99999999999999", "allowed: 0-15"),
        ({"count": 17}, "got count 17"),
        ({"every": 0}, "layers.conv1.units: got {'every': 0}; allowed: 'all', a list"),
        ("some", "units: got 'some', and 'conv1' has no labels; allowed: 'all', numbers"),
        ([-1], "layers.conv1.units: got [-1]; allowed"),
        ([], "layers.conv1.units: got []; allowed"),
        (True, "layers.conv1.units: got True; allowed"),
    ],
)
def test_bad_units(spec: Any, part: str) -> None:
    assert part in message(layers={"conv1": {"units": spec}})


def test_more_units_than_anybody_can_handle_are_refused_before_they_are_counted_out() -> None:
    wide = description({"fc": (2_147_483_647,)})
    for spec in ("all", "0-2147483646", {"every": 1}, {"count": 2_000_000_000}):
        assert "a run has at most 10,000,000 unit files: choose some" in message(
            wide, layers={"fc": {"units": spec}}
        )
    assert batches(plan(wide, layers={"fc": {"units": "2147483640-2147483646"}}))
    assert "seeds: got 2147483647; allowed: a whole number" in message(seeds=2_147_483_647)
    many = {"layers": {"fc": {"units": "0-9999"}}, "seeds": 1001, "methods": ["gd", "lbfgs"]}
    assert message(wide, **many) == (
        "config: 10,000 units, 2 methods and 1,001 seeds make 20,020,000 unit files; a run has at"
        " most 10,000,000: choose fewer units, methods or seeds, or make several runs"
    )


def test_all_layers_are_those_with_units() -> None:
    assert plan(layers="all").layers == ("conv1", "fire/expand3x3", "fc6")


FOREIGN = replace(
    NET, refused={f"rcnn{i}": "unknown type 'Python'" for i in range(9)}
)  # a net with layers that cannot be computed


def test_all_layers_leave_out_in_one_line_those_that_cannot_be_computed() -> None:
    with pytest.warns(UserWarning, match="^layers: all leaves out .* rcnn4 and 4 more;") as told:
        made = plan(FOREIGN, layers="all")
    assert len(told) == 1
    assert made.layers == plan(layers="all").layers


def test_a_layer_that_cannot_be_computed_is_refused_with_its_reason() -> None:
    plan(FOREIGN, layers={"conv1": {}})
    told = message(FOREIGN, layers={"rcnn3": {}})
    assert "layers: 'rcnn3' of a.prototxt cannot be computed: unknown type 'Python'" in told


def test_a_number_may_name_a_layer() -> None:
    net = description({"1": (4,)})
    assert plan(net, layers=yaml.safe_load("{1: {units: 2}}")).layers == ("1",)


def test_presets_go_by_the_kind_of_layer() -> None:
    wanted: dict[str, Any] = {
        "conv1": {},
        "fire/expand3x3": {"position": "all"},
        "fc6": {"preset": "lower"},
    }
    jitter = {s.layer: s.options.jitter_size for s in plan(layers=wanted).series}
    assert jitter == {"conv1": 4, "fire/expand3x3": 32, "fc6": 4}


def test_a_layers_options_go_before_the_methods() -> None:
    made = plan(
        layers={"conv1": {"options": {"gd": {"iter_n": 7}}}, "fc6": {}},
        options={"gd": {"iter_n": 9, "lr_start": 3}},
    )
    chosen = {s.layer: (s.options.iter_n, s.options.lr_start) for s in made.series}
    assert chosen == {"conv1": (7, 3.0), "fc6": (9, 3.0)}


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"options": {"gd": {"iter_n": 199}}},
        {"layers": {"conv1": {"position": [0, 0]}}},
        {"layers": {"conv1": {"position": "all", "preset": "lower"}}},
        {"layers": {"conv1": {"preset": "higher"}}},
        {"net": {**BASE["net"], "mean": [1, 2, 3]}},  # type: ignore[dict-item]
    ],
)
def test_what_changes_the_images_changes_the_folder(change: dict[str, Any]) -> None:
    before, after = plan().series[0], plan(**change).series[0]
    assert before.digest != after.digest
    assert before.folder != after.folder
    assert before.folder.parent == after.folder.parent


def test_a_generator_matters_to_the_methods_that_use_it() -> None:
    made = [
        plan(methods=["gd", "dgn_gd"], generator={**BASE["net"], "upper": upper}).series
        for upper in (100, 200)
    ]
    (gd, dgn), (same_gd, other_dgn) = made
    assert gd.folder == same_gd.folder
    assert dgn.folder != other_dgn.folder


def test_whole_numbers_may_be_written_with_a_point() -> None:
    made = plan(batch=8.0, seed=2.0, layers={"conv1": {"units": {"count": 8.0}}})
    assert [len(batch.units) for batch in batches(made)] == [8]
    assert made.series == plan(seed=2, layers={"conv1": {"units": {"count": 8}}}).series


def test_other_weights_change_the_folder() -> None:
    other = description(NET.layers, **{**NET.sha256, "caffemodel": "cc"})
    assert plan().series[0].folder != plan(other).series[0].folder


@pytest.mark.parametrize(
    "change",
    [
        {"batch": 1},
        {"layers": {"conv1": {"units": [3]}, "fc6": {}}},
        {"net": {"prototxt": "elsewhere", "caffemodel": "too"}},
        {"options": {"gd": {"iter_n": 200}}},  # what the preset says
        {"layers": {"conv1": {"preset": "lower", "position": "center"}}},
    ],
)
def test_what_leaves_the_images_alone_leaves_the_folder(change: dict[str, Any]) -> None:
    assert plan().series[0].folder == plan(**change).series[0].folder


def test_paths() -> None:
    made = plan(layers={"fire/expand3x3": {}}, results="out")
    (series,) = made.series
    assert series.path(7) == Path(f"out/r/units/fire=expand3x3/gd-{series.digest[:8]}/7.h5")
    assert made.path(LAYER, series.layer) == Path("out/r/layers/fire=expand3x3.h5")
    assert made.path(METHOD_SHEET, series.layer, "gd") == Path("out/r/sheets/fire=expand3x3/gd.png")
    assert made.path(INDEX) == Path("out/r/index.html")


@given(st.integers(1, 40))
def test_batches_hold_every_unit_once(size: int) -> None:
    made = plan(layers={"conv1": {"units": {"every": 2}}, "fc6": {}}, batch=size)
    found = batches(made)
    assert all(0 < len(batch.units) <= size for batch in found)
    assert len({batch.identifier for batch in found}) == len(found)
    logs = {GENERATE.log.format(**batch.fields) for batch in found}
    assert len(logs) == len(found)
    paths = [path for batch in found for path in batch.paths()]
    assert paths == [path for series in made.series for path in series.paths()]


@given(st.text(st.characters(codec="utf-8"), min_size=1))
def test_escape_is_reversible_and_safe(layer: str) -> None:
    name = escape(layer)
    assert unescape(name) == layer
    assert not set(name) & set("/{}* \\")
    assert name not in (".", "..")


def test_readable_names_stay_readable() -> None:
    assert escape("fire5/expand3x3_1.b") == "fire5=expand3x3_1.b"


def test_select_names_what_the_config_has() -> None:
    with pytest.raises(UserError, match=r"no layer 'conv' \(did you mean 'conv1'"):
        plan().select("conv")


def test_tens_of_thousands_of_units_expand() -> None:
    net = description({f"layer{i}": (1000, 3, 3) for i in range(42)})
    made = plan(net, layers="all", batch=64)
    paths = [path for batch in batches(made) for path in batch.paths()]
    assert len(set(paths)) == 42_000


def test_a_preset_is_for_the_methods_that_have_it() -> None:
    """The others keep their default."""
    layers = {"conv1": {"preset": "reference"}}
    methods = ["spectral", "gd"]
    with_it, without = (
        {each.method: each for each in plan(layers=wanted, methods=methods).series}
        for wanted in (layers, {"conv1": {}})
    )
    assert with_it["gd"].options == resolve("gd", "reference") != without["gd"].options
    assert with_it["spectral"].digest == without["spectral"].digest
    told = refusal(plan, layers=layers, methods=["spectral"])
    assert "layers.conv1.preset: no method of spectral has the preset 'reference'" in told
    assert told.endswith("known are: lower, higher")
