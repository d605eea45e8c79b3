"""Adam (Kingma and Ba 2015) for a batch of problems, with a projection after each step.

And its kin: what a step is made of is the same, its shares of the newest gradient and of the mean
are another method's own.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cnnpref.optim._trace import Trace
from cnnpref.optim.problem import Evaluation, Observe, Optimum, per_row

FIRST, _SECOND, _LEAST = 0.9, 0.999, 1e-8  # the decay of both moments; what is added to the root

Step = Callable[[Tensor, int], Evaluation]
"""(variables (B, ...), step) -> Evaluation; the function may differ from step to step."""

Project = Callable[[Tensor, int], Tensor]
"""(variables (B, ...), step) -> where they are put; may overwrite them."""


Shares = Callable[[int, float], tuple[float, float]]
"""(step, its length) -> what the newest gradient and the running mean of gradients are multiplied
with, before they are divided by the root mean square of gradients."""


def adam(t: int, rate: float) -> tuple[float, float]:
    """The mean alone, which starts at 0 and is scaled up for that."""
    return 0.0, rate / (1 - FIRST ** (t + 1))


def minimise(
    evaluate: Step,
    x: Tensor,
    rate: Callable[[int], float],
    count: int,
    project: Project,
    observe: Observe | None = None,
    shares: Shares = adam,
) -> Optimum:
    """Take `count` steps.

    Every number has moments of its own, so rows do not depend on each other.

    Args:
        evaluate: values and gradients.
        x: start, (B, ...).
        rate: step length of step 0, 1, ...
        count: how many steps.
        project: called after each step.
        observe: called after each step, with variables that the next ones overwrite.
        shares: what a step is made of.

    Returns:
        Optimum whose best iterate is the last: what is evaluated may differ from step to step, so
        values of different steps do not say which was better. A row whose value or gradient is not
        finite stays at its last finite iterate.
    """
    trace = Trace(x, count)
    x, mean, square = x.clone(), torch.zeros_like(x), torch.zeros_like(x)
    for t in range(count):
        found = evaluate(x, t)
        size = found.gradient.flatten(1).abs().amax(1)
        running = trace.add(t, found.activation, size)
        mean.lerp_(found.gradient, 1 - FIRST)
        square.mul_(_SECOND).addcmul_(found.gradient, found.gradient, value=1 - _SECOND)
        root = (square / (1 - _SECOND ** (t + 1))).sqrt_().add_(_LEAST)
        newest, before = shares(t, rate(t))
        moved = torch.addcdiv(x, mean, root, value=-before)
        if newest:
            moved.addcdiv_(found.gradient, root, value=-newest)
        x = torch.where(per_row(running, x), project(moved, t), x)
        if observe:
            observe(t + 1, x, found.activation)
    return trace.optimum(x, x)
