"""What an optimiser is given: a batch of independent problems."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor


class Evaluation(NamedTuple):
    """One pass over a batch of B problems.

    Attributes:
        activation: what is reported, larger is better, (B,).
        loss: what is minimised, (B,).
        gradient: of the loss, (B, ...) like the variables.
    """

    activation: Tensor
    loss: Tensor
    gradient: Tensor


Evaluate = Callable[[Tensor, Sequence[int]], Evaluation]
"""(variables (b, ...) of some rows of the batch, the numbers of those rows) -> Evaluation."""

Observe = Callable[[int, Tensor, Tensor], None]
"""(number of iterations or evaluations so far, variables (B, ...), activations (B,))."""


def per_row(values: Tensor, like: Tensor) -> Tensor:
    """(B,) as (B, 1, ..., 1), to combine with `like`."""
    return values.reshape(-1, *(1,) * (like.ndim - 1))
