"""What an optimiser is given and returns: a batch of independent problems."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from cnnpref.status import Status


class Evaluation(NamedTuple):
    """One pass over a batch of B problems.

    Attributes:
        activation: what is reported, (B,).
        loss: what is minimised, (B,).
        gradient: of the loss, (B, ...) like the variables.
        worth: by which iterates are compared, larger is better, (B,).
    """

    activation: Tensor
    loss: Tensor
    gradient: Tensor
    worth: Tensor


@dataclass(frozen=True)
class Optimum:
    """What an optimiser of `optim/` returns, for a batch of B independent problems.

    Attributes:
        x: last iterates, (B, ...).
        best: the iterates whose value was the best seen, (B, ...).
        values: one value per evaluation, (B, T), NaN after a problem stopped.
        status: one per problem.
    """

    x: Tensor
    best: Tensor
    values: Tensor
    status: list[Status]


Evaluate = Callable[[Tensor, Sequence[int]], Evaluation]
"""(variables (b, ...) of some rows of the batch, the numbers of those rows) -> Evaluation."""

Observe = Callable[[int, Tensor, Tensor], None]
"""(number of iterations or evaluations so far, variables (B, ...), activations (B,))."""


def status_of(finite: bool, driven: bool, risen: bool, evaluations: int) -> Status:
    """How the optimisation of a row went.

    Args:
        finite: all of its values and gradients were.
        driven: some gradient of it was not 0.
        risen: a later evaluation was worth more than the first.
        evaluations: how many there were; after a single one nothing could have risen.
    """
    if not finite:
        return Status.DIVERGED
    if not driven:
        return Status.ZERO_GRADIENT
    return Status.OK if risen or evaluations == 1 else Status.STUCK


def per_row(values: Tensor, like: Tensor) -> Tensor:
    """(B,) as (B, 1, ..., 1), to combine with `like`."""
    return values.reshape(-1, *(1,) * (like.ndim - 1))
