"""What stands on a contact sheet: units in their order, each with its images, scores and ranks."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cnnpref.errors import UserError, suggest
from cnnpref.results.layer_file import MethodData, Row
from cnnpref.results.score_file import order_of
from cnnpref.results.scores import Scores, read_scores

OF_ROWS = ("unit", "label", "activation")  # what can be sorted by without a file of scores


@dataclass(frozen=True)
class Choice:
    """Which units a sheet has.

    Attributes:
        units: only these; None is all.
        sort: "unit", "label", or a score: the best first, by the first method on the sheet.
        top: only so many of those, from the first; None is all.
    """

    units: Collection[int] | None = None
    sort: str = "unit"
    top: int | None = None


@dataclass(frozen=True)
class Cell:
    """A unit by one method.

    Attributes:
        index: its row in the layer file.
        row: what that row holds, without the image.
        scores: by name; those that could be computed, of a unit that has an image.
    """

    index: int
    row: Row
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Block:
    """A unit by all methods of a sheet, None for those that do not have it."""

    unit: int
    label: str
    cells: tuple[Cell | None, ...]

    @property
    def rows(self) -> Iterable[Row]:
        """Of the methods that have it."""
        return [cell.row for cell in self.cells if cell]


class Entries:
    """All units of a layer by some methods, with their scores.

    Args:
        methods: of an open layer file.
        scores: the file of the layer's scores, which need not exist.
    """

    def __init__(self, methods: Mapping[str, MethodData], scores: Path | None = None) -> None:
        self.path, self._scores = scores, read_scores(scores) if scores else None
        columns = [_cells(data, self._scores) for data in methods.values()]
        self.blocks = [_block(unit, columns) for unit in sorted(set().union(*columns))]
        self._signs = [-1 if data.is_suppressed else 1 for data in methods.values()]

    def choose(self, choice: Choice) -> list[Block]:
        """Some of the units, in order.

        Raises:
            UserError: one of them is not there, or there is no such score.
        """
        found = self.blocks
        if choice.units is not None:
            self._require_units(choice.units)
            found = [block for block in found if block.unit in choice.units]
        if choice.sort == "label":
            found = sorted(found, key=lambda block: block.label.casefold())
        elif choice.sort != "unit":
            self.require_score(choice.sort)
            order = self._order(0, choice.sort)
            found = sorted(found, key=lambda block: order.get(block.unit, math.inf))
        return found[: choice.top]

    def ranks(self, score: str) -> list[dict[int, int]]:
        """For each method, the place of each unit that has this score, the best being 1."""
        self.require_score(score)
        orders = [self._order(member, score) for member in range(len(self._signs))]
        return [
            {unit: place for place, unit in enumerate(sorted(order, key=order.__getitem__), 1)}
            for order in orders
        ]

    def _order(self, member: int, score: str) -> dict[int, float]:
        """Of the units that have this score by a method: the smaller the number, the better."""
        order = order_of(score, self._signs[member])
        cells = {block.unit: block.cells[member] for block in self.blocks}
        return {
            unit: order(cell.scores[score])
            for unit, cell in cells.items()
            if cell and not math.isnan(cell.scores.get(score, math.nan))
        }

    def require_score(self, name: str) -> None:
        """Require a score of that name.

        Raises:
            UserError: there is none.
        """
        if name == "activation" or (self._scores and self._scores.has(name)):
            return
        if self._scores and name in self._scores.names:
            raise UserError(
                f"no score {name!r}: it could not be computed for any unit in {self.path}; it needs"
                " 'references', 'judge' or more seeds in the config, see results/README.md"
            )
        if self._scores:
            known = ["activation", *self._scores.names]
            raise UserError(f"no score {name!r}{suggest(name, known)}; {_names(known)}")
        raise UserError(
            f"no score {name!r}: there is no file {self.path}; without it, {_names(OF_ROWS)}"
        )

    def _require_units(self, units: Collection[int]) -> None:
        known = {block.unit for block in self.blocks}
        if missing := sorted(set(units) - known):
            raise UserError(f"no unit {missing[0]} in the layer file; it has {len(known):,} units")


def _names(names: Sequence[str]) -> str:
    return f"allowed: {', '.join(names)}"


def _cells(data: MethodData, scores: Scores | None) -> dict[int, Cell]:
    found = {}
    key = data.attributes["digest"][:8]
    for index, row in enumerate(data.rows()):
        told = scores.of(key, row.unit) if scores else {}
        known = {"activation": row.score, **told}
        found[row.unit] = Cell(index, row, {} if row.status.failed else known)
    return found


def _block(unit: int, columns: Sequence[Mapping[int, Cell]]) -> Block:
    cells = tuple(column.get(unit) for column in columns)
    label = next((cell.row.label for cell in cells if cell and cell.row.label), "")
    return Block(unit, label, cells)
