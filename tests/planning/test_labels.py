"""Labels of units: where they come from, which layers they name, and units chosen by them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from planning import description, message, plan

from cnnpref.nets import NetDescription

pytestmark = pytest.mark.usefixtures("in_tmp_path")

NET = description(
    {
        **{"conv1": (4, 9, 9), "relu1": (4, 9, 9), "fc7": (6,), "fc8": (4,), "scaled": (4,)},
        **{"prob": (4,), "sum": (), "aux": (3,)},
    },
    weights={"conv1": 10, "fc7": 10, "fc8": 10, "aux": 10},
)
PETS = ["tench, Tinca tinca", "Zebra", "crane", "zebra finch"]


def labels(net: NetDescription = NET, **config: Any) -> dict[str, tuple[str, ...]]:
    """Those of every layer that has any."""
    made = plan(net, **{"layers": "all", **config})
    return {series.layer: series.labels for series in made.series if series.labels}


def chosen(spec: Any, names: list[str] | None = None) -> tuple[int, ...]:
    wanted = {"fc8": {"units": spec}}
    return plan(NET, labels=PETS if names is None else names, layers=wanted).series[0].units


def refused(**config: Any) -> str:
    return message(NET, **{"layers": "all", **config})


def test_they_name_the_last_layer_of_so_many_units_and_what_leads_to_it() -> None:
    assert labels(labels=PETS) == dict.fromkeys(("fc8", "scaled", "prob"), tuple(PETS))
    assert list(labels(labels=["a"] * 6)) == ["fc7"]


def test_a_layer_may_have_labels_of_its_own() -> None:
    own = list("wxyz")
    found = labels(labels=PETS, layers={"conv1": {"labels": own}, "fc8": None, "prob": {}})
    assert found == {"conv1": tuple(own), "fc8": tuple(PETS), "prob": tuple(PETS)}


def test_the_metadata_of_the_weights_stand_in() -> None:
    told = replace(NET, labels=tuple(PETS))
    assert labels(told)["prob"] == tuple(PETS)
    assert labels(told, labels=list("wxyz"))["prob"] == tuple("wxyz")
    assert labels(replace(NET, labels=("one", "too", "many", "of", "them"))) == {}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (b"a\nb\nc\nd", ("a", "b", "c", "d")),
        (b"\xef\xbb\xbfa\r\n b \r\n\r\nd\r\n\r\n\n", ("a", "b", "", "d")),
        (b"n01440764 tench, Tinca tinca\n" * 4, ("tench, Tinca tinca",) * 4),
        (b"n01440764\ttench\nb\nc\nd", ("n01440764 tench", "b", "c", "d")),
        ("<b>\n\"'\n🐟 fish\n金魚\u2028x".encode(), ("<b>", "\"'", "🐟 fish", "金魚 x")),
        (b"a\0b\n\x1b[31m\nc\nd", ("a b", "[31m", "c", "d")),
    ],
)
def test_a_text_file_has_one_in_each_line(written: bytes, read: tuple[str, ...]) -> None:
    Path("names.txt").write_bytes(written)
    assert labels(labels="names.txt")["fc8"] == read


def test_what_no_line_can_hold_is_left_out_of_a_list() -> None:
    assert labels(labels=["a\nb", "\ud800c", "", "\t"])["fc8"] == ("a b", "c", "", "")


def test_paths_are_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAMES", str(tmp_path))
    Path("names.txt").write_text("a\nb\nc\nd\n")
    made = plan(NET, labels="${NAMES}/names.txt", layers={"conv1": {"labels": "$NAMES/names.txt"}})
    assert made.series[0].labels == tuple("abcd")
    assert made.label_files("conv1") == [str(tmp_path / "names.txt")]


def test_images_and_folders_do_not_depend_on_them() -> None:
    layers = {"fc8": {"units": [0, 2]}}
    without = plan(NET, layers=layers).series[0]
    labelled = plan(NET, labels=PETS, layers={"fc8": {"units": ["tench", 2], "labels": PETS}})
    assert labelled.series[0].path(2) == without.path(2)
    assert labelled.series[0].digest == without.digest


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (["crane", "tench"], (0, 2)),
        ([3, "CRANE", "crane", 0], (0, 2, 3)),
        ("Tinca  Tinca", (0,)),
        ("tench, Tinca tinca", (0,)),
        ("zebra", (1,)),
    ],
)
def test_units_by_label(spec: Any, expected: tuple[int, ...]) -> None:
    assert chosen(spec) == expected


def test_numbers_as_labels_are_labels_in_a_list_and_ranges_as_a_text() -> None:
    digits = ["3", "2", "1", "0"]
    assert chosen(["3", 1], digits) == (0, 1)
    assert chosen("3", digits) == (3,)


def test_a_whole_label_goes_before_one_of_several_names() -> None:
    assert chosen("maillot", ["maillot, tank suit", "maillot", "x", "y"]) == (1,)


@pytest.mark.parametrize(
    ("config", "part"),
    [
        ({"labels": PETS[:3] + ["e"] * 4}, "labels: got 7, and no layer has so many units"),
        ({"labels": "names.txt"}, "labels: got 5 of names.txt, and no layer has so many units"),
        ({"labels": "absent.txt"}, "labels: absent.txt cannot be read: No such file"),
        ({"labels": "."}, "cannot be read: Is a directory"),
        ({"labels": "latin.txt"}, "latin.txt is not UTF-8 text (byte 3)"),
        ({"labels": "empty.txt"}, "labels: got 0 of empty.txt"),
        ({"labels": []}, "labels: got []; allowed: the path of a text file"),
        ({"labels": ["a", True, "c", "d"]}, "in quotes where YAML"),
        ({"labels": ["x" * 20_000] * 4}, "put the labels into a text file"),
        ({"labels": "$UNSET/a.txt"}, "labels: the environment variable UNSET is not set"),
        ({"layers": {"conv1": {"labels": ["a"]}}}, "layers.conv1.labels: got 1; 'conv1' has 4"),
        ({"layers": {"conv1": {"units": ["a"]}}}, "units: got 'a', and 'conv1' has no labels"),
        (
            {"labels": PETS, "layers": {"fc8": {"units": ["tensh"]}}},
            "units: got 'tensh', which is no label of 'fc8' (did you mean 'tench'?)",
        ),
        ({"labels": PETS, "layers": {"fc8": {"units": ["0-1"]}}}, "ranges are one text"),
        ({"labels": PETS, "layers": {"fc8": {"units": [" "]}}}, "no label of 'fc8'"),
        (
            {"labels": ["a", "b", "A", "a, b"], "layers": {"fc8": {"units": ["a"]}}},
            "the label of several units: 0 (a), 2 (A); give the number",
        ),
        (
            {"labels": ["a, x", "b", "c", "d, x"], "layers": {"fc8": {"units": "x"}}},
            "the label of several units: 0 (a, x), 3 (d, x)",
        ),
    ],
)
def test_refusals(config: dict[str, Any], part: str) -> None:
    Path("names.txt").write_text("a\n" * 5)
    Path("latin.txt").write_bytes("caf\xe9\n".encode("latin-1"))
    Path("empty.txt").write_text("\n\n")
    assert part in refused(**config)
