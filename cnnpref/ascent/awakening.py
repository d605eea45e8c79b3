"""Starts from which a gradient leads on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cnnpref.nets.shut_relus import ShutRelusPass
from cnnpref.optim.problem import per_row

_STEPS = 16
_STEP, _GROWTH = 0.2, 1.3  # mean absolute value of the first, relative to the start's; of others


def awaken(
    x: Tensor, gradient: Callable[[Tensor], Tensor], bounds: tuple[Tensor, Tensor]
) -> Tensor:
    """The rows of a start, those without gradient moved to where they have one, if they can be.

    Args:
        x: variables, (B, ...).
        gradient: of the loss with respect to them, (B, ...).
        bounds: of the variables, broadcast against one row.
    """
    stride = _STEP * x.flatten(1).abs().mean(1)
    for _ in range(_STEPS):
        asleep = (gradient(x) == 0).flatten(1).all(1)
        if not asleep.any():
            break
        with ShutRelusPass():
            way = gradient(x)
        size = way.flatten(1).abs().mean(1)
        can_move = asleep & (size > 0)
        if not can_move.any():
            break
        length = torch.where(can_move, stride / size, 0)
        x = (x - per_row(length, x) * way).clamp(*bounds)
        stride = _GROWTH * stride
    return x
