"""Where a row would be best off by its quadratic model, within the bounds."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cnnpref.optim._box import Box, Point
from cnnpref.optim._cauchy import cauchy_point
from cnnpref.optim._history import History, times_vector
from cnnpref.optim._ragged import Room


class Aim(NamedTuple):
    """Where to go from a point.

    Attributes:
        target: within the bounds, (B, N).
        way: from the point to there, (B, N).
        slope: along the way, (B,); negative unless rounding spoils it.
        took: how many bounds each row met, and how many of its variables became free or are so no
            more, (2, B); None where the host has looked.
    """

    target: Tensor
    way: Tensor
    slope: Tensor
    took: Tensor | None


def model_minimum(history: History, box: Box, point: Point, room: Room | None = None) -> Aim:
    """The minimum of the model over what the Cauchy point leaves free, moved into the bounds.

    (Byrd et al. 1995, section 5.1, with the projection of Morales and Nocedal 2011.)

    Args:
        history: gives the model's matrix B of each row.
        box: the bounds.
        point: where the rows are.
        room: None: the host looks at values where that spares work.
    """
    times = point.times(point.descent)
    descent = torch.gt(times, 0, out=torch.empty_like(times)).mul_(point.descent)
    moving = history.product(descent)
    middle = history.middle()
    inverse = torch.linalg.inv_ex(middle).inverse
    bounds, changes = (None, None) if room is None else (room.bounds, room.changes)
    cauchy = cauchy_point(history, descent, times, moving, inverse, bounds)
    time, theta = cauchy.time[:, None], history.theta[:, None]
    free = torch.gt(times, time, out=torch.empty_like(times))
    changed = history.set_free(free, changes)

    # z: the Cauchy point; F: the free variables; r = -(g + B (z - x)) on F; the step is B_FF^-1 r
    gram, through = history.free_gram, times_vector(inverse, cauchy.moved)
    residual = (1 - theta * time) * cauchy.moving + times_vector(gram, through)  # W'r
    inner = torch.linalg.solve_ex(middle - gram / theta[:, None], residual).result
    step = history.combine(through / theta + inner / theta**2)
    remembers = (history.length > 0)[:, None]
    step = step.addcmul_(descent, (1 / theta - time) * remembers).mul_(free)
    start = box.clip(torch.addcmul(point.x, descent, time))
    within = _within(box, point, start, step, looks=room is None)
    met = cauchy.bounds
    return Aim(*within, None if met is None else torch.stack([met, changed.sum(1)]))


def _within(
    box: Box, point: Point, start: Tensor, step: Tensor, looks: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """`start + step` projected; where that leads uphill from the point, cut at the first bound.

    Args:
        box: the bounds.
        point: where the rows are.
        start: of each row, (B, N).
        step: from there, (B, N).
        looks: whether the host looks which rows lead uphill; else all are treated as if they might.

    Returns:
        Target, way and slope, see `Aim`.
    """
    target = box.clip(start + step)
    way = target - point.x
    slope = torch.linalg.vecdot(way, point.descent).neg_()
    rows = (slope > 0).nonzero()[:, 0] if looks else slice(None)
    if isinstance(rows, slice) or len(rows):
        begin, rest = start[rows], step[rows]
        most = box.point(begin, rest).longest(rest).clamp(max=1)
        share = torch.where(slope[rows] > 0, most, 1)
        target[rows] = box.clip(begin + share[:, None] * rest)
        way = target - point.x
        slope = torch.linalg.vecdot(way, point.descent).neg_()
    return target, way, slope
