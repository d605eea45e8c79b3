"""The gradient of a strided convolution of few channels: what nets do with the image first.

The kernels of CPUs and of CUDA GPUs are several times slower than their peak at it. Such a
convolution is one of stride 1 over blocks of stride x stride pixels, taken as channels (space to
depth); so its gradient is that of the latter, laid out as an image again.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cnnpref.geometry import Span

_FEW = 4  # input channels
_LANES = 8  # numbers in a CPU's vector


def suits(x: Tensor, stride: tuple[int, ...], dilation: tuple[int, ...], group: int) -> bool:
    """Whether `strided` is the faster way to a gradient (measured)."""
    return (
        x.device.type in ("cpu", "cuda")
        and x.shape[1] <= _FEW
        and min(stride) > 1
        and (stride[0] == stride[1] and dilation == (1, 1) and group == 1)
    )


def strided(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, pad: tuple[int, int]
) -> Tensor:
    """`F.conv2d`, with a gradient for x alone."""
    top: Tensor = _Strided.apply(x, weight, bias, stride, pad)
    return top


class _Strided(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, pad: Span
    ) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.size, ctx.stride, ctx.pad = x.shape[2:], stride, pad
        return F.conv2d(x, weight, bias, stride, pad)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (weight,), stride = ctx.saved_tensors, ctx.stride
        rows, columns = (-size % stride for size in weight.shape[2:])
        inputs = weight.shape[1]
        idle = -inputs * stride**2 % _LANES // stride**2  # channels that fill up a vector
        kernel = F.pad(weight, (0, columns, 0, rows, 0, idle))
        blocks = F.pixel_unshuffle(kernel, stride).to(gradient.dtype)
        spread = F.pixel_shuffle(F.conv_transpose2d(gradient, blocks), stride)[:, :inputs]
        # what is before the image is padding; what no window reaches has no gradient
        edges: list[int] = []
        for axis in (1, 0):
            pad, size = ctx.pad[axis], ctx.size[axis]
            edges += [-pad, pad + size - spread.shape[2 + axis]]
        return F.pad(spread, edges), None, None, None, None
