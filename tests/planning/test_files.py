"""The files of a run: which there are, and what each is made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from places import ROOT
from planning import plan

from cnnpref.planning.files import INDEX, KINDS, LAYER, METHOD_SHEET, PAGE, UNIT, Kind
from cnnpref.planning.plan import Plan


@pytest.fixture
def made(tmp_path: Path) -> Plan:
    """A plan of two layers by two methods, with two seeds and reference images."""
    layers = {"conv1": {"units": "0-2"}, "fire/expand3x3": {"units": 7}}
    np.save(tmp_path / "images.npy", np.zeros((2, 4, 4, 3), np.uint8))
    images = str(tmp_path / "images.npy")
    return plan(layers=layers, methods=["gd", "lbfgs"], seeds=2, references=images)


def test_without_reference_images_no_file_is_about_them() -> None:
    assert not [file for file in plan().files() if "references" in file.path.parts]


def test_every_kind_has_as_many_files_as_it_has_values(made: Plan) -> None:
    files = list(made.files())
    assert len({file.path for file in files}) == len(files)
    counts = {kind: sum(file.kind == kind for file in files) for kind in KINDS}
    assert counts[UNIT] == 4 * (3 + 1)
    assert counts[METHOD_SHEET] == 2 * 4
    assert {counts[kind] for kind in KINDS if "{name}" not in kind.path and kind != UNIT} == {1, 2}
    assert counts[INDEX] == 1


def test_files_are_made_of_files_before_them(made: Plan) -> None:
    before: set[Path] = set()
    for file in made.files():
        assert before.issuperset(file.made_of)
        before.add(file.path)


def test_files_of_a_layer_are_made_of_files_of_that_layer(made: Plan) -> None:
    by_path = {file.path: file for file in made.files()}
    data = by_path[made.path(LAYER, "conv1")]
    assert list(data.made_of) == [p for s in made.select("conv1") for p in s.paths()]
    sheet = by_path[made.path(METHOD_SHEET, "conv1", "lbfgs-seed1")]
    assert sheet.made_of == (data.path,)
    assert sheet.layer == "conv1"
    assert sheet.series in made.select("conv1", "lbfgs-seed1")


def test_the_gallery_is_made_of_all_layers(made: Plan) -> None:
    by_path = {file.path: file for file in made.files()}
    page = by_path[made.path(PAGE, "conv1")]
    assert page.made_of == by_path[made.path(INDEX)].made_of
    assert {by_path[path].layer for path in page.made_of} == set(made.layers)
    assert not any(by_path[path].kind == UNIT for path in page.made_of)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.path)
def test_the_readme_tells_where_a_file_is(kind: Kind) -> None:
    """By its path, or by its folder in place of all that is in it."""
    readme = (ROOT / "workflow" / "README.md").read_text()
    path = kind.path.replace("{name}", "<method>").replace("{", "<").replace("}", ">")
    assert f"`{path}`" in readme or f"`{path.partition('/')[0]}/`" in readme
