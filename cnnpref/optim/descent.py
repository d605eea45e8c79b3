"""Gradient descent with momentum, batched: every row is a problem of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from cnnpref.optim._trace import Trace
from cnnpref.optim.portions import overwrite, portions
from cnnpref.optim.problem import Evaluate, Evaluation, Observe, Optimum, per_row
from cnnpref.optim.schedule import Linear

_CHECK_EVERY = 10  # iterations between looks at whether any row still runs: a look stalls a GPU


Rows = slice | list[int]

Step = Callable[[Tensor, int, Rows], Tensor]
"""(x, t, rows) -> x: variables of some rows, the iteration, which rows of the batch they are."""


@dataclass(frozen=True)
class Steps:
    """What happens in an iteration beside the gradient step; each entry is a step in order.

    An iteration looks at the variables in a moved frame. Everything else happens in their own:
    what it makes of a pixel does not depend on the place of the pixel, except for penalties.

    Attributes:
        shift, unshift: into the moved frame, and back.
        penalties: what is added to the velocity; they see the moved frame.
        edits: (x, gradient, t) -> x, after the update; may overwrite x.
        finish: at the end; may overwrite x.
        unshift_newest: whether the newest gradient in the velocity moves back, too. The original
            leaves it where it is.
    """

    shift: Step | None = None
    unshift: Step | None = None
    penalties: Sequence[Step] = ()
    edits: Sequence[Callable[[Tensor, Tensor, int], Tensor]] = ()
    finish: Sequence[Step] = ()
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
    """`rate.iterations` times v = momentum * v + g; x = x - rate * v.

    Args:
        evaluate: values and gradients.
        x: start, (B, ...).
        rate: schedule of the step length; as long as there are iterations.
        momentum: schedule of the share of the last step that is kept.
        steps: what else happens in an iteration.
        normalise: divide each row's gradient by its mean absolute value.
        patience: a row whose value has not risen for so many iterations stops; 0 is never.
        observe: called after each iteration, with variables that the next ones overwrite.

    Returns:
        Optimum; a row whose value or gradient is not finite keeps its last finite iterate.
    """
    record, v = _Best(x, rate.iterations, patience), torch.zeros_like(x)
    rows: Sequence[int] = range(len(x))
    nothing, size = x.new_zeros(len(x)), x.new_zeros(len(x))
    found = Evaluation(nothing, nothing, torch.zeros_like(x), nothing)
    x, spare, moved, parts = x.clone(), torch.empty_like(x), torch.empty_like(x), portions(x)
    for t in range(rate.iterations):
        for part in parts if steps.shift else ():
            moved[part] = _moved(steps.shift, x[part], t, part)
        seen = moved if steps.shift else x
        found = _evaluated(evaluate, seen, rows, found)
        g = found.gradient
        for part in parts:
            size[part] = g[part].flatten(1).abs().mean(1)
        running = record.add_iterate(t, x, found, size)
        scale = torch.where(size > 0, size, 1) if normalise else torch.ones_like(size)
        now = _Iteration(t, rate(t), momentum(t), scale, steps)
        for part in parts:
            spare[part] = _updated(now, x, v, g, seen, part)
        overwrite(spare, ~running, x)
        x, spare = spare, x
        if observe:
            observe(t + 1, x, found.activation)
        if patience and t % _CHECK_EVERY == 0:
            rows = running.nonzero()[:, 0].tolist()
            if not rows:
                break
    return record.optimum(x, record.best)


def _moved(move: Step | None, x: Tensor, t: int, rows: slice) -> Tensor:
    return move(x, t, rows) if move else x


def _evaluated(
    evaluate: Evaluate, x: Tensor, rows: Sequence[int], before: Evaluation
) -> Evaluation:
    """Of the rows that still run; the others keep what they had."""
    if len(rows) == len(x):
        return evaluate(x, rows)
    places = torch.tensor(rows, device=x.device)
    pairs = zip(before, evaluate(x[places], rows), strict=True)
    return Evaluation(*(old.index_copy(0, places, new) for old, new in pairs))


class _Iteration(NamedTuple):
    """What holds for all rows in an iteration; `scale` (B,) is what each gradient is divided by."""

    t: int
    rate: float
    momentum: float
    scale: Tensor
    steps: Steps


def _updated(
    now: _Iteration, xs: Tensor, vs: Tensor, gs: Tensor, seen: Tensor, part: slice
) -> Tensor:
    """Variables of some rows after the step along g, of the moved frame; changes vs and gs."""
    t, rate, momentum, scale, steps = now
    v, g = vs[part], gs[part]
    g /= per_row(scale[part], g)
    gradient = _moved(steps.unshift, g, t, part)
    torch.add(gradient, v, alpha=momentum, out=v)
    for penalty in steps.penalties:
        v += _moved(steps.unshift, penalty(seen[part], t, part), t, part)
    x = torch.add(xs[part], v, alpha=-rate)
    for edit in steps.edits:
        x = edit(x, gradient, t)
    if steps.unshift and not steps.unshift_newest:
        v.sub_(gradient).add_(g)
    for step in steps.finish:
        x = step(x, t, part)
    return x


class _Best(Trace):
    """Also the best iterate of every row, and whether it still rises."""

    def __init__(self, x: Tensor, iterations: int, patience: int) -> None:
        super().__init__(x, iterations)
        self.patience, self.best = patience, x.clone()
        self.summit = torch.zeros_like(self.peak)  # iteration of the highest value

    def add_iterate(self, t: int, x: Tensor, found: Evaluation, size: Tensor) -> Tensor:
        """Take down iteration t; say which rows still run, (B,)."""
        rising = self.summit + self.patience >= t if self.patience else None
        running = self.add(t, found, size, rising)
        self.summit = torch.where(self.better, t, self.summit)
        overwrite(self.best, self.better, x)
        return running
