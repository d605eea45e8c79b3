"""The scores of a layer's units, as a table on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cnnpref.errors import UserError

if TYPE_CHECKING:  # it takes time, which others save
    from polars import DataFrame

_KEYS = ("layer", "unit", "label", "method", "key", "seed", "status")  # columns that are no scores


class Scores:
    """Scores of units, by name.

    Attributes:
        names: of the scores.
    """

    def __init__(self, names: list[str], rows: Mapping[tuple[str, int], dict[str, float]]) -> None:
        self.names, self._rows = names, rows

    def has(self, name: str) -> bool:
        """Whether any unit has that score."""
        return any(name in row for row in self._rows.values())

    def of(self, key: str, unit: int) -> dict[str, float]:
        """Those of a unit that could be computed.

        Args:
            key: of its series, 8 digits.
            unit: its number.
        """
        return self._rows.get((key, unit), {})


def find_table(path: Path) -> DataFrame | None:
    """The table in a Parquet file, whatever its columns; None if there is no such file.

    Raises:
        UserError: it is something else.
    """
    if not path.exists():
        return None
    import polars

    try:
        return polars.read_parquet(path)
    except (OSError, polars.exceptions.PolarsError, polars.exceptions.PanicException) as error:
        raise _no_table(path, error) from error


def read_scores(path: Path) -> Scores | None:
    """The scores in a Parquet file; None if there is no such file.

    Raises:
        UserError: it is something else.
    """
    table = find_table(path)
    if table is None:
        return None
    names = [n for n in table.columns if n not in _KEYS and table[n].dtype.is_numeric()]
    try:
        rows = {
            (row["key"], row["unit"]): {n: float(row[n]) for n in names if row[n] is not None}
            for row in table.iter_rows(named=True)
        }
    except KeyError as error:
        raise _no_table(path, error) from error
    return Scores(names, rows)


def _no_table(path: Path, error: BaseException) -> UserError:
    reason = str(error).partition("\n")[0]
    return UserError(f"{path}: not a table of scores ({reason}); delete it and make it again")
