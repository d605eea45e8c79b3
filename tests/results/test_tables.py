"""Tables of scores that cannot be read."""

from __future__ import annotations

from pathlib import Path

import polars
import pytest
from basics import refusal

from cnnpref.results.scores import find_table

TOLD = "delete it and make it again"


def test_what_is_no_table_is_told(tmp_path: Path) -> None:
    path = tmp_path / "conv1.parquet"
    assert find_table(path) is None
    path.write_bytes(b"PAR1" * 20)
    told = refusal(find_table, path)
    assert told.startswith(f"{path}: not a table of scores (")
    assert told.endswith(f"; {TOLD}")


def test_what_polars_cannot_go_on_with_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its panics are no `Exception`; which bytes lead to one is another matter in each version."""

    def panic(_: Path) -> None:
        raise polars.exceptions.PanicException("assertion failed: offset + length <= self.length")

    monkeypatch.setattr(polars, "read_parquet", panic)
    (tmp_path / "a.parquet").touch()
    told = refusal(find_table, tmp_path / "a.parquet")
    assert told.endswith(f"(assertion failed: offset + length <= self.length); {TOLD}")
