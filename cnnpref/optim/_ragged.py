"""Rows of a batch that stop, and places in rows of which each has another number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

Rows = TypeVar("Rows", Tensor, list[Any])

_FIRST, _WIDEST = 16, 1024  # places; each part is 4 times as wide as the last


def find(mask: Tensor) -> tuple[Tensor, Tensor]:
    """The places of a mask's ones in each row of (B, N), and whether each is one, (B, K) both.

    K is 0 or the whole width of some parts.
    """
    rows, columns = mask.nonzero(as_tuple=True)
    counts = mask.sum(1)
    most = int(counts.max()) if len(rows) else 0
    places = columns.new_zeros(len(mask), sum(_widths(most)))
    valid = torch.zeros_like(places, dtype=torch.bool)
    rank = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
    places[rows, rank], valid[rows, rank] = columns, True
    return places, valid


def parts(places: Tensor) -> Iterator[slice]:
    """Slices of what `find` gives, whose widths do not depend on the batch.

    Where a matrix has another width, its product may come out different in the last digit.
    """
    start = 0
    for width in _widths(places.shape[1]):
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
