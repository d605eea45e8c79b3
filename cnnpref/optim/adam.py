"""Adam (Kingma and Ba 2015) for a batch of problems, with a projection after each step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cnnpref.optim._trace import Trace
from cnnpref.optim.problem import Evaluation, Observe, Optimum, per_row

_FIRST, _SECOND, _LEAST = 0.9, 0.999, 1e-8  # the decay of both moments; what is added to the root

Step = Callable[[Tensor, int], Evaluation]
"""(variables (B, ...), step) -> Evaluation; the function may differ from step to step."""

Project = Callable[[Tensor, int], Tensor]
"""(variables (B, ...), step) -> where they are put; may overwrite them."""


def minimise(
    evaluate: Step,
    x: Tensor,
    rate: Callable[[int], float],
    count: int,
    project: Project,
    observe: Observe | None = None,
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
        running = trace.add(t, found, size)
        mean.lerp_(found.gradient, 1 - _FIRST)
        square.mul_(_SECOND).addcmul_(found.gradient, found.gradient, value=1 - _SECOND)
        root = (square / (1 - _SECOND ** (t + 1))).sqrt_().add_(_LEAST)
        moved = torch.addcdiv(x, mean, root, value=-rate(t) / (1 - _FIRST ** (t + 1)))
        x = torch.where(per_row(running, x), project(moved, t), x)
        if observe:
            observe(t + 1, x, found.activation)
    return trace.optimum(x, x)
