"""Contact sheets: the images of a layer, unit by unit, on one page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import ceil, floor, sqrt
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from cnnpref.atomic import replacing
from cnnpref.display import clip_extreme, normalise, three_channels
from cnnpref.errors import UserError, suggest
from cnnpref.geometry import Box
from cnnpref.input_space import Array
from cnnpref.results.layer_file import MethodData, Row, open_layer
from cnnpref.show.text import default_font, write

PAPER, INK, GREY, BLANK, ALARM = "#ffffff", "#1c1c1e", "#6e6e73", "#e3e3e8", "#b3261e"
TITLE, SUBTITLE = 26, 15  # font sizes
BORDER = 36  # around the sheet, in pixels
GAP = 6  # between blocks of one tile; wider ones are farther apart
SIDE = 8000  # no sheet is wider or higher than this, unless its tiles are tiny
WIDTH, ASPECT = 1400, 4 / 3  # what a sheet aims at
TINY, SMALLEST, LARGEST = 8, 56, 224  # sides of a tile; less than SMALLEST only because of SIDE
CONTEXT = 4  # pixels shown around a receptive field: as far as jitter smears a low layer's image


def method_sheet(layer_file: Path, method: str, path: Path) -> None:
    """Write a PNG of all units of one method, each labelled with its number.

    A unit whose status is not ok is a crossed-out tile with a red label.

    Raises:
        UserError: no such file or method, or the operating system refused to write.
    """
    with open_layer(layer_file) as methods:
        if method not in methods:
            raise UserError(
                f"{layer_file} has no method {method!r}{suggest(method, methods)}; "
                f"it has {', '.join(methods)}"
            )
        _save(_sheet({method: methods[method]}), path)


def layer_sheet(layer_file: Path, path: Path) -> None:
    """Write a PNG of all units of a layer, the images of all methods side by side.

    Raises:
        UserError: no such file, or the operating system refused to write.
    """
    with open_layer(layer_file) as methods:
        _save(_sheet(methods), path)


def preview(layer_file: Path, path: Path, count: int = 10, tile: int = 112) -> None:
    """Write a PNG of up to `count` evenly spaced units, a row for each method, transparent between.

    Raises:
        UserError: no such file, or the operating system refused to write.
    """
    with open_layer(layer_file) as methods:
        tables = [data.rows() for data in methods.values()]
        chosen = [np.linspace(0, len(t) - 1, min(count, len(t))).astype(int) for t in tables]
        step = tile + GAP
        size = max(map(len, chosen)) * step - GAP, len(tables) * step - GAP
        strip = Image.new("RGBA", size)
        for y, (data, rows) in enumerate(zip(methods.values(), tables, strict=True)):
            for x, index in enumerate(chosen[y]):
                strip.paste(_tile(data, index, rows[index], tile), (x * step, y * step))
    _save(strip, path)


def field_size(rows: Sequence[Row]) -> tuple[int, int]:
    """Width and height in pixels of the largest receptive field among `rows`."""
    boxes = np.array([row.receptive_field for row in rows])
    height, width = (boxes[:, 2:] - boxes[:, :2]).max(axis=0).tolist()
    return width, height


def failures(rows: Sequence[Row]) -> list[str]:
    """How many of the rows failed, by their status: "3 diverged"."""
    failed = Counter(row.status for row in rows if row.status.failed)
    return [f"{count} {status}" for status, count in sorted(failed.items())]


@dataclass(frozen=True)
class _Layout:
    """Where tiles go: for each unit a block of `width` tiles, `columns` blocks in a row."""

    units: int
    width: int
    columns: int
    tile: int

    @property
    def label(self) -> int:
        return max(9, min(13, self.tile // 8))  # font size

    @property
    def top(self) -> int:
        head = BORDER + TITLE + 2 * SUBTITLE + 12
        return head + (2 * self.label if self.width > 1 else 0)

    @property
    def gap(self) -> int:
        return GAP if self.width == 1 else 3 * GAP

    @property
    def block(self) -> int:
        """Width of a unit's tiles."""
        return self.width * (self.tile + 2) - 2

    @property
    def pitch(self) -> tuple[int, int]:
        """From one block to the next, to the right and downwards."""
        return self.block + self.gap, self.tile + 2 * self.label

    @property
    def size(self) -> tuple[int, int]:
        right, down = self.pitch
        rows = ceil(self.units / self.columns)
        return 2 * BORDER + self.columns * right - self.gap, self.top + rows * down + BORDER

    def corner(self, unit: int, member: int) -> tuple[int, int]:
        """Left and top of a tile."""
        row, column = divmod(unit, self.columns)
        right, down = self.pitch
        return BORDER + column * right + member * (self.tile + 2), self.top + row * down


def _layout(units: int, width: int) -> _Layout:
    """Columns that leave few blocks empty in the last row, near the aspect aimed at."""
    ideal = sqrt(units * ASPECT / width)
    choices = range(ceil(0.7 * ideal), max(1, floor(1.5 * ideal)) + 1)
    columns = min(choices, key=lambda n: (-units % n, abs(n - ideal)))
    wanted = min(max(SMALLEST, WIDTH // (columns * width) - 8), LARGEST)
    layouts = [_Layout(units, width, columns, tile) for tile in range(wanted, TINY - 1, -1)]
    return next((layout for layout in layouts if max(layout.size) <= SIDE), layouts[-1])


def _sheet(methods: Mapping[str, MethodData]) -> Image.Image:
    tables = {method: data.rows() for method, data in methods.items()}
    units = sorted({row.unit for row in chain(*tables.values())})
    place = {unit: index for index, unit in enumerate(units)}
    layout = _layout(len(units), len(methods))
    others = chain(*list(tables.values())[1:])
    crowded = {row.unit for row in others if row.status.failed}
    sheet, draw = _page(layout, _headline(methods, tables, len(units)))
    for member, (method, data) in enumerate(methods.items()):
        _head_columns(draw, layout, method, member)
        for index, row in enumerate(tables[method]):
            corner = layout.corner(place[row.unit], member)
            sheet.paste(_tile(data, index, row, layout.tile), corner)
            wide = member == 0 and row.unit not in crowded
            _label(draw, layout, row, corner, member, layout.block if wide else layout.tile)
    return sheet


def _headline(
    methods: Mapping[str, MethodData], tables: Mapping[str, Sequence[Row]], units: int
) -> tuple[str, str]:
    rows = list(chain(*tables.values()))
    about = next(iter(methods.values())).attributes
    facts = (
        about["net"],
        f"{units} unit{'s' if units > 1 else ''}",
        "receptive field {} x {} px".format(*field_size(rows)),
        *failures(rows),
    )
    end = ("liked least",) if next(iter(methods.values())).is_suppressed else ()
    return "  ·  ".join((about["layer"], " · ".join(methods), *end)), "  ·  ".join(facts)


def _page(layout: _Layout, lines: tuple[str, str]) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    width, height = layout.size
    fonts = default_font(TITLE), default_font(SUBTITLE)
    text = max(font.getlength(line) for font, line in zip(fonts, lines, strict=True))
    page = Image.new("RGB", (max(width, ceil(text) + 2 * BORDER), height), PAPER)
    draw = ImageDraw.Draw(page)
    draw.text((BORDER, BORDER), lines[0], INK, fonts[0])
    draw.text((BORDER, BORDER + TITLE + 12), lines[1], GREY, fonts[1])
    return page, draw


def _head_columns(draw: ImageDraw.ImageDraw, layout: _Layout, method: str, member: int) -> None:
    font = default_font(layout.label)
    room = layout.tile + (layout.gap if member == layout.width - 1 else 0)
    if layout.width > 1 and font.getlength(method) <= room:
        for column in range(min(layout.columns, layout.units)):
            x, y = layout.corner(column, member)
            draw.text((x, y - 4), method, GREY, font, anchor="ls")


def _label(
    draw: ImageDraw.ImageDraw,
    layout: _Layout,
    row: Row,
    corner: tuple[int, int],
    member: int,
    room: int,
) -> None:
    """A unit's number and, as far as there is room, its label: for the first method.

    For the others the number alone, and only where the unit failed.
    """
    if member == 0 or row.status.failed:
        x, y, number = corner[0], corner[1] + layout.tile + 3, str(row.unit)
        colour = ALARM if row.status.failed else GREY
        font = default_font(layout.label)
        draw.text((x, y), number, colour, font)
        if member == 0:
            start = font.getlength(f"{number}  ")
            write(draw, (x + start, y), row.label, colour, layout.label, room - start)


def _tile(data: MethodData, index: int, row: Row, side: int) -> Image.Image:
    tile = Image.new("RGB", (side, side), BLANK if row.status.failed else PAPER)
    if row.status.failed:
        ImageDraw.Draw(tile).line((0, side, side, 0), fill=GREY)
    else:
        crop = three_channels(_crop(data.image(index), row.receptive_field))
        shown = _shown(_stretched(crop) if data.is_stretched else crop, side)
        tile.paste(shown, ((side - shown.width) // 2, (side - shown.height) // 2))
    return tile


def _crop(image: Array, field: Box) -> Array:
    top, left, bottom, right = field
    if top >= bottom or left >= right:  # nothing reaches the unit
        return image
    rows = slice(max(0, top - CONTEXT), bottom + CONTEXT)
    return image[rows, max(0, left - CONTEXT) : right + CONTEXT]


def _stretched(image: Array) -> Array:
    """With the contrast that the original's images are shown with."""
    return normalise(clip_extreme(image, pct=0.04))


def _shown(crop: Array, side: int) -> Image.Image:
    """As large as fits into a square."""
    pixels = np.rint(crop).clip(0, 255).astype(np.uint8)
    height, width = (max(1, round(n * side / max(crop.shape[:2]))) for n in crop.shape[:2])
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS)


def _save(image: Image.Image, path: Path) -> None:
    with replacing(path) as temporary:
        image.save(temporary, format="PNG")
