"""Before a run: damaged unit files go, for Snakemake takes a file that is there for a right one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from cnnpref.planning.files import LAYER
from cnnpref.planning.plan import Plan
from cnnpref.planning.selection import format_ranges
from cnnpref.planning.series import Series
from cnnpref.results.check import is_collected
from cnnpref.results.unit_file import check_unit


def discard_damaged(plan: Plan) -> list[str]:
    """Delete the unit files that are damaged, unless they are older than their layer file.

    A layer file of these very units was made of them when they were whole. Files that the
    operating system does not let this process read or delete are left alone.

    Returns:
        Warnings: a line for each series that had damaged files, or one that nothing can be written.
    """
    if not _is_writable(plan.folder):
        return [
            f"warning: cannot write into {plan.folder}: what is missing there cannot be made;"
            " mend that or choose another results folder"
        ]
    return [line for layer in plan.layers for line in _discard_of_layer(plan, layer)]


def _is_writable(folder: Path) -> bool:
    places = (folder, *folder.parents)
    return os.access(next(path for path in places if os.access(path, os.F_OK)), os.W_OK)


def _discard_of_layer(plan: Plan, layer: str) -> Iterator[str]:
    series, data = plan.select(layer), plan.path(LAYER, layer)
    made = data.stat().st_mtime_ns if is_collected(data, series) else 0
    for each in series:
        if reasons := dict(_discard(each, made)):
            count = f"{len(reasons):,} damaged unit file{'s' if len(reasons) > 1 else ''}"
            told = f"{format_ranges(reasons)} ({', '.join(sorted(set(reasons.values())))})"
            yield f"warning: {each.folder}: {count}, deleted, to be computed again: {told}"


def _discard(series: Series, since: int) -> Iterator[tuple[int, str]]:
    """Units and what was wrong with their files, written at `since` (in ns) or later."""
    for unit in series.units:
        path = series.path(unit)
        looked_at = _inode(path, since)
        reason = check_unit(path, series.digest) if looked_at else None
        # A job that another run left behind may have replaced the file in the meantime.
        if looked_at and reason and _delete(path, looked_at, since):
            yield unit, reason


def _inode(path: Path, since: int) -> int | None:
    """Which file it is at the moment; None if it is missing or older."""
    try:
        told = path.stat()
    except OSError:
        return None
    return told.st_ino if told.st_mtime_ns >= since else None


def _delete(path: Path, inode: int, since: int) -> bool:
    """Whether a file could be deleted: one that can be read, and is still that inode."""
    try:
        path.read_bytes()
        if _inode(path, since) != inode:
            return False
        path.unlink()
    except OSError:
        return False
    return True
