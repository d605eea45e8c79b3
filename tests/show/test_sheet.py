"""Contact sheets: read back, tile by tile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from layers import growth, multiply, unit_result, write_layer, write_units
from PIL import Image
from scipy.ndimage import find_objects, label

from cnnpref.errors import UserError
from cnnpref.geometry import Box
from cnnpref.planning.sheets import SheetOptions, page_mark
from cnnpref.results.collecting import collect
from cnnpref.results.unit_file import UnitResult
from cnnpref.show.sheet import draw_sheet

Pixels = npt.NDArray[np.int64]

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
BLANK, ALARM = (227, 227, 232), (179, 38, 30)


def painted(unit: int, colour: Sequence[int] = RED, size: int = 8, **attributes: Any) -> UnitResult:
    """A unit whose image is of one colour, dim enough to show whether it was stretched."""
    result = unit_result(unit, size, **attributes)
    image = np.broadcast_to(np.float32(colour) / 10 + 100, (size, size, 3))
    return replace(result, image=image, image_best=np.zeros_like(image))


def read(path: Path) -> Pixels:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"), int)


def find(pixels: Pixels, colour: Sequence[int]) -> list[Box]:
    """The boxes of the patches of a colour, in reading order."""
    patches, _ = label((np.abs(pixels - colour) <= 2).all(axis=2))
    boxes = [(y.start, x.start, y.stop, x.stop) for y, x in find_objects(patches)]
    return sorted(box for box in boxes if box[2] - box[0] > 3 and box[3] - box[1] > 3)


def corners(pixels: Pixels, colour: Sequence[int]) -> int:
    """How many upper left corners of that colour there are: one for each tile."""
    inside = np.pad((pixels == colour).all(axis=2), ((1, 0), (1, 0)))
    return int((inside[1:, 1:] & ~inside[:-1, 1:] & ~inside[1:, :-1]).sum())


def only_tile(pixels: Pixels) -> Pixels:
    """The only tile of a sheet, found as what is neither grey nor white."""
    coloured = np.ptp(pixels, axis=2) > 40
    rows, columns = coloured.any(axis=1).nonzero()[0], coloured.any(axis=0).nonzero()[0]
    return pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def draw(folder: Path, *results: UnitResult) -> Pixels:
    """The sheet of all methods of these units."""
    draw_sheet(write_layer(folder, results), folder / "sheet.png")
    return read(folder / "sheet.png")


def test_every_unit_has_a_square_tile_of_one_size_on_a_grid(tmp_path: Path) -> None:
    path = write_layer(tmp_path, [painted(unit) for unit in range(12)])
    draw_sheet(path, tmp_path / "sheets" / "conv1" / "gd.png", "gd")
    boxes = find(read(tmp_path / "sheets" / "conv1" / "gd.png"), RED)
    assert len(boxes) == 12
    assert len({right - left for _, left, _, right in boxes}) == 1
    assert all(bottom - top == right - left for top, left, bottom, right in boxes)
    tops, lefts = {box[0] for box in boxes}, {box[1] for box in boxes}
    assert len(tops) * len(lefts) == 12


def test_the_last_iterate_is_shown_not_the_best(tmp_path: Path) -> None:
    image, best = painted(0, GREEN).image, painted(0, RED).image
    pixels = draw(tmp_path, replace(painted(0), image=image, image_best=best))
    assert len(find(pixels, GREEN)) == 1
    assert not find(pixels, RED)


def test_a_small_receptive_field_fills_its_tile(tmp_path: Path) -> None:
    result = painted(0, GREEN, size=227, receptive_field=(100, 60, 111, 71))
    image = np.array(result.image)
    image[100:111, 60:71] = np.float32(RED) / 10 + 100
    tile = only_tile(draw(tmp_path, replace(result, image=image)))
    assert tile.shape[0] > 100
    red = (tile[..., 0] > tile[..., 1]).mean()
    assert 0.3 < red < 0.7  # 11 x 11 pixels and a little of what is around them


@pytest.mark.parametrize("field", [(0, 0, 5, 5), (35, 35, 40, 40), (0, 0, 0, 0)])
def test_fields_at_the_border_and_empty_ones_are_drawn(tmp_path: Path, field: Box) -> None:
    assert len(find(draw(tmp_path, painted(0, size=40, receptive_field=field)), RED)) == 1


def test_an_image_that_is_not_square_keeps_its_proportions(tmp_path: Path) -> None:
    result = painted(0, size=40, receptive_field=(0, 0, 6, 36))  # 10 x 40 with what is around it
    ((top, left, bottom, right),) = find(draw(tmp_path, result), RED)
    assert right - left == pytest.approx(4 * (bottom - top), abs=4)


def test_contrast_is_stretched_inside_the_field_alone(tmp_path: Path) -> None:
    result = painted(0, size=60, receptive_field=(20, 20, 40, 40))
    image = np.array(result.image)
    image[0, 0] = 1e6
    assert len(find(draw(tmp_path, replace(result, image=image)), RED)) == 1


def test_a_few_extreme_pixels_do_not_darken_the_rest(tmp_path: Path) -> None:
    result = painted(0, size=100)
    image = np.array(result.image)
    image[50, 50] = 1e6
    pixels = draw(tmp_path, replace(result, image=image))
    assert np.median(only_tile(pixels)[..., 0]) == 255


@pytest.mark.parametrize("status", ["zero-gradient", "diverged", "of a newer version"])
def test_a_unit_that_failed_is_crossed_out_with_the_reason(tmp_path: Path, status: str) -> None:
    nothing = np.full((8, 8, 3), np.nan, np.float32)
    failed = replace(painted(1, status=status), image=nothing)
    pixels = draw(tmp_path, painted(0), failed, painted(2))
    assert len(find(pixels, RED)) == 2
    triangles = find(pixels, BLANK)  # a line runs through the tile
    assert len(triangles) == 2
    within = pixels[triangles[0][0] : triangles[0][2], triangles[0][1] :]
    assert (np.abs(within - ALARM).sum(axis=2) < 60).any()
    below = pixels[triangles[0][2] : triangles[0][2] + 25, triangles[0][1] :]
    assert (np.abs(below - ALARM).sum(axis=2) < 60).any()


def test_every_tile_has_its_number_below(tmp_path: Path) -> None:
    pixels = draw(tmp_path, *(painted(unit) for unit in (7, 11, 1000)))
    numbers = []
    for _, left, bottom, right in find(pixels, RED):
        ink = pixels[bottom + 1 : bottom + 18, left:right].sum(axis=2) < 550
        numbers.append(label(ink.any(axis=0))[1])  # digits stand apart
    assert numbers == [1, 2, 4]


def test_labels_stand_below_the_numbers_within_the_width_of_a_tile(tmp_path: Path) -> None:
    names = ("heart", "<i>&\"' 金魚 🐟", "x" * 5000, "")
    (series,) = write_units([painted(unit) for unit in range(4)], f"{tmp_path}/units")
    collect(tmp_path / "layer.h5", [replace(series, labels=names)])
    draw_sheet(tmp_path / "layer.h5", tmp_path / "sheet.png", "gd")
    pixels = read(tmp_path / "sheet.png")
    tiles = find(pixels, RED)
    written = []
    for _, left, bottom, right in tiles:
        below = pixels[bottom + 19 : bottom + 38, left : right + 9].sum(axis=2)
        written.append(max((below < 550).any(axis=0).nonzero()[0], default=0))
        assert (below[:, right - left + 1 :] > 750).all()
    tile = tiles[0][3] - tiles[0][1]
    assert 0 < written[0] < tile / 2
    assert written[1] > 0
    assert tile - 15 < written[2]
    assert written[3] == 0


def test_a_label_may_be_as_wide_as_all_tiles_of_its_unit(tmp_path: Path) -> None:
    units = write_units([painted(0, method=m) for m in ("gd", "lbfgs")], f"{tmp_path}/{{method}}")
    collect(tmp_path / "layer.h5", [replace(each, labels=("x" * 500,)) for each in units])
    draw_sheet(tmp_path / "layer.h5", tmp_path / "sheet.png")
    pixels = read(tmp_path / "sheet.png")
    first, second = find(pixels, RED)
    below = pixels[first[2] + 19 : first[2] + 38].sum(axis=2) < 550
    assert below[:, first[1] : first[1] + 20].any()
    assert second[3] - 15 < below.any(axis=0).nonzero()[0][-1] <= second[3]


def test_the_title_fits_however_narrow_the_sheet(tmp_path: Path) -> None:
    name = "inception_4e/a_branch_with_a_very_long_name/expand_3x3_reduced"
    pixels = draw(tmp_path, painted(0, layer=name))
    ink = pixels[:95].sum(axis=2) < 550
    assert ink[36:70].any()
    assert not ink[:, -30:].any()


def test_methods_stand_side_by_side_in_the_order_of_collection(tmp_path: Path) -> None:
    colours = {"lbfgs": RED, "gd": GREEN, "dgn_gd": BLUE}
    results = [painted(u, c, method=m) for m, c in colours.items() for u in range(4)]
    pixels = draw(tmp_path, *results)
    red, green, blue = (find(pixels, colour) for colour in colours.values())
    assert len(red) == len(green) == len(blue) == 4
    for one, two, three in zip(red, green, blue, strict=True):
        assert one[0] == two[0] == three[0]
        assert one[3] < two[1] < one[3] + 5
        assert two[3] < three[1] < two[3] + 5


def test_methods_of_different_units_keep_to_their_places(tmp_path: Path) -> None:
    results = [painted(u, RED, method="gd") for u in (0, 2)]
    results += [painted(u, GREEN, method="lbfgs") for u in (1, 2)]
    pixels = draw(tmp_path, *results)
    red, green = find(pixels, RED), find(pixels, GREEN)
    beside = [(r, g) for r in red for g in green if r[0] == g[0] and 0 < g[1] - r[3] < 5]
    assert len(red) == len(green) == 2
    assert len(beside) == 1


@pytest.mark.parametrize("units", [1, 3, 97, 500])
@pytest.mark.parametrize("methods", [1, 4])
@pytest.mark.parametrize("side", [2000, 8000])
def test_pages_of_any_number_of_units_have_a_sensible_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, units: int, methods: int, side: int
) -> None:
    monkeypatch.setattr("cnnpref.show.layout.SIDE", side)
    names = ("gd", "lbfgs", "dgn_gd", "dgn_lbfgs")[:methods]
    path = multiply(write_layer(tmp_path, [painted(0, method=m, size=4) for m in names]), units)
    draw_sheet(path, tmp_path / "sheet.png", look=SheetOptions(units=1000))
    pixels = read(tmp_path / "sheet.png")
    assert max(pixels.shape) <= side
    assert corners(pixels, RED) == units * min(methods, 1000 // units)


@pytest.mark.parametrize(("methods", "pages"), [(1, [256, 44]), (2, [256, 256, 88])])
def test_tiles_stay_large_and_fill_pages(tmp_path: Path, methods: int, pages: list[int]) -> None:
    results = [painted(0, method=m, size=4) for m in ("gd", "lbfgs")[:methods]]
    draw_sheet(multiply(write_layer(tmp_path, results), 300), tmp_path / "sheet.png")
    drawn = [read(tmp_path / f"sheet{page_mark(n)}.png") for n in range(1, len(pages) + 1)]
    assert [corners(pixels, RED) for pixels in drawn] == pages
    assert not (tmp_path / f"sheet{page_mark(len(pages) + 1)}.png").exists()
    boxes = [box for pixels in drawn for box in find(pixels, RED)]
    assert min(bottom - top for top, _, bottom, _ in boxes) >= 96


def test_drawing_holds_one_image_in_memory(tmp_path: Path) -> None:
    few, many = (
        growth(draw_sheet, multiply(path, count), tmp_path / "sheet.png")
        for count in (8, 32)  # 192 MiB of images
        for path in [write_layer(tmp_path / str(count), [unit_result(0, size=512)])]
    )
    assert few < 80
    assert many < few + 20


def test_the_same_layer_gives_the_same_sheet(tmp_path: Path) -> None:
    path = write_layer(tmp_path, [unit_result(unit) for unit in range(5)])
    for name in "ab":
        draw_sheet(path, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_an_unknown_method_is_told(tmp_path: Path) -> None:
    path = write_layer(tmp_path, [painted(0, method="dgn_gd"), painted(0, method="lbfgs")])
    with pytest.raises(UserError, match=r"no method 'lbfg' \(did you mean 'lbfgs'\?\); it has dgn"):
        draw_sheet(path, tmp_path / "sheet.png", "lbfg")


def test_a_missing_layer_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"layer\.h5: missing; run 'cnnpref collect'"):
        draw_sheet(tmp_path / "layer.h5", tmp_path / "sheet.png")


def test_a_sheet_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    path = write_layer(tmp_path, [painted(0)])
    with pytest.raises(
        UserError, match=r"cannot write .*layer\.h5/sheet\.png: (File exists|Not a dir)"
    ):
        draw_sheet(path, path / "sheet.png")


def test_images_of_other_methods_than_the_originals_are_shown_as_they_are(tmp_path: Path) -> None:
    shown = draw(tmp_path, painted(0, method="spectral"))
    assert len(find(shown, np.array(RED) / 10 + 100)) == 1


@pytest.mark.parametrize(
    ("channels", "colour"),
    [([200], (200, 200, 200)), ([200, 30], (200, 200, 30)), ([200, 0, 90, 0, 30], (200, 90, 30))],
)
def test_images_of_other_numbers_of_channels(
    tmp_path: Path, channels: list[int], colour: tuple[int, int, int]
) -> None:
    result = painted(0, method="spectral")
    image = np.broadcast_to(np.float32(channels), (8, 8, len(channels)))
    pixels = draw(tmp_path, replace(result, image=image, image_best=image))
    assert len(find(pixels, colour)) == 1
