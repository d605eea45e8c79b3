"""Contact sheets: the images of a layer, unit by unit, on pages to look at and to print."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from itertools import chain
from pathlib import Path

import numpy as np

from cnnpref.errors import UserError, suggest
from cnnpref.planning.selection import format_ranges
from cnnpref.planning.sheets import SheetOptions
from cnnpref.results.layer_file import MethodData, Row, open_layer
from cnnpref.show.entries import Block, Cell, Choice, Entries
from cnnpref.show.layout import arrange
from cnnpref.show.page import Heading, Page, Tile
from cnnpref.show.paper import PdfPaper, PngPaper
from cnnpref.show.tiles import reason, tile

DOT = "  ·  "  # between facts
EVERY_UNIT = Choice()
PLAIN = SheetOptions()


def draw_sheet(
    layer_file: Path,
    path: Path,
    method: str | None = None,
    look: SheetOptions = PLAIN,
    choice: Choice = EVERY_UNIT,
    scores: Path | None = None,
) -> None:
    """Draw units of a layer, each labelled with its number, on as many pages as they take.

    A unit whose status is not ok is a crossed-out tile with the reason in it and a red number.

    Args:
        layer_file: has the images.
        path: of a PDF, or of the PNG of the first page; for the next ones see `page_mark`.
        method: by its name in the layer file; None is all of them, side by side.
        look: how the sheet looks.
        choice: which units, in which order.
        scores: the file of the layer's scores, which need not exist.

    Raises:
        UserError: no such file, method, unit or score, or the operating system refused to write.
    """
    with open_layer(layer_file) as found:
        methods = found if method is None else {method: _of(layer_file, found, method)}
        entries = Entries(methods, scores)
        sheet = _Sheet(methods, entries, choice, look)
        sheet.draw(path)


def _of(layer_file: Path, methods: Mapping[str, MethodData], method: str) -> MethodData:
    if method not in methods:
        raise UserError(
            f"{layer_file} has no method {method!r}{suggest(method, methods)}; "
            f"it has {', '.join(methods)}"
        )
    return methods[method]


def field_size(rows: Sequence[Row]) -> tuple[int, int]:
    """Width and height in pixels of the largest receptive field among `rows`."""
    boxes = np.array([row.receptive_field for row in rows])
    height, width = (boxes[:, 2:] - boxes[:, :2]).max(axis=0).tolist()
    return width, height


def failures(rows: Sequence[Row]) -> list[str]:
    """How many of the rows failed, by their status: "3 diverged"."""
    failed = Counter(row.status for row in rows if row.status.failed)
    return [f"{count} {status}" for status, count in sorted(failed.items())]


class _Sheet:
    """What is drawn: the units chosen, and what is said of them."""

    def __init__(
        self,
        methods: Mapping[str, MethodData],
        entries: Entries,
        choice: Choice,
        look: SheetOptions,
    ) -> None:
        self.methods, self.look, self.choice = methods, look, choice
        self.blocks, self.all_units = entries.choose(choice), len(entries.blocks)
        self.about = next(iter(methods.values())).attributes
        self.scores = [name for name in look.under if name not in ("label", "rank")]
        for name in self.scores:
            entries.require_score(name)
        ranked = [*self.scores, "activation"][0] if "rank" in look.under else None
        self.ranks = entries.ranks(ranked) if ranked else [{} for _ in methods]
        self.has_labels = "label" in look.under and any(block.label for block in self.blocks)

    def draw(self, path: Path) -> None:
        """Draw all pages."""
        count = self.look.units_of_page(len(self.methods))
        pages = [self.blocks[at : at + count] for at in range(0, len(self.blocks), count)]
        lines = 1 + self.has_labels + len(self.scores)
        layout = arrange(min(count, len(self.blocks)), len(self.methods), lines)
        kind = PdfPaper if path.suffix.lower() == ".pdf" else PngPaper
        paper = kind(path, self._facts(), self.look.alpha)
        for number, blocks in enumerate(pages, 1):
            told = f"page {number} of {len(pages)}" if len(pages) > 1 else ""
            page = Page(paper, replace(layout, units=len(blocks)), self._heading(told))
            if len(self.methods) > 1:
                page.head_columns(list(self.methods))
            for place, block in enumerate(blocks):
                page.draw(place, self._tiles(block))
            paper.end()
        paper.close()

    def _tiles(self, block: Block) -> Iterator[Tile]:
        columns = zip(self.methods.values(), block.cells, strict=True)
        for member, (data, cell) in enumerate(columns):
            if cell:
                yield self._tile(block, member, data, cell)

    def _tile(self, block: Block, member: int, data: MethodData, cell: Cell) -> Tile:
        row, first = cell.row, member == 0
        picture = partial(tile, data, cell.index, row, alpha=self.look.alpha)
        rank = self.ranks[member].get(block.unit)
        scores = cell.scores
        return Tile(
            member,
            None if row.status.failed else picture,
            reason(row),
            str(block.unit) if first else "",
            f"#{rank}" if rank else "",
            (block.label if first else "") if self.has_labels else None,
            [(name, f"{scores[name]:.3g}" if name in scores else "") for name in self.scores],
        )

    def _heading(self, page: str) -> Heading:
        title = DOT.join(filter(None, (self.about["layer"], " · ".join(self.methods), self._end())))
        note = f"cnnpref {version('cnnpref')}{DOT}{self._keys()}"
        return Heading(title, DOT.join(filter(None, (*self._told(), page))), note)

    def _end(self) -> str:
        """Which end of the scale the images are at, where it is not the usual one."""
        return "liked least" if next(iter(self.methods.values())).is_suppressed else ""

    def _told(self) -> tuple[str, ...]:
        rows = list(chain.from_iterable(block.rows for block in self.blocks))
        count = f"{len(self.blocks)} unit{'s' if len(self.blocks) > 1 else ''}"
        if len(self.blocks) < self.all_units:
            count = f"{len(self.blocks)} of {self.all_units} units"
        return (
            self.about["net"],
            f"{count}, by {self.choice.sort}" if self.choice.sort != "unit" else count,
            "receptive field {} x {} px".format(*field_size(rows)),
            *failures(rows),
            self._treatment(),
        )

    def _treatment(self) -> str:
        """What was done to the images so that more can be seen."""
        told = []
        if stretched := [name for name, data in self.methods.items() if data.is_stretched]:
            of_some = len(stretched) < len(self.methods)
            told.append("contrast stretched" + (f": {', '.join(stretched)}" if of_some else ""))
        if self.look.alpha and any(data.has_importance for data in self.methods.values()):
            told.append("transparent where nothing mattered")
        return DOT.join(told)

    def _keys(self) -> str:
        """Method and key of each series: what the folders of the unit files are named."""
        about = [data.attributes for data in self.methods.values()]
        return ", ".join(f"{each['method']}-{each['digest'][:8]}" for each in about)

    def _facts(self) -> dict[str, str]:
        """Where the sheet comes from, for the metadata of its file."""
        return {
            "Title": f"{self.about['layer']}: {', '.join(self.methods)}",
            "Software": f"cnnpref {version('cnnpref')}",
            "Net": self.about["net"],
            "SHA-256": json.dumps(self.about["sha256"]),
            "Layer": self.about["layer"],
            "Position": str(self.about["position"]),
            "Methods and keys": self._keys(),
            "Units": format_ranges(sorted(block.unit for block in self.blocks)),
            "Treatment": self._treatment(),
        }
