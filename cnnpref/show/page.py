"""A page of a contact sheet: headings, tiles, and the text below each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import ceil
from typing import NamedTuple

from PIL import Image

from cnnpref.show.layout import BORDER, NOTE, SUBTITLE, TITLE, Layout
from cnnpref.show.paper import Paper
from cnnpref.show.text import fit, width

INK, GREY, BLANK, ALARM = "#1c1c1e", "#6e6e73", "#e3e3e8", "#b3261e"


class Heading(NamedTuple):
    """What is written above and below the tiles of a page."""

    title: str
    subtitle: str
    note: str


class Tile(NamedTuple):
    """A tile and the text below it.

    Attributes:
        member: its place among the tiles of its unit.
        picture: makes it, of a side in pixels; None: there is none.
        why_not: in that case, in words.
        number: of the unit; "" where the first of its tiles says it.
        rank: "" for none.
        label: may be as wide as the tiles of a unit; None: there is no such line.
        scores: below these, names and values, a line for each; a value "" leaves it free.
    """

    member: int
    picture: Callable[[int], Image.Image] | None
    why_not: str
    number: str
    rank: str
    label: str | None
    scores: Sequence[tuple[str, str]]


class Page:
    """A page on some paper.

    Args:
        paper: to draw on.
        layout: where things go.
        heading: above and below.
    """

    def __init__(self, paper: Paper, layout: Layout, heading: Heading) -> None:
        self.paper, self.layout = paper, layout
        across, down = layout.size
        sized = zip(heading, (TITLE, SUBTITLE, NOTE), strict=True)
        needed = max(ceil(width(text, size)) for text, size in sized)
        paper.start(max(across, needed + 2 * BORDER), down)
        paper.text(BORDER, BORDER, heading.title, INK, TITLE)
        paper.text(BORDER, BORDER + TITLE + 12, heading.subtitle, GREY, SUBTITLE)
        paper.text(BORDER, down - BORDER + 6, heading.note, GREY, NOTE)

    def head_columns(self, names: Sequence[str]) -> None:
        """Write above the columns what they show, as far as there is room."""
        layout = self.layout
        for member, name in enumerate(names):
            room = layout.tile + (layout.gap if member == layout.width - 1 else 0)
            if width(name, layout.label) <= room:
                for column in range(min(layout.columns, layout.units)):
                    x, y = layout.corner(column, member)
                    self.paper.text(x, y - layout.label - 6, name, GREY, layout.label)

    def draw(self, place: int, tiles: Iterable[Tile]) -> None:
        """Draw the tiles of a unit.

        Args:
            place: of the unit on the page, from 0.
            tiles: its tiles.
        """
        for tile in tiles:
            x, y = self.layout.corner(place, tile.member)
            if tile.picture:
                side = self.layout.tile
                self.paper.picture(tile.picture(side * self.paper.scale), x, y, side)
            else:
                self._cross_out(x, y, tile.why_not)
            self._write(x, y + self.layout.tile + 3, tile)

    def _cross_out(self, x: int, y: int, why: str) -> None:
        """A tile without a picture, with the reason as far as there is room."""
        side = self.layout.tile
        self.paper.square(x, y, side, BLANK)
        self.paper.line((x, y + side), (x + side, y), GREY)
        self._text(x + 3, y + 2, why, ALARM, side - 6)

    def _write(self, x: int, y: int, tile: Tile) -> None:
        """The text below a tile, whose first line begins at (x, y)."""
        layout = self.layout
        self._text(x, y, tile.number, INK if tile.picture else ALARM, layout.block)
        end = x + layout.tile
        self.paper.text(end - width(tile.rank, layout.label), y, tile.rank, GREY, layout.label)
        if tile.label is not None:
            y += layout.line
            self._text(x, y, tile.label, GREY, layout.block)
        for name, value in tile.scores:
            y += layout.line
            room = layout.tile - 4 - width(f" {value}", layout.label)  # no value is cut
            if value:
                text = f"{fit(name, layout.label, room)} {value}".lstrip()
                self._text(x, y, text, GREY, layout.block)

    def _text(self, x: float, y: float, text: str, colour: str, room: float) -> None:
        size = self.layout.label
        self.paper.text(x, y, fit(text, size, room), colour, size)
