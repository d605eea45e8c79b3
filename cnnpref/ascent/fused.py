"""Maps of images channel by channel, with their gradients, few rows at a time.

What PyTorch would do in a dozen passes over memory is done in one: on a CPU the rows of a portion
stay in its cache. Each number is made by the same operations whatever the other rows are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from cnnpref.optim.portions import portions


class Painted(torch.autograd.Function):
    """Components (B, C, h, w) as images in 0..1: the sigmoid of `axes @ components + mean`."""

    @staticmethod
    def forward(ctx: Any, components: Tensor, axes: list[list[float]], mean: list[float]) -> Tensor:
        """Channel by channel: a product of matrices would sum in an order of its own."""
        squeezed, images = torch.empty_like(components), torch.empty_like(components)
        for part in portions(components):
            for c, (row, shift) in enumerate(zip(axes, mean, strict=True)):
                logit = _mixed(components[part], row).add_(shift)
                # PyTorch's own sigmoid rounds the last values of a tensor differently
                torch.tanh(logit.mul_(0.5), out=squeezed[part, c])
            torch.mul(squeezed[part], 0.5, out=images[part]).add_(0.5)
        ctx.axes = axes
        ctx.save_for_backward(squeezed)
        return images

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,), (squeezed,) = gradients, ctx.saved_tensors
        found = torch.empty_like(gradient)
        for part in portions(gradient):
            slope = torch.ops.aten.tanh_backward(gradient[part] * 0.25, squeezed[part])
            for k, column in enumerate(zip(*ctx.axes, strict=True)):
                found[part, k] = _mixed(slope, column)
        return found, None, None


def _mixed(x: Tensor, weights: Sequence[float]) -> Tensor:
    """The weighted sum of the channels of (B, C, h, w), (B, h, w)."""
    total = x[:, 0] * weights[0]
    for channel, weight in enumerate(weights[1:], 1):
        total.add_(x[:, channel] * weight)
    return total


class Encoded(torch.autograd.Function):
    """Images (B, C, h, w) in 0..1 as a net's input: `(255 x[order] - mean) * scale`."""

    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        order: Sequence[int],
        mean: Sequence[float],
        scale: Sequence[float],
    ) -> Tensor:
        ctx.order, ctx.scale = order, scale
        found = torch.empty_like(images)
        for part in portions(images):
            for c, (source, shift, factor) in enumerate(zip(order, mean, scale, strict=True)):
                torch.mul(images[part, source], 255, out=found[part, c]).sub_(shift).mul_(factor)
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = gradients
        found = torch.empty_like(gradient)
        for part in portions(gradient):
            for c, (source, factor) in enumerate(zip(ctx.order, ctx.scale, strict=True)):
                torch.mul(gradient[part, c], factor, out=found[part, source]).mul_(255)
        return found, None, None, None
