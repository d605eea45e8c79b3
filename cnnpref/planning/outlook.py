"""What is left to do of a plan: units, jobs and disk, series by series."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from cnnpref.planning.batches import split
from cnnpref.planning.estimate import memory_mb, reference_seconds, score_seconds, unit_bytes
from cnnpref.planning.files import LAYER, SCORES, SHARD
from cnnpref.planning.plan import Plan
from cnnpref.planning.series import Batch, Series

_HEADINGS = ("layer", "method", "units", "there", "jobs", "disk", "memory", "s/unit", "time")
COPIES = 2  # of an image on disk, until it is packed: in its unit file and in its layer file


@dataclass(frozen=True)
class Share:
    """What a series takes.

    Attributes:
        series: the units of a layer by a method.
        missing: the units that have no file; files that exist are not opened.
        jobs: how many jobs compute the missing ones.
        disk: bytes of all its unit files and of its part of the layer file.
        memory: of its largest job, in MB.
    """

    series: Series
    missing: tuple[int, ...]
    jobs: int
    disk: int
    memory: int

    @property
    def units(self) -> int:
        """How many are wanted."""
        return len(self.series.units)


@dataclass(frozen=True)
class Time:
    """How long a series takes.

    Attributes:
        unit: seconds of a unit in a job; 0 where none is missing.
        job: seconds that a job takes before it computes units.
        measured: whether it was timed; if not, it is estimated from the shapes of the nets.
    """

    unit: float
    job: float
    measured: bool

    def of(self, share: Share) -> float:
        """Seconds of all missing units, one job after the other."""
        return self.unit * len(share.missing) + self.job * share.jobs


Packed = Callable[[Path, str], Collection[int]]
"""Tells the units of the series of a digest whose files a layer file stands for."""


def outlook(plan: Plan, packed: Packed) -> list[Share]:
    """The share of every series of a plan."""
    return [_share(plan, series, packed) for series in plan.series]


def _share(plan: Plan, series: Series, packed: Packed) -> Share:
    there, kept = _names(series.folder), packed(plan.path(LAYER, series.layer), series.digest)
    lacking = {unit for unit in series.units if series.path(unit).name not in there}
    missing = lacking.difference(kept)
    batches = split(plan, Batch(series, series.units))
    jobs = sum(not missing.isdisjoint(batch.units) for batch in batches)
    disk = COPIES * len(series.units) * unit_bytes(plan, series)
    return Share(series, tuple(sorted(missing)), jobs, disk, memory_mb(plan, batches[0]))


def _names(folder: Path) -> set[str]:
    """Of the files in a folder, which need not exist."""
    try:
        return set(os.listdir(folder))  # noqa: PTH208 - names alone
    except OSError:
        return set()


def table(shares: Sequence[Share], times: Sequence[Time] | None, jobs: int) -> str:
    """A line for each series and one for all of them.

    Args:
        shares: the series.
        times: theirs, or None to leave times out.
        jobs: how many run at a time; the total time is divided by it.
    """
    known: Sequence[Time | None] = times or [None] * len(shares)
    rows = [_row(share, time) for share, time in zip(shares, known, strict=True)]
    columns = list(zip(_HEADINGS, *rows, _total(shares, times, jobs), strict=True))
    columns = columns[: None if times else -2]
    cells = [_column(column, index < 2) for index, column in enumerate(columns)]
    return "\n".join("  ".join(line).rstrip() for line in zip(*cells, strict=True))


def _column(texts: Sequence[str], left: bool) -> list[str]:
    width = max(map(len, texts))
    return [text.ljust(width) if left else text.rjust(width) for text in texts]


def _row(share: Share, time: Time | None) -> tuple[str, ...]:
    counts = (share.units, share.units - len(share.missing), share.jobs)
    about = "" if time and time.measured else "~"
    times = (about + _seconds(time.unit), about + duration(time.of(share))) if time else ("", "")
    return (
        share.series.layer,
        share.series.name,
        *(f"{count:,}" for count in counts),
        size(share.disk),
        f"{share.memory / 1000:.1f} GB",
        *(times if share.missing else ("", "")),
    )


def _total(shares: Sequence[Share], times: Sequence[Time] | None, jobs: int) -> tuple[str, ...]:
    """All series: the memory is that of the jobs that run at a time."""
    counts = [sum(share.units for share in shares), _there(shares), _jobs(shares)]
    seconds = sum(time.of(share) for time, share in zip(times or (), shares, strict=False)) / jobs
    memory = jobs * max(share.memory for share in shares) / 1000
    return (
        "all",
        f"{jobs} at a time",
        *(f"{count:,}" for count in counts),
        size(sum(share.disk for share in shares)),
        f"{memory:.1f} GB",
        "",
        duration(seconds),
    )


def summary(plan: Plan, shares: Sequence[Share]) -> str:
    """One line: the plan's units and how many of them are there, its jobs, and its disk."""
    units, disk = sum(share.units for share in shares), sum(share.disk for share in shares)
    return (
        f"{plan.folder}: layers {len(plan.layers)}, methods {len(plan.names)}, unit files"
        f" {units:,} ({_there(shares):,} there), jobs to compute the others {_jobs(shares):,},"
        f" disk {size(disk)} in all, {size(disk / COPIES)} packed"
    )


def beside(plan: Plan) -> list[str]:
    """A line each for what jobs beside series do: show reference images, score pictures."""
    lines = []
    if wanted := plan.references:
        paths = zip(wanted.shards, plan.paths([SHARD]), strict=True)
        missing = [len(shard.images) for shard, path in paths if not path.exists()]
        count, parts = len(wanted.index.images), len(wanted.shards)
        left = _left(len(missing), sum(missing) * reference_seconds(plan))
        lines.append(
            f"references: images {count:,}, parts {parts:,} ({parts - len(missing):,} {left}"
        )
    todo = [layer for layer in plan.layers if not plan.path(SCORES, layer).exists()]
    left = _left(len(todo), sum(score_seconds(plan, layer) for layer in todo))
    lines.append(f"scores: layers {len(plan.layers):,} ({len(plan.layers) - len(todo):,} {left}")
    return lines


def _left(jobs: int, seconds: float) -> str:
    time = f", ~{duration(seconds)} of one CPU core at most" if jobs else ""
    return f"there), jobs to compute the others {jobs:,}{time}"


def _there(shares: Sequence[Share]) -> int:
    return sum(share.units - len(share.missing) for share in shares)


def _jobs(shares: Sequence[Share]) -> int:
    return sum(share.jobs for share in shares)


def _seconds(number: float) -> str:
    return f"{number:,.0f}" if number >= 10 else f"{number:.2g}"


def size(count: float) -> str:
    """Bytes, as a text."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def duration(seconds: float) -> str:
    """Seconds, as a text."""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"
