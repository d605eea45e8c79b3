"""The files of a run: which there are, and what each is made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from places import ROOT
from planning import plan

from cnnpref.planning.files import (
    ALIKE,
    INDEX,
    KINDS,
    LAYER,
    LOOK,
    METHOD_SHEET,
    PAGE,
    PAGES,
    REFERENCE,
    SCORES,
    UNIT,
    Kind,
)
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
    others = [kind for kind in KINDS if "{name}" not in kind.path and kind != UNIT]
    assert {counts[kind] for kind in others if not kind.on_request} == {1, 2}
    assert counts[INDEX] == 1
    assert {counts[kind] for kind in KINDS if kind.on_request} == {0}


def test_sheets_have_pages_and_pdfs_as_the_config_says() -> None:
    layers = {"conv1": {}, "fire/expand3x3": {"units": "0-4"}}  # 16 and 5 units
    sheets = {"units": 6, "pdf": True}
    made = plan(layers=layers, methods=["gd", "lbfgs"], sheets=sheets)
    names = [str(file.path.relative_to(made.folder)) for file in made.files()]
    found = sorted(n for n in names if n.startswith("sheets/fire=expand3x3") and n[-5:] != ".json")
    assert found == [
        "sheets/fire=expand3x3+page2.png",  # 3 units of two methods to a page
        "sheets/fire=expand3x3.pdf",
        "sheets/fire=expand3x3.png",
        *(
            f"sheets/fire=expand3x3/{name}.{kind}"
            for name in ("gd", "lbfgs")
            for kind in ("pdf", "png")
        ),
    ]
    assert sum(name.startswith("sheets/conv1+page") for name in names) == 5
    assert sum(name.startswith("sheets/conv1/gd+page") for name in names) == 2
    sheet = made.path(METHOD_SHEET, "conv1", "gd", page=2)
    assert sheet.name == "gd+page2.png"
    by_path = {file.path: file for file in made.files()}
    assert by_path[sheet].made_of == (made.path(LAYER, "conv1"), made.path(SCORES, "conv1"))
    look, other = (
        plan(layers=layers, sheets={"units": 6, **more}).path(LOOK, "conv1")
        for more in ({"pdf": True}, {"under": ["rank"]})
    )
    assert look == made.path(LOOK, "conv1") != other  # so that all are drawn anew


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
    assert sheet.made_of == (data.path, made.path(SCORES, "conv1"))
    assert sheet.layer == "conv1"
    assert sheet.series in made.select("conv1", "lbfgs-seed1")


def test_pages_are_made_of_their_layer_and_the_index_of_all_pages(made: Plan) -> None:
    by_path = {file.path: file for file in made.files()}
    page, index = by_path[made.path(PAGE, "conv1")], by_path[made.path(INDEX)]
    kinds = LAYER, REFERENCE, SCORES, ALIKE
    assert page.made_of == tuple(made.path(kind, "conv1") for kind in kinds)
    assert set(index.made_of) == {
        path for layer in made.layers for kind in PAGES.makes for path in made.paths([kind], layer)
    }


def test_the_pages_of_units_are_known_but_not_to_snakemake(made: Plan) -> None:
    left = set(made.left())
    assert made.folder / "units" / "conv1" / "2.html" in left
    assert made.select("conv1", "gd")[0].path(2).with_suffix(".png") in left
    assert left.isdisjoint(file.path for file in made.files())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.path)
def test_the_readme_tells_where_a_file_is(kind: Kind) -> None:
    """By its path, or by its folder in place of all that is in it."""
    readme = (ROOT / "workflow" / "README.md").read_text()
    path = kind.path.replace("{name}", "<method>").replace("{page}", "")
    path = path.replace("{", "<").replace("}", ">")
    assert f"`{path}`" in readme or f"`{path.partition('/')[0]}/`" in readme
