"""The steps that an iteration of gradient descent is made of; a method puts them in order.

A `Step` is called with the variables (B, ...) of some rows, the iteration, and which rows of the
batch they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from cnnpref.ascent import pixel_ops
from cnnpref.ascent.importance import Sensitivity
from cnnpref.ascent.variables import Draws
from cnnpref.optim.descent import Rows, Step
from cnnpref.optim.problem import Evaluate, Evaluation, per_row
from cnnpref.optim.schedule import Linear

Clip = Callable[[Tensor, Tensor, float], Tensor]
"""(images, their gradients, percentage) -> images."""


class Sensed:
    """An evaluation that keeps how sensitive each pixel was, in the images' own frame.

    Args:
        evaluate: is asked once in each iteration.
        unshift: moves gradients back from the frame in which they were taken.
        rows: of the batch.
    """

    def __init__(self, evaluate: Evaluate, unshift: Step | None, rows: int) -> None:
        self._evaluate, self._unshift, self._rows = evaluate, unshift, rows
        self._count = 0
        self.sensitivity = Sensitivity()

    def __call__(self, x: Tensor, rows: Sequence[int]) -> Evaluation:
        found = self._evaluate(x, rows)
        gradient = found.gradient
        if self._unshift:
            chosen = slice(None) if len(rows) == self._rows else list(rows)
            gradient = self._unshift(gradient, self._count, chosen)
        self.sensitivity.add(gradient, rows)
        self._count += 1
        return found


def jitter(
    size: int, iterations: int, draws: Sequence[Draws], device: torch.device
) -> dict[str, Step]:
    """Steps `shift` and `unshift`: by -size .. size pixels to each side, drawn for every row."""
    rows = [np.stack([d.randint(-size, size + 1, 2) for _ in range(iterations)]) for d in draws]
    offsets = torch.from_numpy(np.stack(rows, -1)).to(device)  # (iterations, 2, B)
    return {
        "shift": lambda x, t, rows: pixel_ops.shift(x, *offsets[t, :, rows]),
        "unshift": lambda x, t, rows: pixel_ops.shift(x, *-offsets[t, :, rows]),
    }


def penalty(
    gradient: Callable[[Tensor], Tensor], weight: Linear, scales: Tensor, normalise: bool
) -> Step:
    """What a penalty adds to the velocity.

    Args:
        gradient: of the penalty, from the images.
        weight: of the penalty, by iteration.
        scales: the penalty is divided by their squares, (B,).
        normalise: then, by its mean absolute value, as gradients are.
    """

    def added(x: Tensor, t: int, rows: Rows) -> Tensor:
        r = gradient(x) / per_row(scales[rows], x) ** 2
        return weight(t) * (pixel_ops.unit_mean(r) if normalise else r)

    return added


def every(period: int, pct: Linear, clip: Clip) -> Callable[[Tensor, Tensor, int], Tensor]:
    """A clip of images in every `period`-th iteration, by a scheduled percentage."""
    return lambda x, g, t: clip(x, g, pct(t)) if (t + 1) % period == 0 else x


def decay(share: Linear) -> Step:
    """Variables lose a share of themselves."""
    return lambda x, t, _rows: x.mul_(1 - share(t))


def blur(sigma: Linear, device: torch.device) -> Step:
    """Images on a device are blurred."""
    if device.type == "cpu":
        return lambda x, t, _rows: pixel_ops.blur(x, sigma(t))
    kernels = pixel_ops.kernels([sigma(t) for t in range(sigma.iterations)], device)
    return lambda x, t, _rows: pixel_ops.blur(x, sigma(t), kernels[t])


def fixed_contrast(mean: float, sd: float) -> Step:
    """Images whose values have this mean and standard deviation; uniform ones are left uniform."""

    def fixed(x: Tensor, _t: int, _rows: Rows) -> Tensor:
        apart = x - per_row(x.flatten(1).mean(1), x)
        spread = apart.flatten(1).square().mean(1).sqrt()
        return apart * per_row(sd / torch.where(spread > 0, spread, 1), x) + mean

    return fixed


def fixed_norm(norm: float) -> Step:
    """Images of this L2 norm; those of norm 0 stay as they are."""

    def fixed(x: Tensor, _t: int, _rows: Rows) -> Tensor:
        found = x.flatten(1).square().sum(1).sqrt()
        return x * per_row(norm / torch.where(found > 0, found, norm), x)

    return fixed


def with_blurred_gradient(evaluate: Evaluate, sigma: float, device: torch.device) -> Evaluate:
    """The same evaluation, with the gradients of images on a device blurred."""
    if sigma <= 0:
        return evaluate
    (kernel,) = pixel_ops.kernels([sigma], device)

    def blurred(x: Tensor, rows: Sequence[int]) -> Evaluation:
        found = evaluate(x, rows)
        return found._replace(gradient=pixel_ops.blur(found.gradient, sigma, kernel))

    return blurred


def within(lower: Tensor, upper: Tensor) -> Step:
    """Variables stay within bounds."""
    return lambda x, _t, _rows: x.clamp(lower, upper)
