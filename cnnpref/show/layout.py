"""Where the tiles of a contact sheet go."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, sqrt

TITLE, SUBTITLE, NOTE = 24, 14, 11  # font sizes
BORDER = 36  # around a page, in pixels
GAP = 6  # twice as much is between blocks, three times where they have several tiles
SIDE = 8000  # no page is wider or higher than this, unless its tiles are tiny
WIDTH, ASPECT = 1400, 4 / 3  # what a page aims at
TINY, SMALLEST, LARGEST = 8, 96, 224  # sides of a tile; less than SMALLEST only because of SIDE


@dataclass(frozen=True)
class Layout:
    """Where things are on a page, in pixels of its PNG.

    For each unit there is a block of `width` tiles, `columns` blocks in a row, with `lines` of text
    below each tile.
    """

    units: int
    width: int
    columns: int
    lines: int
    tile: int

    @property
    def label(self) -> int:
        """The size of the font below tiles."""
        return max(9, min(13, self.tile // 8))

    @property
    def line(self) -> int:
        """From one line below a tile to the next."""
        return self.label + 3

    @property
    def top(self) -> int:
        """Of the first row of tiles."""
        head = BORDER + TITLE + 2 * SUBTITLE + 12
        return head + (2 * self.label if self.width > 1 else 0)

    @property
    def gap(self) -> int:
        """Between blocks."""
        return 2 * GAP if self.width == 1 else 3 * GAP

    @property
    def pitch(self) -> tuple[int, int]:
        """From one block to the next, to the right and downwards."""
        text = self.label + (self.lines - 1) * self.line
        return self.block + self.gap, self.tile + text + self.label + 4

    @property
    def block(self) -> int:
        """The width of a block."""
        return self.width * (self.tile + 2) - 2

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the page."""
        right, down = self.pitch
        rows = ceil(self.units / self.columns)
        return 2 * BORDER + self.columns * right - self.gap, self.top + rows * down + BORDER

    def corner(self, place: int, member: int) -> tuple[int, int]:
        """Left and top of a tile."""
        row, column = divmod(place, self.columns)
        right, down = self.pitch
        return BORDER + column * right + member * (self.tile + 2), self.top + row * down


def arrange(units: int, width: int, lines: int = 1) -> Layout:
    """Columns that leave few blocks empty in the last row, near the aspect aimed at."""
    ideal = sqrt(units * ASPECT / width)
    choices = range(ceil(0.7 * ideal), max(1, floor(1.5 * ideal)) + 1)
    columns = min(choices, key=lambda n: (-units % n, abs(n - ideal)))
    wanted = min(max(SMALLEST, WIDTH // (columns * width) - 8), LARGEST)
    layouts = [Layout(units, width, columns, lines, side) for side in range(wanted, TINY - 1, -1)]
    return next((layout for layout in layouts if max(layout.size) <= SIDE), layouts[-1])
