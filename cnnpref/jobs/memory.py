"""How many units fit into a device's memory at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import torch

from cnnpref.nets.net import Net
from cnnpref.planning.estimate import AT_ONCE, unit_memory
from cnnpref.planning.series import Series

_SHARE = 0.75  # of the free memory; the rest is for kernels' workspaces and for what is not counted
_ROOT = Path("/")
_NONE_LEFT = ("can't allocate memory", "MPS backend out of memory")  # the CPU's and Apple's words


def rows_at_once(series: Series, net: Net, generator: Net | None = None) -> int:
    """How many units of a series are maximised together, at least 1: a cautious estimate.

    It is what memory allows, and on a CPU no more than is any faster.

    Args:
        series: the units.
        net: the network, on its device.
        generator: the one that makes the images, where the method needs it.
    """
    most = AT_ONCE if net.device.type == "cpu" else sys.maxsize
    fitting = _SHARE * free_bytes(net.device) / unit_memory(series, net, generator)
    return min(most, max(1, int(fitting)))


def free_bytes(device: torch.device, root: Path = _ROOT) -> float:
    """Memory that is free on a device; of the CPU's this process's part, by its threads.

    Args:
        device: where the nets are.
        root: of the file system that tells about the CPU's memory.
    """
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    if device.type == "mps":  # of the system's memory, which it shares
        return float(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    part = min(1.0, torch.get_num_threads() / _cores())
    return part * min([_available(root), *_left_in_groups(root)])


def _cores() -> int:
    """CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _available(root: Path) -> float:
    """Bytes that the operating system could give to programs now."""
    found = _fields(root / "proc/meminfo").get("MemAvailable:")
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return float(pages) if found is None else 1024.0 * found


class _Version(NamedTuple):
    """Where a version of Linux's control groups has its figures.

    Attributes:
        top: the folder of the uppermost group.
        limit: the file with the bytes that a group may take.
        used: the file with those that it has taken, cached files included.
        cached: the entry of `memory.stat` for cached files that can be dropped at once.
    """

    top: str
    limit: str
    used: str
    cached: str


_V1 = _Version(
    "sys/fs/cgroup/memory",
    "memory.limit_in_bytes",
    "memory.usage_in_bytes",
    "total_inactive_file",
)
_V2 = _Version("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file")


def _left_in_groups(root: Path) -> Iterator[float]:
    """Bytes that each control group of this process still allows (Slurm, containers).

    A group's limit holds for all groups below it, so each level from the uppermost to that of this
    process counts. In a container, only the levels that it is shown are there.
    """
    groups = root / "proc/self/cgroup"
    for line in groups.read_text().splitlines() if groups.is_file() else []:
        _, controllers, path = line.split(":", 2)
        if not controllers or "memory" in controllers.split(","):
            version = _V1 if controllers else _V2
            levels = accumulate(
                PurePosixPath(path.lstrip("/")).parts, Path.joinpath, initial=root / version.top
            )
            yield from (_left(level, version) for level in levels)


def _left(group: Path, version: _Version) -> float:
    """Bytes that a group still allows; infinite if it has no limit."""
    stat = _fields(group / "memory.stat")
    limits = [_number(group / version.limit), stat.get("hierarchical_memory_limit")]
    limit = min((found for found in limits if found is not None), default=None)
    if limit is None:
        return float("inf")
    used = max(0, (_number(group / version.used) or 0) - stat.get(version.cached, 0))
    return float(max(0, limit - used))


def _number(path: Path) -> int | None:
    """The number in a file; None if there is no such file, or another word."""
    text = path.read_text().strip() if path.is_file() else ""
    return int(text) if text.isdigit() else None


def _fields(path: Path) -> dict[str, int]:
    """The numbers in a file by the words before them; none if there is no such file."""
    lines = path.read_text().splitlines() if path.is_file() else []
    words = [line.split() for line in lines]
    return {each[0]: int(each[1]) for each in words if len(each) > 1 and each[1].isdigit()}


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there was no memory left."""
    told = any(words in str(error) for words in _NONE_LEFT)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or told


def release_memory() -> None:
    """Give back what GPUs hold for later use."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
