"""Damaged unit files go, so that Snakemake, to whom a file that is there is right, makes them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cnnpref.check import is_collected
from cnnpref.errors import UserError
from cnnpref.plan import Plan
from cnnpref.selection import format_ranges
from cnnpref.series import Series
from cnnpref.store import check_unit


def discard_damaged(plan: Plan, layer: str) -> list[str]:
    """Delete the unit files of a layer that are damaged, unless they are older than its layer file.

    A layer file of these very units was made of them when they were whole. Files that the
    operating system does not let this process read are left alone.

    Returns:
        What was done: a line for each series that had damaged files.

    Raises:
        UserError: the operating system refused to delete a file.
    """
    series = plan.select(layer)
    data = plan.layer_file(layer)
    made = data.stat().st_mtime_ns if is_collected(data, series) else 0
    return [line for each in series if (line := _discard(each, made))]


def _discard(series: Series, since: int) -> str | None:
    """Delete damaged files of a series that were written at `since` or later, in nanoseconds."""
    reasons = dict(_discarded(series, since))
    if not reasons:
        return None
    count = f"{len(reasons):,} damaged unit file{'s' if len(reasons) > 1 else ''}"
    told = f"{format_ranges(sorted(reasons))} ({', '.join(sorted(set(reasons.values())))})"
    return f"warning: {series.folder}: {count}, deleted, to be computed again: {told}"


def _discarded(series: Series, since: int) -> Iterator[tuple[int, str]]:
    """The units whose files were damaged, and how; each file is deleted."""
    for unit in series.units:
        path = series.path(unit)
        found = _inode(path, since)
        if found and (reason := check_unit(path, series.digest)) and _is_readable(path):
            if found == _inode(path, since):  # no job has replaced it in the meantime
                _delete(path)
            yield unit, reason


def _inode(path: Path, since: int) -> int | None:
    """Which file it is now; None if it is missing or older."""
    try:
        told = path.stat()
    except OSError:
        return None
    return told.st_ino if told.st_mtime_ns >= since else None


def _is_readable(path: Path) -> bool:
    try:
        path.read_bytes()
    except OSError:
        return False
    return True


def _delete(path: Path) -> None:
    try:
        path.unlink()
    except OSError as error:
        raise UserError(
            f"cannot delete {path}, which is damaged: {error.strerror}; mend that and run it again"
        ) from None
