"""Local response normalisation across channels with few passes over memory.

y = x * d**-beta with d = k + alpha / n * (sum of x**2 over n neighbouring channels). The gradient
needs another such sum:

    dL/dx = g * d**-beta - 2 beta alpha / n * x * sum(g * x * d**-(beta + 1))
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor


class Constants(NamedTuple):
    """Of the layer: n channels in all, centred."""

    size: int
    alpha: float
    beta: float
    k: float


def across_channels(x: Tensor, constants: Constants) -> Tensor:
    """(N, C, H, W), normalised; differentiable once."""
    if x.is_cpu or not x.is_contiguous():
        x = x.contiguous(memory_format=torch.channels_last)
    top: Tensor = _AcrossChannels.apply(x, constants)
    return top


class _AcrossChannels(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, constants: Constants) -> Tensor:
        size, alpha, beta, k = constants
        root = _summed(x.square(), size).mul_(alpha / size).add_(k).rsqrt_()  # d**-0.5
        power = _to_the(root, 2 * beta)
        ctx.save_for_backward(x, root, power)
        ctx.constants = constants
        return x * power

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (x, root, power), (size, alpha, beta, _) = ctx.saved_tensors, ctx.constants
        scaled = power * gradient  # laid out as power is
        shared = _summed((scaled * x).mul_(root).mul_(root), size)
        return scaled.addcmul_(shared, x, value=-2 * beta * alpha / size), None


def _to_the(root: Tensor, power: float) -> Tensor:
    """A new tensor; the usual beta of 0.75 needs no slow powers."""
    return root.sqrt().mul_(root) if power == 1.5 else root**power


def _summed(x: Tensor, size: int) -> Tensor:
    """The sum over `size` neighbouring channels, (N, C, H, W), laid out as x is."""
    return _shifted(x, size) if x.is_cpu else _product(x, size)


def _shifted(x: Tensor, size: int) -> Tensor:
    """The same by adding up shifted maps, channels last: the faster way on a CPU (measured)."""
    rows = x.permute(0, 2, 3, 1)  # a view of memory that is contiguous
    total = rows.clone()
    for distance in range(1, size // 2 + 1):
        total[..., distance:] += rows[..., :-distance]
        total[..., :-distance] += rows[..., distance:]
    return total.permute(0, 3, 1, 2)


def _product(x: Tensor, size: int) -> Tensor:
    """The same by a product with a matrix (C, C) of ones around its diagonal, in any layout."""
    reach, channels = size // 2, x.shape[1]
    ones = x.new_ones(channels, channels).triu_(-reach).tril_(reach)
    if x.is_contiguous():
        return torch.matmul(ones, x.flatten(2)).view_as(x)
    return torch.matmul(x.permute(0, 2, 3, 1), ones).permute(0, 3, 1, 2)
