"""Gradient descent with momentum, batched: every row is a problem of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cnnpref.optim.problem import Evaluate, Observe
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
    rows = (-1,) + (1,) * (x.ndim - 1)
    v = torch.zeros_like(x)
    best, record = x.clone(), torch.full((len(x),), -torch.inf, device=x.device)
    alive = torch.ones(len(x), dtype=torch.bool, device=x.device)
    moved, waiting = torch.zeros_like(alive), alive
    risen = torch.zeros(len(x), dtype=torch.long, device=x.device)  # last iteration of a new best
    trace = torch.full((len(x), rate.steps), torch.nan, device=x.device)
    for t in range(rate.steps):
        start = x
        if steps.shift:
            x, v = steps.shift(x, t), steps.shift(v, t)
        values, _, g = evaluate(x)
        size = g.flatten(1).abs().mean(1)
        alive = alive & values.isfinite() & size.isfinite()
        moved = moved | (size > 0)
        running = alive & waiting
        trace[:, t] = torch.where(running, values, torch.nan)
        better = running & (values > record)
        record, risen = torch.where(better, values, record), torch.where(better, t, risen)
        best = torch.where(better.reshape(rows), start, best)
        if normalise:
            g = g / torch.where(size > 0, size, 1).reshape(rows)
        v = momentum(t) * v + g
        for penalty in steps.penalties:
            v = v + penalty(x, t)
        x = x - rate(t) * v
        for edit in steps.edits:
            x = edit(x, g, t)
        if steps.unshift:
            left = 0 if steps.unshift_newest else g
            x, v = steps.unshift(x, t), steps.unshift(v - left, t) + left
        for step in steps.finish:
            x = step(x, t)
        x = torch.where(running.reshape(rows), x, start)
        if observe:
            observe(t + 1, x, values)
        if patience:
            waiting = waiting & (t - risen < patience)
            if t % _CHECK_EVERY == 0 and not (alive & waiting).any():
                break
    return Optimum(x, best, trace, _statuses(alive, moved))


def _statuses(alive: Tensor, moved: Tensor) -> list[Status]:
    return [
        Status.DIVERGED if not a else Status.OK if m else Status.ZERO_GRADIENT
        for a, m in zip(alive.tolist(), moved.tolist(), strict=True)
    ]
