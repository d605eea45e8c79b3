"""The machine's limit: the arithmetic that a target needs, at the rate of a matrix product.

Counted are the multiplications and additions of convolutions and inner products, forward and back
to the image or the features, and only where the target is reached from: of the target's layer one
channel at its positions, of the layers before it what these see. Maps and kernels are square.
"""

from __future__ import annotations

from itertools import pairwise
from math import ceil, prod

import torch
from cases import Case, nets
from contest import Watch
from plain_nets import Fire, Stack
from torch import Tensor, nn

Span = tuple[int, int]  # of rows, and of columns just so; half open


def matmul_rate(device: str, dtype: torch.dtype = torch.float32, tries: int = 3) -> float:
    """FLOP per second of a product of large matrices, the best of some tries."""
    size = 2048 if dtype == torch.float32 else 512  # some processors are slow at bfloat16
    size = 8192 if device.startswith("cuda") else size
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    top, watch = torch.empty_like(a), Watch(device)
    watch()
    for _ in range(tries):
        torch.mm(a, b, out=top)
        watch()
    return 2 * size**3 / min(end - start for start, end in pairwise(watch.times))


def needed(case: Case) -> float:
    """FLOP for one image and one iteration: forward, and as much again for the way back."""
    net, size = case.nets.plain, case.nets.ours.input_shape[-1]
    forward, seen = passed(net, torch.zeros(1, 3, size, size), case.position, case.layer)
    if case.generates:
        generator = nets("generator", case.device)
        *_, (_, made, _) = generator.ours.blobs.values()
        first = (made - size) // 2
        seen = seen[0] + first, seen[1] + first
        forward += passed(generator.plain, torch.zeros(1, 4096), seen)[0]
    return 2 * forward


def passed(
    stack: Stack, x: Tensor, position: str | Span, until: str | None = None
) -> tuple[float, Span]:
    """FLOP of one forward pass, and the span of the input that it needs.

    Args:
        stack: the layers.
        x: an input.
        position: of the map: "center", "all", or a span.
        until: the layer of which a single channel is wanted; None is all of the last layer.
    """
    inputs, outputs = _spans(stack, x)
    last, _, part = (until or "").partition("/")
    names = [name for name, _ in stack.named_children()]
    layers = list(stack.children())[: names.index(last) + 1 if last else None]
    span, channels, total = _place(position, outputs[layers[-1]]), 1 if until else None, 0.0
    for layer in reversed(layers):
        flops, span = _needs(layer, inputs, span, channels, part)
        total, channels, part = total + flops, None, ""
    return total, span


def _spans(stack: Stack, x: Tensor) -> tuple[dict[nn.Module, Span], dict[nn.Module, Span]]:
    """How far the maps reach that each layer takes and makes; without a map (0, 1)."""
    inputs: dict[nn.Module, Span] = {}
    outputs: dict[nn.Module, Span] = {}

    def record(layer: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
        for spans, value in ((inputs, given[0]), (outputs, made)):
            spans[layer] = (0, value.shape[-1] if value.ndim == 4 else 1)

    hooks = [layer.register_forward_hook(record) for layer in stack.modules()]
    stack(x.to(next(stack.parameters()).device))
    for hook in hooks:
        hook.remove()
    return inputs, outputs


def _place(position: str | Span, whole: Span) -> Span:
    if position == "center":
        return whole[1] // 2, whole[1] // 2 + 1
    return whole if isinstance(position, str) else position


def _needs(
    layer: nn.Module,
    inputs: dict[nn.Module, Span],
    span: Span,
    channels: int | None = None,
    part: str = "",
) -> tuple[float, Span]:
    """FLOP of some channels, or all, on a span of a layer's map, and what it needs to be given.

    `part` is one of a Fire's two kinds of kernels; without it both are meant.
    """
    if isinstance(layer, Fire):
        parts = [part] if part else ["expand1x1", "expand3x3"]
        below = [_needs(layer.get_submodule(p), inputs, span, channels) for p in parts]
        squeezed, span = _needs(layer.squeeze1x1, inputs, below[-1][1])
        return squeezed + sum(flops for flops, _ in below), span
    whole = inputs[layer]
    if isinstance(layer, nn.Linear):
        return 2.0 * layer.in_features * (channels or layer.out_features), whole
    if isinstance(layer, nn.Flatten | nn.Unflatten):
        return 0.0, whole
    if isinstance(layer, nn.ConvTranspose2d):
        return _deconvolution(layer, span, whole)
    if isinstance(layer, nn.Conv2d):
        taps = prod(layer.weight.shape[1:])
        flops = 2.0 * (span[1] - span[0]) ** 2 * taps * (channels or layer.out_channels)
        kernel, stride, pad = layer.kernel_size[0], layer.stride[0], layer.padding[0]
        return flops, _window(span, kernel, stride, pad, whole)
    if isinstance(layer, nn.MaxPool2d):
        return 0.0, _window(span, layer.kernel_size, layer.stride, layer.padding, whole)
    return 0.0, span  # each value for itself, or across channels


def _window(span: Span, kernel: int, stride: int, pad: int, whole: Span) -> Span:
    first, last = span[0] * stride - pad, (span[1] - 1) * stride - pad + kernel
    return max(first, 0), min(last, whole[1])


def _deconvolution(layer: nn.ConvTranspose2d, span: Span, whole: Span) -> tuple[float, Span]:
    kernel, stride, pad = layer.kernel_size[0], layer.stride[0], layer.padding[0]
    pixels = (span[1] - span[0]) ** 2
    flops = 2.0 * pixels * prod(layer.weight.shape) / stride**2
    first, last = ceil((span[0] + pad - kernel + 1) / stride), (span[1] - 1 + pad) // stride + 1
    return flops, (max(first, 0), min(last, whole[1]))
