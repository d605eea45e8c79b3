"""What the pages of a layer are made of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from cnnpref.errors import UserError
from cnnpref.geometry import Box
from cnnpref.planning.files import ALIKE, LAYER, REFERENCE, SCORES
from cnnpref.planning.plan import Plan
from cnnpref.planning.series import Series
from cnnpref.results.layer_file import MethodData, Row, open_layer
from cnnpref.results.scores import find_table
from cnnpref.results.unit_file import UnitResult, read_unit
from cnnpref.show.site.references import References, open_references

if TYPE_CHECKING:
    import polars


Column = Mapping[int, float]
"""A finite number for each unit that has one."""


@dataclass(frozen=True)
class Run:
    """The units of a layer by one method and seed.

    Attributes:
        rows: by unit.
        data: its group of the open layer file.
        scores: by name, from the table of scores; `activation` and `gain` also without one.
    """

    series: Series
    rows: Mapping[int, Row]
    data: MethodData
    scores: Mapping[str, Column]

    @property
    def name(self) -> str:
        """Of the series."""
        return self.series.name

    def result(self, unit: int) -> UnitResult:
        """All that is known of a unit: from its file, or the layer file that stands for it."""
        if self.data.is_packed:
            return self.data.unit(list(self.rows).index(unit))
        return read_unit(self.series.path(unit))

    def failed(self) -> dict[int, str]:
        """The units without a picture, with their status."""
        return {unit: str(row.status) for unit, row in self.rows.items() if row.status.failed}


@dataclass(frozen=True)
class Material:
    """A layer of a run.

    Attributes:
        net: its name.
        units: ascending.
        methods: the runs of each method, one for each seed.
        labels: of the units that have one.
        size: height and width of an image.
        field: what the first unit sees of it: all of a layer see as much.
        references: open, if there are any.
        alike: units whose weights are most alike, each with the cosine, the most alike first.
    """

    plan: Plan
    layer: str
    net: str
    units: tuple[int, ...]
    methods: Mapping[str, list[Run]]
    labels: Mapping[int, str]
    size: tuple[int, int]
    field: Box
    references: References | None
    alike: Mapping[int, list[tuple[int, float]]]

    @property
    def firsts(self) -> dict[str, Run]:
        """The run of the first seed of each method."""
        return {method: runs[0] for method, runs in self.methods.items()}

    @property
    def sign(self) -> int:
        """1; or -1 where the pictures are those that the units like least."""
        return next(iter(self.firsts.values())).series.sign

    @property
    def sees_all(self) -> bool:
        """Whether the field is the whole image."""
        return self.field == (0, 0, *self.size)

    @property
    def is_scored(self) -> bool:
        """Whether there is a table of scores."""
        return self.plan.path(SCORES, self.layer).exists()


@contextmanager
def open_material(plan: Plan, layer: str) -> Iterator[Material]:
    """Open the files of a layer that its pages are made of.

    Raises:
        UserError: the layer file is missing or of other methods or units, or another file is
            damaged.
    """
    data, series = plan.path(LAYER, layer), plan.select(layer)
    scores = find_table(plan.path(SCORES, layer))
    references = open_references(plan.path(REFERENCE, layer), series[0].position)
    with open_layer(data) as found, references as natural:
        methods: dict[str, list[Run]] = {}
        for each in series:
            if each.name not in found:
                raise UserError(
                    f"{data} has no method {each.name!r}; run 'cnnpref collect' for this layer"
                )
            rows = {row.unit: row for row in found[each.name].rows()}
            if lacking := set(each.units).difference(rows):
                raise UserError(
                    f"{data} has no unit {min(lacking)} of {each.name!r}; run 'cnnpref collect' for"
                    " this layer"
                )
            columns = _columns(each, rows, scores, natural)
            methods.setdefault(each.method, []).append(Run(each, rows, found[each.name], columns))
        first = found[series[0].name]
        yield Material(
            plan,
            layer,
            first.attributes["net"],
            series[0].units,
            methods,
            {unit: row.label for unit, row in rows.items() if row.label},
            first.image(0).shape[:2],
            next(iter(next(iter(methods.values()))[0].rows.values())).receptive_field,
            natural,
            _alike(plan.path(ALIKE, layer)),
        )


def _alike(path: Path) -> dict[int, list[tuple[int, float]]]:
    table, found = find_table(path), defaultdict[int, list[tuple[int, float]]](list)
    for unit, other, cosine in table.iter_rows() if table is not None else ():
        found[unit].append((other, cosine))
    return found


def _columns(
    series: Series,
    rows: Mapping[int, Row],
    scores: polars.DataFrame | None,
    references: References | None,
) -> dict[str, Column]:
    fine = {unit: row.score for unit, row in rows.items() if not row.status.failed}
    columns: dict[str, Column] = {"activation": _finite(fine)}
    if references:
        gains = {u: references.gain(u, score) for u, score in fine.items() if u in references}
        columns["gain"] = _finite(gains)
    if scores is not None:
        mine = scores.filter((scores["method"] == series.method) & (scores["seed"] == series.seed))
        units = mine["unit"].to_list()
        for name in (n for n in mine.columns if n not in _NO_SCORES and mine[n].dtype.is_numeric()):
            values = zip(units, mine[name].to_list(), strict=True)
            columns[name] = _finite({u: v for u, v in values if v is not None and u in fine})
    return {name: column for name, column in columns.items() if column}


_NO_SCORES = ("unit", "seed", "activation")  # an activation is the layer file's


def _finite(column: Mapping[int, float]) -> Column:
    return {unit: float(value) for unit, value in column.items() if isfinite(value)}
