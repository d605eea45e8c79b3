"""How many units fit into a device's memory at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from math import prod
from pathlib import Path

import torch

from cnnpref.nets.net import Net
from cnnpref.planning.estimate import AT_ONCE

_SHARE = 0.5  # of the free memory; the rest is for kernels' workspaces and for what is not counted
_PASS = 2.5  # a value, its gradient, and what a layer keeps for it
_CANVAS = 100.0  # copies of the variables: L-BFGS has 45, in double precision


def rows_at_once(net: Net, layer: str, others: Iterable[Net] = ()) -> int:
    """How many units of a layer are maximised together, at least 1: a cautious estimate.

    It is what memory allows, and on a CPU no more than is any faster.

    Args:
        net: the network, on its device.
        layer: a name in `net.layers`.
        others: networks that compute beside it, such as a generator.
    """
    names = list(net.layers)
    numbers = sum(prod(net.layers[name]) for name in names[: names.index(layer) + 1])
    numbers += sum(prod(shape) for other in others for shape in other.layers.values())
    per_row = 4 * (_PASS * numbers + _CANVAS * prod(net.input_shape))
    most = AT_ONCE if net.device.type == "cpu" else sys.maxsize
    return min(most, max(1, int(_SHARE * free_bytes(net.device) / per_row)))


def free_bytes(device: torch.device) -> float:
    """Memory that is free on a device; of the CPU's this process's part, by its threads."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    part = min(1.0, torch.get_num_threads() / (os.cpu_count() or 1))
    return part * min(_available(), _limit())


def _available() -> float:
    """What the operating system could give to programs now."""
    meminfo = Path("/proc/meminfo")
    lines = meminfo.read_text().splitlines() if meminfo.exists() else []
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 1024.0 * int(found[0]) if found else float(pages)


def _limit() -> float:
    """What this process's control group may take (Slurm, containers); infinite if anything."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        path = Path("/sys/fs/cgroup", name)
        text = path.read_text().strip() if path.is_file() else ""
        if text.isdigit():
            return float(text)
    return float("inf")


def is_exhausted(error: BaseException) -> bool:
    """Whether an error says that there was no memory left."""
    told = "can't allocate memory" in str(error)  # by the allocator of the CPU
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or told
