"""What is said on contact sheets, by the text of their PDFs; and what their metadata say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import polars
import pypdfium2
import pytest
from layers import DIGEST, multiply, unit_result, write_layer
from PIL import Image

from cnnpref.errors import UserError
from cnnpref.planning.sheets import SheetOptions
from cnnpref.results.unit_file import UnitResult
from cnnpref.show.entries import Choice
from cnnpref.show.sheet import draw_sheet

LABELS = ["tench", "great white shark, a name that is wider than any tile of a sheet", "Grüße"]


def grey(unit: int, method: str = "gd", **attributes: Any) -> UnitResult:
    """A unit whose image is grey, so that what is coloured on a sheet is text."""
    result = unit_result(unit, method=method, **attributes)
    image = np.full_like(result.image, 128)
    return replace(result, image=image, image_best=image)


def layer(folder: Path, results: Sequence[UnitResult], labels: Sequence[str] = ()) -> Path:
    """A layer file, with a label for each row if there are any."""
    path = write_layer(folder, results)
    with h5py.File(path, "r+") as file:
        for group in file.values() if labels else ():
            group.create_dataset("label", data=list(labels), dtype=h5py.string_dtype())
    return path


def scores(folder: Path, **columns: list[float | None]) -> Path:
    """A file of scores of gd's units 0, 1, ..."""
    (count,) = {len(values) for values in columns.values()}
    same = {"layer": "conv1", "method": "gd", "key": DIGEST[:8], "seed": 5, "status": "ok"}
    table = polars.DataFrame({"unit": range(count), "label": [""] * count, **columns})
    path = folder / "scores.parquet"
    table.with_columns(**{k: polars.lit(v) for k, v in same.items()}).write_parquet(path)
    return path


def texts(path: Path, source: Path, **how: Any) -> list[str]:
    """What a PDF says, line by line, page after page."""
    draw_sheet(source, path / "sheet.pdf", **how)
    document = pypdfium2.PdfDocument(path / "sheet.pdf")
    pages = [page.get_textpage().get_text_range() for page in document]
    return [line.strip() for page in pages for line in page.splitlines()]


def test_labels_stand_below_numbers_as_far_as_there_is_room(tmp_path: Path) -> None:
    source = layer(tmp_path, [grey(unit) for unit in range(3)], LABELS)
    told = texts(tmp_path, source)
    assert told[3:6] == ["0", "tench", "1"]
    assert told[6].startswith("great white shark")
    assert told[6].endswith("…")
    assert told[7:9] == ["2", "Grüße"]
    assert "tench" not in texts(tmp_path, source, look=SheetOptions(under=()))


def test_scores_and_ranks_stand_there_on_request(tmp_path: Path) -> None:
    source = layer(tmp_path, [grey(unit) for unit in range(3)])
    table = scores(tmp_path, gain=[0.5, None, 12.25], keep=[0.25, 0.5, 0.75])
    look = SheetOptions(under=("gain", "rank", "keep"))
    told = texts(tmp_path, source, look=look, scores=table)
    words = " ".join(told[3:]).split()
    assert words[:6] == ["0", "#2", "gain", "0.5", "keep", "0.25"]
    assert words[6:9] == ["1", "keep", "0.5"]
    assert words[9:] == ["2", "#1", "gain", "12.2", "keep", "0.75"]


def test_without_a_file_of_scores_there_is_the_activation(tmp_path: Path) -> None:
    source = layer(tmp_path, [grey(unit) for unit in range(3)])
    look = SheetOptions(under=("activation", "rank"))
    told = " ".join(texts(tmp_path, source, look=look, scores=tmp_path / "none.parquet"))
    assert told.endswith("0 #3 activation 1.5 1 #2 activation 2.5 2 #1 activation 3.5")


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({}, r"no score 'gian': there is no file .*none\.parquet; without it, allowed: unit, lab"),
        ({"gain": [1.0]}, r"no score 'gian' \(did you mean 'gain'\?\); allowed: activation, gain"),
    ],
)
def test_an_unknown_score_is_told(tmp_path: Path, columns: dict[str, Any], told: str) -> None:
    source = layer(tmp_path, [grey(0)])
    table = scores(tmp_path, **columns) if columns else tmp_path / "none.parquet"
    for how in ({"choice": Choice(sort="gian")}, {"look": SheetOptions(under=("gian",))}):
        with pytest.raises(UserError, match=told):
            draw_sheet(source, tmp_path / "sheet.png", scores=table, **how)


def test_units_are_chosen_and_sorted(tmp_path: Path) -> None:
    source = layer(tmp_path, [grey(unit) for unit in range(5)], ["e", "D", "c", "B", "a"])
    table = scores(tmp_path, gain=[1, 5, None, 3, 4])

    def units(*choice: Any) -> list[str]:
        chosen = Choice(*choice)
        told = texts(tmp_path, source, choice=chosen, look=SheetOptions(under=()), scores=table)
        return " ".join(told[3:]).split()

    assert units() == ["0", "1", "2", "3", "4"]
    assert units({3, 1}) == ["1", "3"]
    assert units(None, "gain") == ["1", "4", "3", "0", "2"]
    assert units({0, 2, 3, 4}, "gain", 2) == ["4", "3"]
    assert units(None, "label", 3) == ["4", "3", "2"]
    assert units(None, "activation", 1) == ["4"]
    assert (
        "2 of 5 units, by gain"
        in texts(tmp_path, source, choice=Choice(None, "gain", 2), scores=table)[1]
    )
    with pytest.raises(UserError, match="no unit 7 in the layer file; it has 5 units"):
        units({3, 7})


def test_the_best_are_first_also_where_less_is_better(tmp_path: Path) -> None:
    table = scores(tmp_path, spectrum=[2.0, 0.5, 1], colour=[1.5, 0.2, 0.9], gain=[1.0, 3, 2])

    def order(score: str, **attributes: Any) -> list[str]:
        source = layer(tmp_path, [grey(unit, **attributes) for unit in range(3)])
        choice, look = Choice(sort=score), SheetOptions(under=())
        return " ".join(texts(tmp_path, source, choice=choice, look=look, scores=table)[3:]).split()

    assert order("spectrum") == ["1", "2", "0"]
    assert order("colour") == ["2", "0", "1"]
    assert order("activation") == ["2", "1", "0"]
    assert order("activation", sign=-1) == ["0", "1", "2"]
    assert order("gain", sign=-1) == ["1", "2", "0"]


def test_dead_units_say_why_and_have_no_score(tmp_path: Path) -> None:
    failed = [grey(1, status="zero-gradient"), grey(2, status="melted")]
    source = layer(tmp_path, [grey(0), *failed])
    told = texts(tmp_path, source, look=SheetOptions(under=("activation", "rank")))
    words = " ".join(told)
    assert "1 melted" in told[1]
    assert "0 #1 activation 1.5 no gradient 1 melted 2" in words


@pytest.mark.parametrize(
    ("methods", "told"),
    [
        (["gd"], "contrast stretched"),
        (["spectral"], None),
        (["spectral", "gd", "lbfgs"], "contrast stretched: gd, lbfgs"),
    ],
)
def test_it_is_said_where_contrast_was_stretched(
    tmp_path: Path, methods: list[str], told: str | None
) -> None:
    subtitle = texts(tmp_path, layer(tmp_path, [grey(0, method) for method in methods]))[1]
    found = [fact.strip() for fact in subtitle.split("·") if "contrast" in fact]
    assert found == ([told] if told else [])


def test_a_pdf_has_all_pages_with_text_and_pictures(tmp_path: Path) -> None:
    path = multiply(layer(tmp_path, [grey(0)]), 7)
    told = texts(tmp_path, path, look=SheetOptions(units=3))
    assert next(line for line in told if "page" in line).endswith("page 1 of 3")
    below = [line for line in told if "page" not in line]
    assert [word for word in " ".join(below).split() if word.isdigit()] == list("0123456")
    draw_sheet(path, tmp_path / "sheet.png", look=SheetOptions(units=3))
    page = pypdfium2.PdfDocument(tmp_path / "sheet.pdf")[1]
    with Image.open(tmp_path / "sheet+page2.png") as png:
        shown = page.render(scale=150 / 72).to_pil().convert("RGB").resize(png.size)
        difference = np.abs(np.asarray(shown, int) - np.asarray(png, int))
    assert difference.mean() < 2
    assert {round(n * 150 / 72) for n in page.get_size()} == set(png.size)


def test_metadata_tell_where_a_sheet_comes_from(tmp_path: Path) -> None:
    source = layer(tmp_path, [grey(unit) for unit in (0, 1, 7)])
    draw_sheet(source, tmp_path / "sheet.png", "gd")
    with Image.open(tmp_path / "sheet.png") as image:
        told = dict(image.info)
    assert [round(n) for n in told["dpi"]] == [150, 150]
    wanted = {"Net": "tiny", "Layer": "conv1", "Methods and keys": f"gd-{DIGEST[:8]}"}
    wanted |= {"Units": "0-1,7", "Position": "center"}
    assert told.items() >= wanted.items()
    assert told["Software"].startswith("cnnpref ")
    assert "ab" * 32 in told["SHA-256"]
    draw_sheet(source, tmp_path / "sheet.pdf", "gd")
    about = pypdfium2.PdfDocument(tmp_path / "sheet.pdf").get_metadata_dict()
    assert about["Title"] == "conv1: gd"
    assert all(f"{name}: {value}" in about["Subject"] for name, value in wanted.items())


def test_labels_may_hold_anything(tmp_path: Path) -> None:
    source = layer(tmp_path, [grey(0)], ["日本 <i> \U0001f600 \u05d0\u200b"])
    told = texts(tmp_path, source)
    assert told[3] == "0"
    assert "<i>" in told[4]
