"""Tables of scores: a row for each unit, method and seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnpref.atomic import replacing
from cnnpref.errors import UserError
from cnnpref.planning.files import ALL_SCORES
from cnnpref.planning.files import SCORES as SCORES_FILE
from cnnpref.planning.plan import Plan
from cnnpref.results.scores import find_table

if TYPE_CHECKING:  # it takes time, which others save
    from polars import DataFrame

KEYS: dict[str, type] = {
    **{"layer": str, "unit": int, "label": str, "method": str, "key": str, "seed": int},
    "status": str,
}
SCORES: dict[str, type] = {
    **dict.fromkeys(("activation", "activation_8bit", "gain", "keep"), float),
    **dict.fromkeys((f"keep_{k}" for k in ("shift", "scale", "rotation", "noise", "jpeg")), float),
    **{"spectrum": float, "colour": float, "selectivity_rank": int, "selectivity_z": float},
    **{"diversity": float, "iterations_95": int},
    **{"judge_p": float, "judge_rank": int, "judge_top5": int},
}
ALIKE: dict[str, type] = {"unit": int, "other": int, "cosine": float}
LOW_IS_GOOD = ("spectrum", "selectivity_rank", "iterations_95", "judge_rank")
ONE_IS_GOOD = ("colour",)  # less is too near the mean of all references for a picture

Row = Mapping[str, Any]
"""Values by the names of columns; None or NaN where there is none."""


def order_of(score: str, sign: int = 1) -> Callable[[float], float]:
    """A number for each value of a score, the smaller the better the value is.

    Args:
        score: its name.
        sign: of the series; -1: units are driven down, and so are the activations in a table.
    """
    if score in ONE_IS_GOOD:
        return lambda value: abs(value - 1)
    if score in LOW_IS_GOOD or score.endswith("_rank"):
        return float
    driven = sign if score.startswith(("activation", "eval_")) else 1
    return lambda value: -driven * value


def columns(held_out: int) -> dict[str, type]:
    """{column: type} of a table, with scores by so many nets held out."""
    return {**KEYS, **SCORES, **held_out_columns(held_out)}


def part_columns(held_out: int) -> dict[str, type]:
    """{column: type} of a table of what was computed so far."""
    return {"key": str, "unit": int, **SCORES, **held_out_columns(held_out)}


def held_out_columns(count: int) -> dict[str, type]:
    """`eval_0`, its rank, ..."""
    found: dict[str, type] = {}
    for number in range(count):
        found |= {f"eval_{number}": float, f"eval_{number}_rank": int}
    return found


def as_table(rows: Iterable[Row], kinds: Mapping[str, type]) -> DataFrame:
    """Rows as a table with columns of these types; null where a row has no value."""
    import polars

    types = {str: polars.String, int: polars.Int64, float: polars.Float64}
    schema = {name: types[kind] for name, kind in kinds.items()}
    return polars.DataFrame(
        {name: [_typed(row.get(name), kinds[name]) for row in whole] for name in kinds}
        if (whole := list(rows))
        else {},
        schema=schema,
    )


def _typed(value: Any, kind: type) -> Any:
    if value is None or value == "" or (kind is not str and not math.isfinite(value)):
        return None
    return kind(value)


def write_table(path: Path, table: DataFrame) -> None:
    """Write a table as Parquet or, by the path's ending, CSV; whole or not at all.

    Raises:
        UserError: the operating system refused to write.
    """
    with replacing(path) as temporary:
        if path.suffix == ".csv":
            table.write_csv(temporary)
        else:
            table.write_parquet(temporary)


def read_table(path: Path, kinds: Mapping[str, type]) -> DataFrame:
    """A table in a Parquet file.

    Args:
        path: of the file.
        kinds: the columns that it must have.

    Raises:
        UserError: it is missing, damaged, or has other columns.
    """
    table = find_table(path)
    if table is None:
        raise UserError(f"{path}: missing; run 'cnnpref scores' for this config")
    if table.columns != list(kinds):
        raise UserError(f"{path}: has other columns; delete it and run 'cnnpref scores' again")
    return table


def join_tables(plan: Plan) -> None:
    """Write one table of all layers as CSV.

    Raises:
        UserError: a layer's table is missing or damaged; or the operating system refused to write.
    """
    import polars

    kinds = columns(len(plan.scoring.held_out))
    tables = [read_table(plan.path(SCORES_FILE, layer), kinds) for layer in plan.layers]
    write_table(plan.path(ALL_SCORES), polars.concat(tables))
