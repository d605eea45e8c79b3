"""Made-up nets for hypothesis: chains and branches of layers over space."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from hypothesis import HealthCheck, assume, reject, settings
from hypothesis import strategies as st
from prototxts import layer, load

from cnnpref.errors import UserError
from cnnpref.nets.caffe import CaffeNet

# Drawing a prototxt loads it, which takes its time on a busy machine.
RELAXED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
Draw = st.DrawFn
SINGLE = ("Convolution", "Deconvolution", "Pooling", "LRN", "Tile", "BatchNorm")


def declared(height: int, width: int) -> str:
    return f'input: "data"\ninput_shape {{ dim: 1 dim: 3 dim: {height} dim: {width} }}\n'


def kernel(draw: Draw, transposed: bool = False) -> str:
    """Size, stride, padding and dilation; some units see nothing but padding."""
    fields = {
        "kernel_h": draw(st.integers(1, 3)),
        "kernel_w": draw(st.integers(1, 4)),
        "stride_h": draw(st.integers(1, 2)),
        "stride_w": draw(st.integers(1, 3)),
        "pad_h": draw(st.integers(0, 1 if transposed else 4)),
        "pad_w": draw(st.integers(0, 1 if transposed else 3)),
    }
    return (
        " ".join(f"{k}: {v}" for k, v in fields.items()) + f" dilation: {draw(st.integers(1, 2))}"
    )


def single(draw: Draw, name: str, bottom: str, shape: Sequence[int]) -> str:
    """A layer over space whose gradients have no accidental zeros."""
    kind = draw(st.sampled_from(SINGLE))
    if kind == "Pooling":
        size = draw(st.integers(1, 3))
        stride, pad = draw(st.integers(1, size)), draw(st.integers(0, size - 1))
        given = f"pool: AVE kernel_size: {size} stride: {stride} pad: {pad}"
        return layer(name, kind, bottom, f"pooling_param {{ {given} }}")
    if kind == "LRN":
        region = draw(st.sampled_from(["WITHIN_CHANNEL", "ACROSS_CHANNELS"]))
        given = f"norm_region: {region} local_size: {draw(st.sampled_from([1, 3, 5]))}"
        return layer(name, kind, bottom, f"lrn_param {{ {given} }}")
    if kind == "Tile":
        given = f"axis: {draw(st.integers(1, 3))} tiles: 2"
        return layer(name, kind, bottom, f"tile_param {{ {given} }}")
    if kind == "BatchNorm":
        return layer(name, kind, bottom, "batch_norm_param { use_global_stats: true }")
    group = 2 if shape[0] % 2 == 0 and draw(st.booleans()) else 1
    given = f"num_output: {group * 2} group: {group} {kernel(draw, kind == 'Deconvolution')}"
    return layer(name, kind, bottom, f"convolution_param {{ {given} }}")


def sliced(draw: Draw, name: str, bottom: str, shape: Sequence[int]) -> str:
    """The second of two parts of a blob."""
    axis = draw(st.integers(1, 3))
    assume(shape[axis - 1] > 1)
    point, part = draw(st.integers(1, shape[axis - 1] - 1)), f"{name}_part"
    return (
        f'layer {{ name: "{name}_cut" type: "Slice" bottom: "{bottom}" top: "{name}_rest"'
        f' top: "{part}" slice_param {{ axis: {axis} slice_point: {point} }} }}\n'
    ) + layer(name, "Dropout", part)


def joined(draw: Draw, name: str, one: str, other: str, net: CaffeNet) -> str:
    """Two branches as one blob: joined where they fit, or after a crop."""
    (channels, *size), (others, *smaller) = net.blobs[one], net.blobs[other]
    if channels == others and size[1] == smaller[1]:
        return layer(name, "Concat", [one, other], "concat_param { axis: 2 }")
    if size == smaller:
        kinds = ["Concat", "Eltwise"] if channels == others else ["Concat"]
        return layer(name, draw(st.sampled_from(kinds)), [one, other])
    room = [a - b for a, b in zip(size, smaller, strict=True)]
    assume(min(room) >= 0)
    offsets = " ".join(f"offset: {draw(st.integers(0, r))}" for r in room)
    return layer(name, "Crop", [one, other], f"crop_param {{ axis: 2 {offsets} }}")


@st.composite
def prototxts(draw: Draw) -> str:
    """Chains and branches of up to five layers."""
    text = declared(draw(st.integers(3, 9)), draw(st.integers(3, 9)))
    tops = ["data"]
    for number in range(draw(st.integers(1, 5))):
        name = f"layer{number}"
        branches = draw(st.lists(st.sampled_from(tops), min_size=1, max_size=2, unique=True))
        if len(branches) == 2:
            text += joined(draw, name, *branches, net=loaded(text))
        else:
            shape = loaded(text).blobs[branches[0]]
            makes = sliced if draw(st.integers(0, 5)) == 0 else single
            text += makes(draw, name, branches[0], shape)
        tops.append(name)
    assume(max(loaded(text).layers[tops[-1]][1:]) <= 12)
    return text


def loaded(text: str) -> CaffeNet:
    """The net; a kernel that is larger than its bottom makes the example invalid."""
    try:
        return load(text)
    except UserError:
        reject()


def positive(text: str) -> tuple[CaffeNet, str]:
    """The net with positive weights, and its last layer."""
    net, random = load(text), torch.Generator().manual_seed(0)
    for weight in net.parameters():
        weight.uniform_(0.2, 1, generator=random)
    return net, list(net.layers)[-1]
