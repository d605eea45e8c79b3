"""Adam (Kingma and Ba 2015) for a batch of problems, with a projection after each step.

And its kin: what a step is made of is the same, its shares of the newest gradient and of the mean
are another method's own.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cnnpref.optim._trace import Trace
from cnnpref.optim.portions import overwrite, portions
from cnnpref.optim.problem import Evaluation, Observe, Optimum

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
    moved, size = torch.empty_like(x), x.new_empty(len(x))
    for t in range(count):
        found = evaluate(x, t)
        newest, before = shares(t, rate(t))
        for part in portions(x):
            gradient = found.gradient[part]
            size[part] = gradient.flatten(1).abs().amax(1)
            mean[part].lerp_(gradient, 1 - FIRST)
            square[part].mul_(_SECOND).addcmul_(gradient, gradient, value=1 - _SECOND)
            root = (square[part] / (1 - _SECOND ** (t + 1))).sqrt_().add_(_LEAST)
            torch.addcdiv(x[part], mean[part], root, value=-before, out=moved[part])
            if newest:
                moved[part].addcdiv_(gradient, root, value=-newest)
        running = trace.add(t, found, size)
        projected = project(moved, t)
        overwrite(projected, ~running, x)
        x, moved = projected, x
        if observe:
            observe(t + 1, x, found.activation)
    return trace.optimum(x, x)
