"""Before a run, what Snakemake does not see of a file that exists: damaged or wrong ones go."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from cnnpref.planning.files import LAYER
from cnnpref.planning.plan import Plan
from cnnpref.planning.selection import format_ranges
from cnnpref.planning.series import Series
from cnnpref.results.check import has_other_labels, is_collected
from cnnpref.results.packing import unpack
from cnnpref.results.unit_file import check_unit


def discard_damaged(plan: Plan) -> list[str]:
    """Delete the unit files that are damaged, unless they are older than their layer file.

    A layer file of exactly these units shows that older unit files were whole when it was made of
    them. A layer file with other labels than the config's is deleted too, to be made again of the
    same unit files. A packed layer file that is not what the config asks for becomes unit files
    again, so that nothing is lost or computed twice. Files that the operating system does not let
    this process read or delete stay.

    Returns:
        What was done: a line for each series that had damaged files and for each layer file that
        was unpacked, or one line if the run's folder cannot be written.
    """
    if not _is_writable(plan.folder):
        return [
            f"warning: cannot write into {plan.folder}: missing files cannot be made there;"
            " fix that or choose another results folder"
        ]
    return [line for layer in plan.layers for line in _discard_of_layer(plan, layer)]


def _is_writable(folder: Path) -> bool:
    places = (folder, *folder.parents)
    return os.access(next(path for path in places if os.access(path, os.F_OK)), os.W_OK)


def _discard_of_layer(plan: Plan, layer: str) -> Iterator[str]:
    series, data = plan.select(layer), plan.path(LAYER, layer)
    is_right = is_collected(data, series)
    if not is_right and (unpacked := unpack(data, plan.folder)):
        yield f"{data}: not what the config asks for; its {unpacked:,} unit files are there again"
    relabelled = has_other_labels(data, series)
    made = data.stat().st_mtime_ns if relabelled or is_right else 0
    for each in series:
        if reasons := dict(_discard(each, made)):
            count = f"{len(reasons):,} damaged unit file{'s' if len(reasons) > 1 else ''}"
            units = f"{format_ranges(reasons)} ({', '.join(sorted(set(reasons.values())))})"
            yield f"warning: {each.folder}: {count}, deleted, to be computed again: {units}"
    if relabelled:
        with suppress(OSError):
            data.unlink()


def _discard(series: Series, since: int) -> Iterator[tuple[int, str]]:
    """Units and what was wrong with their files, of those written at `since` (ns) or later."""
    for unit in series.units:
        path = series.path(unit)
        checked = _inode(path, since)
        reason = check_unit(path, series.digest) if checked else None
        # A job that survived another run may have replaced the file in the meantime.
        if checked and reason and _delete(path, checked, since):
            yield unit, reason


def _inode(path: Path, since: int) -> int | None:
    """The inode number of a file; None if it is missing or older than `since`."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino if status.st_mtime_ns >= since else None


def _delete(path: Path, inode: int, since: int) -> bool:
    """Delete a file if it can be read and still has that inode; returns whether it did."""
    try:
        path.read_bytes()
        if _inode(path, since) != inode:
            return False
        path.unlink()
    except OSError:
        return False
    return True
