"""Maxima of windows are those of Caffe's loop, and the gradient goes to the first of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from prototxts import layer, load
from random_nets import RELAXED, declared

from cnnpref.errors import UserError
from cnnpref.nets.net import full_part

LOWEST = torch.finfo(torch.float32).min

Axis = tuple[int, int, int, int]  # size, kernel, stride, pad


@st.composite
def axes(draw: st.DrawFn) -> Axis:
    kernel = draw(st.integers(1, 5))
    size, stride = draw(st.integers(1, 9)), draw(st.integers(1, 4))
    return size, kernel, stride, draw(st.integers(0, kernel - 1))


def windows(axis: Axis, rounded_up: bool, padded: bool) -> list[range]:
    """The places that each window of an axis sees, by pooling_layer.cpp."""
    size, kernel, stride, pad = axis
    span = size + 2 * pad - kernel
    count = (-(-span // stride) if rounded_up else span // stride) + 1
    if padded and (count - 1) * stride >= size + pad:
        count -= 1
    starts = [i * stride - pad for i in range(count)]
    return [range(max(start, 0), min(start + kernel, size)) for start in starts]


def pooled(
    x: npt.NDArray[np.float32], rows: list[range], columns: list[range]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Maxima of one map, and the gradient of their sum weighted by 1, 2, 3 ..."""
    top = np.full((len(rows), len(columns)), LOWEST, np.float32)
    gradient = np.zeros_like(x)
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            places = [(a, b) for a in row for b in column]
            if places:
                best = max(places, key=lambda place: x[place])  # the first of several
                top[i, j] = x[best]
                gradient[best] += i * len(columns) + j + 1
    return top, gradient


@RELAXED
@given(axes(), axes(), st.booleans(), st.data())
def test_maxima_are_caffes(
    height: Axis, width: Axis, rounded_up: bool, data: st.DataObject
) -> None:
    names = ("kernel_h", "stride_h", "pad_h"), ("kernel_w", "stride_w", "pad_w")
    fields = [
        f"{name}: {value}"
        for side, axis in zip(names, (height, width), strict=True)
        for name, value in zip(side, axis[1:], strict=True)
    ]
    mode = "CEIL" if rounded_up else "FLOOR"
    given_ = f"pooling_param {{ {' '.join(fields)} round_mode: {mode} }}"
    try:
        net = load(declared(height[0], width[0]) + layer("pool", "Pooling", "data", given_))
    except UserError:  # no window fits
        assume(False)
    padded = bool(height[3] or width[3])
    rows, columns = (windows(axis, rounded_up, padded) for axis in (height, width))
    seed = data.draw(st.integers(0, 1000))
    # whole numbers: many are the same
    images = np.random.default_rng(seed).integers(-3, 4, (1, 3, height[0], width[0]))
    x = torch.tensor(images, dtype=torch.float32, requires_grad=True)
    top = net.activations(x, "pool")
    weights = torch.arange(1.0, top[0, 0].numel() + 1).reshape(top.shape[2:])
    (found,) = torch.autograd.grad((top.clamp(min=-1e9) * weights).sum(), x)
    for channel in range(3):
        expected, gradient = pooled(x[0, channel].detach().numpy(), rows, columns)
        np.testing.assert_array_equal(top[0, channel].detach(), expected)
        np.testing.assert_array_equal(found[0, channel], gradient)

    start = [data.draw(st.integers(0, size - 1)) for size in top.shape[2:]]
    box = (
        *start,
        *(data.draw(st.integers(a + 1, n)) for a, n in zip(start, top.shape[2:], strict=True)),
    )
    part = net.part("data", "pool", box)(x)
    torch.testing.assert_close(part, full_part(net, "data", "pool", box)(x), rtol=0, atol=0)
