"""Random modules for hypothesis: chains and branches of what layers do to maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from hypothesis import reject
from hypothesis import strategies as st
from torch import Tensor, nn

Draw = st.DrawFn
Step = Callable[..., Tensor]


def weights(*shape: int) -> Tensor:
    """Positive, always the same: no gradient is lost by chance."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(sum(shape))) + 0.2


def two(draw: Draw, low: int, high: int) -> list[int]:
    return draw(st.lists(st.integers(low, high), min_size=2, max_size=2))


def convolution(draw: Draw, x: Tensor) -> Step:
    stride, padding, dilation = two(draw, 1, 3), two(draw, 0, 3), two(draw, 1, 2)
    groups = draw(st.sampled_from([1, x.shape[1]]))
    given = weights(x.shape[1], x.shape[1] // groups, *two(draw, 1, 3))
    return lambda x: F.conv2d(x, given, None, stride, padding, dilation, groups)


def deconvolution(draw: Draw, x: Tensor) -> Step:
    stride, padding, dilation = two(draw, 1, 2), two(draw, 0, 1), two(draw, 1, 2)
    more = [draw(st.integers(0, s - 1)) for s in stride]
    given = weights(x.shape[1], 3, *two(draw, 1, 4))
    return lambda x: F.conv_transpose2d(x, given, None, stride, padding, more, 1, dilation)


def pooling(draw: Draw, _x: Tensor) -> Step:
    kernel, stride = two(draw, 1, 3), two(draw, 1, 3)
    padding = [draw(st.integers(0, k // 2)) for k in kernel]
    ceil, counted = draw(st.booleans()), draw(st.booleans())
    return lambda x: F.avg_pool2d(x, kernel, stride, padding, ceil, counted)


def adaptive(draw: Draw, _x: Tensor) -> Step:
    size = two(draw, 1, 6)
    return lambda x: F.adaptive_avg_pool2d(x, size)


def padding(draw: Draw, _x: Tensor) -> Step:
    mode = draw(st.sampled_from(["constant", "reflect", "replicate"]))
    low = -1 if mode == "constant" else 0
    edges = [*two(draw, low, 2), *two(draw, low, 2)]
    return lambda x: F.pad(x, edges, mode)


def resizing(draw: Draw, _x: Tensor) -> Step:
    mode = draw(st.sampled_from(["nearest", "nearest-exact", "bilinear", "bicubic"]))
    size = two(draw, 2, 12)
    aligned = draw(st.booleans()) if mode in ("bilinear", "bicubic") else None
    if draw(st.booleans()):
        return lambda x: F.interpolate(x, size, mode=mode, align_corners=aligned)
    return lambda x: F.interpolate(x, scale_factor=1.7, mode=mode, align_corners=aligned)


def turning(draw: Draw, _x: Tensor) -> Step:
    axis, shift = draw(st.integers(1, 3)), draw(st.integers(-2, 2))
    return draw(st.sampled_from([lambda x: x.flip(axis), lambda x: x.roll(shift, axis)]))


def slicing(draw: Draw, _x: Tensor) -> Step:
    (top, left), step = two(draw, 0, 2), draw(st.integers(1, 2))
    return lambda x: x[:, :, top::step, left : x.shape[3] - 1]


def shuffling(draw: Draw, x: Tensor) -> Step:
    given = weights(12, x.shape[1], 1, 1)
    choices: list[Step] = [
        lambda x: F.pixel_shuffle(F.conv2d(x, given), 2),
        lambda x: F.pixel_unshuffle(x, 2),
        lambda x: x.view(len(x), 1, -1, *x.shape[2:]).transpose(1, 2).reshape(x.shape) * 2,
        lambda x: torch.stack(x.unbind(1)[::-1], 1),
        lambda x: torch.cat(x.chunk(2, 1)[::-1], 1),
    ]
    return draw(st.sampled_from(choices))


def channels(draw: Draw, x: Tensor) -> Step:
    """Over the channels of each position, which may come last for the while."""
    count = x.shape[1]
    square, scale = weights(count, count), weights(count)
    choices: list[Step] = [
        lambda x: F.linear(x.permute(0, 2, 3, 1), square, scale).permute(0, 3, 1, 2),
        lambda x: F.layer_norm(x.transpose(1, 3), (count,), scale).transpose(1, 3) + x,
        lambda x: F.batch_norm(x, scale, scale, scale),
        lambda x: F.prelu(F.softplus(x), scale),
        lambda x: x + x.sum(1, keepdim=True),
    ]
    return draw(st.sampled_from(choices))


def wholes(draw: Draw, x: Tensor) -> Step:
    """Of all rows, of all columns, or both."""
    count = x.shape[1]
    choices: list[Step] = [
        lambda x: x.mean(2, keepdim=True),
        lambda x: x + x.mean((2, 3), keepdim=True),
        lambda x: x + x.sum((2, 3)).view(len(x), count, 1, 1),
        lambda x: x + x.sum(3)[..., None],
        lambda x: F.group_norm(x, 1, weights(count)) if x[0].numel() > 2 else x * 2,
    ]
    return draw(st.sampled_from(choices))


def in_place(_draw: Draw, _x: Tensor) -> Step:
    def doubled(x: Tensor) -> Tensor:
        y = x * 1
        y *= 2
        return F.leaky_relu_(y, 0.5)

    return doubled


KINDS = [convolution, deconvolution, pooling, adaptive, padding, resizing, turning, slicing]
KINDS += [shuffling, channels, wholes, in_place]


def joining(draw: Draw, one: Tensor, other: Tensor) -> Step:
    if one.shape == other.shape:
        return draw(st.sampled_from([torch.add, lambda x, y: x.clone().add_(y)]))
    for axis in (1, 2, 3):
        if [s for a, s in enumerate(one.shape) if a != axis] == [
            s for a, s in enumerate(other.shape) if a != axis
        ]:
            return lambda x, y: torch.cat([x, y], axis)
    size = one.shape[2:]
    return lambda x, y: torch.cat([x, F.interpolate(y, size)], 1)


class Made(nn.Module):
    """Steps, each of one or two values that were made before."""

    def __init__(self, steps: Sequence[tuple[Step, Sequence[int]]]) -> None:
        super().__init__()
        self.steps = steps

    def forward(self, x: Tensor) -> Tensor:
        values = [x * 1]
        for step, sources in self.steps:
            values.append(step(*(values[source] for source in sources)))
        return values[-1] * 2


@st.composite
def modules(draw: Draw) -> tuple[Made, tuple[int, int, int]]:
    """Chains and branches of up to five steps, and the shape of their images."""
    shape = (3, draw(st.integers(3, 9)), draw(st.integers(3, 9)))
    values, steps = [torch.ones(1, *shape)], []
    for _ in range(draw(st.integers(1, 5))):
        every = range(len(values))
        sources = draw(st.lists(st.sampled_from(every), min_size=1, max_size=2, unique=True))
        inputs = [values[source] for source in sources]
        make = draw(st.sampled_from(KINDS)) if len(sources) == 1 else joining
        step = make(draw, *inputs)
        steps.append((step, sources))
        values.append(attempt(step, inputs))
    if max(values[-1].shape[2:]) > 12:
        reject()
    return Made(steps), shape


def attempt(step: Step, inputs: Sequence[Tensor]) -> Tensor:
    """What a step gives; one that does not fit its inputs makes the example invalid."""
    try:
        made = step(*inputs)
    except (RuntimeError, ValueError, IndexError):
        reject()
    if not made.numel():
        reject()
    return made
