"""`cnnpref sheet`: the sheets of a run, as its config wants them, and sheets of chosen units."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pypdfium2
import pytest
from calling import call, fail, succeed
from layers import files
from PIL import Image
from running import Project

SHEETS = Path("results/mine/sheets")


def text(path: str) -> str:
    return str(pypdfium2.PdfDocument(path)[0].get_textpage().get_text_range())


def test_pages_and_pdfs_are_drawn_checked_and_shown(finished: Project) -> None:
    config = {**finished.config, "sheets": {"units": 4, "pdf": True}}
    told = fail("check", config)
    assert "8 missing" in told  # 2 further pages of conv1, 4 PDFs; what says how they look
    succeed("sheet", config)
    assert [name for name in files(SHEETS) if not name.endswith(".json")] == [
        *("conv1+page2.png", "conv1.pdf", "conv1.png"),
        *("conv1/gd+page2.png", "conv1/gd.pdf", "conv1/gd.png"),
        *("fire=expand.pdf", "fire=expand.png", "fire=expand/gd.pdf", "fire=expand/gd.png"),
    ]
    for command in ("pages", "gallery", "share", "check"):
        succeed(command, config)
    (SHEETS / "conv1.pdf").write_bytes((SHEETS / "conv1.pdf").read_bytes()[:-20])
    assert call("check", config).stdout.startswith("damaged  results/mine/sheets/conv1.pdf: not a")
    assert "8 files" in call("clean", finished.config, "--dry-run").stdout


def test_transparency_is_a_matter_of_the_config_or_of_a_flag(finished: Project) -> None:
    sheet = SHEETS / "conv1" / "gd.png"
    modes = []
    for config, *flags in (
        ({**finished.config, "sheets": {"alpha": True}},),
        ({**finished.config, "sheets": {"alpha": True}}, "--no-alpha"),
        (finished.config, "--alpha"),
    ):
        succeed("sheet", config, *flags)
        with Image.open(sheet) as image:
            modes.append(image.mode)
    assert modes == ["RGBA", "RGB", "RGBA"]


def looks() -> list[str]:
    return [path.read_text() for path in SHEETS.glob("conv1/look-*.json")]


def test_a_file_whose_name_changes_says_how_all_sheets_of_a_layer_look(finished: Project) -> None:
    changed = {**finished.config, "sheets": {"under": ["rank"]}}
    plain = looks()
    assert len(plain) == 1
    assert "2 missing" in fail("check", changed)
    succeed("sheet", changed)
    assert looks() != plain
    assert len(looks()) == 1
    succeed("check", changed)
    succeed("sheet", changed, "--layer", "conv1", "--alpha")  # other than the config says
    assert looks() == []
    succeed("sheet", finished.config)
    assert looks() == plain


def test_a_sheet_of_chosen_units(finished: Project) -> None:
    before = {path: path.read_bytes() for path in SHEETS.rglob("*.png")}
    chosen = ("--layer", "conv1", "--units", "1,3-5", "--sort", "activation", "--top", "3")
    succeed("sheet", finished.config, *chosen, "--under", "activation,rank", "--out", "best.pdf")
    told = text("best.pdf")
    assert "3 of 6 units, by activation" in told
    shown = [float(word) for line in told.split("activation ")[2:] for word in line.split()[:1]]
    assert len(shown) == 3
    assert shown == sorted(shown, reverse=True)
    succeed("sheet", finished.config, *chosen, "--out", "folder/best.png")
    with Image.open("folder/best.png") as image:
        assert image.info["Layer"] == "conv1"
        assert np.asarray(image).std() > 0
    assert {path: path.read_bytes() for path in SHEETS.rglob("*.png")} == before


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--out", "a.png"], "a sheet is of one layer; choose it by --layer: conv1, fire/expand"),
        (["--layer", "conv1", "--out", "a.gif"], "--out: got 'a.gif'; give the name of a .png or"),
        (["--layer", "conv1", "--out", "a.png", "--units", "6"], "no unit 6 in the layer file"),
        (["--layer", "conv1", "--out", "a.png", "--units", "x"], "units: got 'x'; allowed: ranges"),
        (
            ["--layer", "conv1", "--out", "a.png", "--sort", "gain"],
            "no score 'gain': it could",
        ),
        (["--layer", "conv1", "--out", "a.png", "--method", "gt"], "no method 'gt'"),
    ],
)
def test_what_cannot_be_drawn_is_told(finished: Project, arguments: list[str], told: str) -> None:
    assert told in fail("sheet", finished.config, *arguments)
    assert not Path("a.png").exists()


def test_choosing_needs_a_file_to_draw_into(finished: Project) -> None:
    result = call("sheet", finished.config, "--top", "3")
    assert result.exit_code == 2
    assert "--units, --sort and --top go with --out FILE" in result.stderr
