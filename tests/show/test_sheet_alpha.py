"""Importance as transparency: the alpha of a sheet, read back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pypdfium2
import pytest
from layers import unit_result, write_layer
from PIL import Image

from cnnpref.planning.sheets import SheetOptions
from cnnpref.results.unit_file import UnitResult
from cnnpref.show.sheet import draw_sheet

ALPHA = SheetOptions(alpha=True)


def half_important(unit: int, method: str = "spectral") -> UnitResult:
    """A green unit, whose left half mattered."""
    result = unit_result(unit, size=16, method=method)
    image = np.broadcast_to(np.float32([20, 200, 60]), result.image.shape)
    importance = np.zeros(image.shape[:2], np.uint8)
    importance[:, :8] = 255
    return replace(result, image=image, image_best=image, importance=importance)


def drawn(folder: Path, *results: UnitResult, look: SheetOptions = ALPHA) -> Image.Image:
    path = folder / "sheet.png"
    draw_sheet(write_layer(folder, results), path, look=look)
    with Image.open(path) as image:
        image.load()
        return image


def test_pixels_that_did_not_matter_are_transparent(tmp_path: Path) -> None:
    image = drawn(tmp_path, half_important(0))
    assert image.mode == "RGBA"
    alpha = np.asarray(image)[..., 3]
    (rows,), (columns,) = (np.nonzero((alpha == 0).any(axis=axis)) for axis in (1, 0))
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert height > 96
    assert width == pytest.approx(height / 2, rel=0.1)
    tile = np.asarray(image)[rows[0] : rows[-1], columns[0] - width : columns[-1]]
    assert (np.abs(tile[..., :3].astype(int) - [20, 200, 60]).max(axis=2) <= 2).all()
    assert (alpha[: rows[0]] == 255).all()


def test_a_sheet_is_opaque_unless_asked_for_and_where_nothing_was_recorded(tmp_path: Path) -> None:
    assert drawn(tmp_path / "a", half_important(0), look=SheetOptions()).mode == "RGB"
    plain = replace(half_important(0, "gd"), importance=None)
    alone = drawn(tmp_path / "b", plain)
    assert alone.getextrema()[3] == (255, 255)
    beside = np.asarray(drawn(tmp_path / "c", half_important(0), plain))[..., 3]
    assert beside.min() == 0
    assert (beside[:, beside.shape[1] // 2 :] == 255).all()


def test_in_a_pdf_it_is_the_paper_that_shows_through(tmp_path: Path) -> None:
    path = write_layer(tmp_path, [half_important(0)])
    draw_sheet(path, tmp_path / "sheet.pdf", look=ALPHA)
    page = pypdfium2.PdfDocument(tmp_path / "sheet.pdf")[0].render(scale=2).to_pil()
    pixels = np.asarray(page.convert("RGB"), int)
    green = (np.abs(pixels - [20, 200, 60]).max(axis=2) < 12).sum()
    draw_sheet(path, tmp_path / "sheet.pdf")
    page = pypdfium2.PdfDocument(tmp_path / "sheet.pdf")[0].render(scale=2).to_pil()
    pixels = np.asarray(page.convert("RGB"), int)
    whole = (np.abs(pixels - [20, 200, 60]).max(axis=2) < 12).sum()
    assert green == pytest.approx(whole / 2, rel=0.1)
