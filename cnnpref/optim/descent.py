"""Gradient descent with momentum, batched: every row is a problem of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cnnpref.optim.problem import Evaluate, Observe, per_row
from cnnpref.schedule import Linear
from cnnpref.solution import Optimum, Status

_CHECK_EVERY = 10  # iterations between looks at whether any row still runs: a look stalls a GPU


@dataclass(frozen=True)
class Steps:
    """What happens in an iteration beside the gradient step; each entry is a step in order.

    Attributes:
        shift, unshift: (x, t) -> x, into a moved frame before the evaluation, and back.
        penalties: (x, t) -> what is added to the velocity.
        edits: (x, gradient, t) -> x, after the update, in the moved frame.
        finish: (x, t) -> x, at the end, in the frame of the image.
        unshift_newest: whether the newest gradient in the velocity moves back, too. The original
            leaves it where it is.
    """

    shift: Callable[[Tensor, int], Tensor] | None = None
    unshift: Callable[[Tensor, int], Tensor] | None = None
    penalties: Sequence[Callable[[Tensor, int], Tensor]] = ()
    edits: Sequence[Callable[[Tensor, Tensor, int], Tensor]] = ()
    finish: Sequence[Callable[[Tensor, int], Tensor]] = ()
    unshift_newest: bool = False


def descend(
    evaluate: Evaluate,
    x: Tensor,
    rate: Linear,
    momentum: Linear,
    steps: Steps,
    normalise: bool = True,
    patience: int = 0,
    observe: Observe | None = None,
) -> Optimum:
    """`rate.steps` iterations of v = momentum * v + g; x = x - rate * v.

    Args:
        evaluate: values and gradients; larger values count as better.
        x: start, (B, ...).
        rate: schedule of the step length; its `steps` is the number of iterations.
        momentum: schedule of the share of the last step that is kept.
        steps: what else happens in an iteration.
        normalise: divide each row's gradient by its mean absolute value.
        patience: a row whose value has not risen for so many iterations stops; 0 is never.
        observe: called after each iteration.

    Returns:
        Optimum; a row whose value or gradient is not finite keeps its last finite iterate.
    """
    record, v = _Record(x, rate.steps, patience), torch.zeros_like(x)
    rows: Sequence[int] = range(len(x))
    values, g = x.new_zeros(len(x)), torch.zeros_like(x)
    for t in range(rate.steps):
        start = x
        if steps.shift:
            x, v = steps.shift(x, t), steps.shift(v, t)
        values, g = _evaluated(evaluate, x, rows, values, g)
        size = g.flatten(1).abs().mean(1)
        running = record.add(t, start, values, size)
        if normalise:
            g = g / per_row(torch.where(size > 0, size, 1), g)
        x, v = _updated(x, v, g, t, rate(t), momentum(t), steps)
        x = torch.where(per_row(running, x), x, start)
        if observe:
            observe(t + 1, x, values)
        if patience and t % _CHECK_EVERY == 0:
            rows = running.nonzero()[:, 0].tolist()
            if not rows:
                break
    return record.optimum(x)


def _evaluated(
    evaluate: Evaluate, x: Tensor, rows: Sequence[int], values: Tensor, g: Tensor
) -> tuple[Tensor, Tensor]:
    """Values and gradients of the rows that still run; the others keep what they had."""
    if len(rows) == len(x):
        values, _, g = evaluate(x, rows)
        return values, g
    places = torch.tensor(rows, device=x.device)
    some, _, slopes = evaluate(x[places], rows)
    return values.index_copy(0, places, some), g.index_copy(0, places, slopes)


def _updated(
    x: Tensor, v: Tensor, g: Tensor, t: int, rate: float, momentum: float, steps: Steps
) -> tuple[Tensor, Tensor]:
    """Variables and velocity after the step along `g`, back in the frame of the image."""
    v = momentum * v + g
    for penalty in steps.penalties:
        v = v + penalty(x, t)
    x = x - rate * v
    for edit in steps.edits:
        x = edit(x, g, t)
    if steps.unshift:
        left = 0 if steps.unshift_newest else g
        x, v = steps.unshift(x, t), steps.unshift(v - left, t) + left
    for step in steps.finish:
        x = step(x, t)
    return x, v


class _Record:
    """Trace, best iterate and state of every row; on the device, without looking at values."""

    def __init__(self, x: Tensor, steps: int, patience: int) -> None:
        self.patience = patience
        self.trace = torch.full((len(x), steps), torch.nan, device=x.device)
        self.best, self.peak = x, torch.full((len(x),), -torch.inf, device=x.device)
        self.finite = torch.ones(len(x), dtype=torch.bool, device=x.device)
        self.moved = torch.zeros_like(self.finite)
        self.risen = torch.zeros_like(self.peak)  # iteration of the highest value

    def add(self, t: int, x: Tensor, values: Tensor, size: Tensor) -> Tensor:
        """Take down iteration t; say which rows still run, (B,)."""
        self.finite = self.finite & values.isfinite() & size.isfinite()
        self.moved = self.moved | (size > 0)
        rising = self.risen + self.patience >= t
        running = self.finite & rising if self.patience else self.finite
        self.trace[:, t] = torch.where(running, values, torch.nan)
        better = running & (values > self.peak)
        self.peak = torch.where(better, values, self.peak)
        self.risen = torch.where(better, t, self.risen)
        self.best = torch.where(per_row(better, x), x, self.best)
        return running

    def optimum(self, x: Tensor) -> Optimum:
        states = zip(self.finite.tolist(), self.moved.tolist(), strict=True)
        statuses = [
            Status.DIVERGED if not finite else Status.OK if moved else Status.ZERO_GRADIENT
            for finite, moved in states
        ]
        return Optimum(x, self.best, self.trace, statuses)
