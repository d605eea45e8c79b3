"""Rows of a batch that stop, and places in rows of which each has another number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

Rows = TypeVar("Rows", Tensor, list[Any])

_FIRST, _WIDEST = 16, 1024  # places; each part is 4 times as wide as the last
_AT_ONCE = 4096  # places on a GPU, which would wait for the launches of small parts
_LEAST = 64  # places that there is always room for


@dataclass
class Room:
    """For how many places of each row there is room, where the host does not ask how many it takes.

    A GPU stalls whenever its host asks. So what it takes is told together with what comes of it,
    and where that is more, it is done again.

    Attributes:
        bounds: that a row meets on its way.
        changes: of what is free in a row.
    """

    bounds: int = _LEAST
    changes: int = _LEAST

    def suffices(self, bounds: Sequence[float], changes: Sequence[float]) -> bool:
        """Whether it was enough for what the rows took; there will be room for twice as many."""
        met, changed = int(max(bounds)), int(max(changes))
        enough = met <= self.bounds and changed <= self.changes
        self.bounds = max(_LEAST, 2 * met, self.bounds // 2)
        self.changes = max(_LEAST, 2 * changed, self.changes // 2)
        return enough


def sent(values: Sequence[Any], device: torch.device, dtype: torch.dtype = torch.long) -> Tensor:
    """Numbers of the host on a device, which does not wait for them."""
    pinned = device.type == "cuda"
    return torch.tensor(values, dtype=dtype, pin_memory=pinned).to(device, non_blocking=True)


def find(mask: Tensor, room: int | None = None) -> tuple[Tensor, Tensor]:
    """The places of a mask's ones in each row of (B, N), and whether each is one, (B, K) both.

    Args:
        mask: of what is looked for.
        room: of how many in each row; K is that. None: of all; K is 0 or the whole width of parts.
    """
    return _all(mask) if room is None else _first(mask, room)


def _first(mask: Tensor, room: int) -> tuple[Tensor, Tensor]:
    rank = mask.cumsum(1)
    places = rank.new_zeros(len(mask), room + 1)  # the last is for all that is not wanted
    columns = torch.arange(mask.shape[1], device=mask.device).expand_as(mask)
    places.scatter_(1, torch.where(mask & (rank <= room), rank - 1, room), columns)
    return places[:, :room], torch.arange(room, device=mask.device) < rank[:, -1:]


def _all(mask: Tensor) -> tuple[Tensor, Tensor]:
    rows, columns = mask.nonzero(as_tuple=True)
    counts = mask.sum(1)
    most = int(counts.max()) if len(rows) else 0
    places = columns.new_zeros(len(mask), sum(_widths(most)))
    valid = torch.zeros_like(places, dtype=torch.bool)
    rank = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
    places[rows, rank], valid[rows, rank] = columns, True
    return places, valid


def parts(places: Tensor) -> Iterator[slice]:
    """Slices of what `find` gives; on a CPU their widths do not depend on the batch.

    Where a matrix has another width, its product may come out different in the last digit.
    """
    start, count = 0, places.shape[1]
    widths = _widths(count) if places.is_cpu else [_AT_ONCE] * -(-count // _AT_ONCE)
    for width in widths:
        yield slice(start, start + width)
        start += width


def _widths(count: int) -> Iterator[int]:
    """Widths that add up to `count` or more."""
    width = _FIRST
    while count > 0:
        yield width
        count -= width
        width = min(4 * width, _WIDEST)


def close_gaps(rows: Rows, gone: Sequence[int]) -> Rows:
    """Rows without those in some places, which the last ones take; in place, without a copy."""
    left = len(rows) - len(gone)
    holes = [place for place in gone if place < left]
    movers = [place for place in range(left, len(rows)) if place not in gone]
    for hole, mover in zip(holes, movers, strict=True):
        rows[hole] = rows[mover]
    return rows[:left]
