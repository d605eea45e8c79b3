"""Where a row would be best off by its quadratic model, within the bounds."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cnnpref.optim._box import Box, Point
from cnnpref.optim._cauchy import cauchy_point
from cnnpref.optim._history import History, times_vector


class Aim(NamedTuple):
    """Where to go from a point.

    Attributes:
        target: within the bounds, (B, N).
        way: from the point to there, (B, N).
        slope: along the way, (B,); negative unless rounding spoils it.
    """

    target: Tensor
    way: Tensor
    slope: Tensor


def model_minimum(history: History, box: Box, point: Point) -> Aim:
    """The minimum of the model over what the Cauchy point leaves free, moved into the bounds.

    (Byrd et al. 1995, section 5.1, with the projection of Morales and Nocedal 2011.)

    Args:
        history: gives the model's matrix B of each row.
        box: the bounds.
        point: where the rows are.
    """
    times = point.times(point.descent)
    descent = torch.gt(times, 0, out=torch.empty_like(times)).mul_(point.descent)
    moving = history.product(descent)
    middle = history.middle()
    inverse = torch.linalg.inv_ex(middle).inverse
    cauchy = cauchy_point(history, descent, times, moving, inverse)
    time, theta = cauchy.time[:, None], history.theta[:, None]
    free = torch.gt(times, time, out=torch.empty_like(times))
    history.set_free(free)

    # z: the Cauchy point; F: the free variables; r = -(g + B (z - x)) on F; the step is B_FF^-1 r
    gram, through = history.free_gram, times_vector(inverse, cauchy.moved)
    residual = (1 - theta * time) * cauchy.moving + times_vector(gram, through)  # W'r
    inner = torch.linalg.solve_ex(middle - gram / theta[:, None], residual).result
    step = history.combine(through / theta + inner / theta**2)
    remembers = (history.length > 0)[:, None]
    step = step.addcmul_(descent, (1 / theta - time) * remembers).mul_(free)
    return _within(box, point, box.clip(torch.addcmul(point.x, descent, time)), step)


def _within(box: Box, point: Point, start: Tensor, step: Tensor) -> Aim:
    """`start + step` projected; where that leads uphill from the point, cut at the first bound."""
    target = box.clip(start + step)
    way = target - point.x
    slope = torch.linalg.vecdot(way, point.descent).neg_()
    uphill = (slope > 0).nonzero()[:, 0]
    if len(uphill):
        begin, rest = start[uphill], step[uphill]
        share = box.point(begin, rest).longest(rest).clamp(max=1)
        target[uphill] = box.clip(begin + share[:, None] * rest)
        way = target - point.x
        slope = torch.linalg.vecdot(way, point.descent).neg_()
    return Aim(target, way, slope)
