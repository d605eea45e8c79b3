"""Where a row would be best off by its quadratic model, within the bounds."""

from __future__ import annotations

import torch
from torch import Tensor

from cnnpref.optim._box import Box
from cnnpref.optim._cauchy import cauchy_point
from cnnpref.optim._history import History


def model_minimum(
    history: History, box: Box, x: Tensor, gradient: Tensor, changed: list[int]
) -> tuple[Tensor, Tensor]:
    """The minimum of the model over what the Cauchy point leaves free, moved into the bounds.

    (Byrd et al. 1995, section 5.1, with the projection of Morales and Nocedal 2011.)

    Args:
        history: gives the model's matrix B of each row.
        box: the bounds.
        x: (B, N).
        gradient: at x, (B, N).
        changed: the rows whose history has a new pair.

    Returns:
        The point (B, N), and the slope from x to it, (B,): negative unless rounding spoils it.
    """
    times = box.times(x, -gradient)
    descent = torch.gt(times, 0, out=torch.empty_like(x)).mul_(gradient).neg_()
    moving = history.product(descent, changed)
    middle = history.middle()
    inverse = torch.linalg.inv_ex(middle).inverse
    cauchy = cauchy_point(history, descent, times, moving, inverse)
    time, theta = cauchy.time[:, None], history.theta[:, None]
    free = torch.gt(times, time, out=torch.empty_like(x))
    history.set_free(free)

    # with z the Cauchy point and F the free variables: r = -(g + B (z - x)), s = B_FF^-1 r on F
    gram, through = history.free_gram, _times(inverse, cauchy.moved)
    residual = (1 - theta * time) * cauchy.moving + _times(gram, through)  # W'r on F
    inner = torch.linalg.solve_ex(middle - gram / theta[:, None], residual).result
    step = history.combine(through / theta + inner / theta**2)
    step = torch.addcmul(step, descent, 1 / theta - time)
    step *= free * (history.length > 0)[:, None]
    past = 1.001 - 0.001 * free  # what a bound has stopped shall be on it exactly
    point = box.clip(torch.addcmul(x, descent, past.mul_(time)))
    return _within(box, x, gradient, point, step)


def _within(
    box: Box, x: Tensor, gradient: Tensor, point: Tensor, step: Tensor
) -> tuple[Tensor, Tensor]:
    """`point + step` projected, or where that leads uphill from x, cut at the first bound."""
    target = box.clip(point + step)
    slope = torch.linalg.vecdot(gradient, target - x)
    uphill = (slope > 0).nonzero()[:, 0]
    if len(uphill):
        start, way = point[uphill], step[uphill]
        share = box.longest(start, way).clamp(max=1)
        target[uphill] = box.clip(start + share[:, None] * way)
        slope = torch.linalg.vecdot(gradient, target - x)
    return target, slope


def _times(matrices: Tensor, vectors: Tensor) -> Tensor:
    """A matrix times a vector in each row; its sums are the same in any batch."""
    return (matrices * vectors[:, None]).sum(2)
