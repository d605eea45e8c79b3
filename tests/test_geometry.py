"""Receptive fields: the box of pixels from which a gradient comes, in made-up nets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import HealthCheck, assume, given, reject, settings
from hypothesis import strategies as st
from prototxts import layer, load

from cnnpref.errors import UserError
from cnnpref.nets.caffe import CaffeNet

# Drawing a prototxt loads it, which takes its time on a busy machine.
RELAXED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
Draw = st.DrawFn
Mask = npt.NDArray[np.bool_]


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


def single(draw: Draw, name: str, bottom: str) -> str:
    """A layer over space whose gradients have no accidental zeros."""
    kind = draw(st.sampled_from(["Convolution", "Deconvolution", "Pooling", "LRN", "Tile"]))
    if kind == "Pooling":
        size = draw(st.integers(1, 3))
        stride, pad = draw(st.integers(1, size)), draw(st.integers(0, size - 1))
        given = f"pool: AVE kernel_size: {size} stride: {stride} pad: {pad}"
        return layer(name, kind, bottom, f"pooling_param {{ {given} }}")
    if kind == "LRN":
        given = f"norm_region: WITHIN_CHANNEL local_size: {draw(st.sampled_from([1, 3, 5]))}"
        return layer(name, kind, bottom, f"lrn_param {{ {given} }}")
    if kind == "Tile":
        given = f"axis: {draw(st.integers(2, 3))} tiles: 2"
        return layer(name, kind, bottom, f"tile_param {{ {given} }}")
    given = f"num_output: 2 {kernel(draw, kind == 'Deconvolution')}"
    return layer(name, kind, bottom, f"convolution_param {{ {given} }}")


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
            text += single(draw, name, branches[0])
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


def boxes(net: CaffeNet, name: str, masks: Sequence[Mask]) -> list[tuple[int, ...]]:
    """For each mask the box around the pixels from which the masked units get a gradient."""
    random = torch.Generator().manual_seed(1)
    x = torch.rand(len(masks), *net.input_shape, generator=random).add(0.5).requires_grad_()
    activations = net.activations(x, name)
    (activations * torch.from_numpy(np.stack(masks))).sum().backward()
    assert x.grad is not None
    return [box(pixels) for pixels in (x.grad != 0).any(1).numpy()]


def box(pixels: Mask) -> tuple[int, ...]:
    rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
    if not rows.size:
        return (0, 0, 0, 0)
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def at(shape: Sequence[int], positions: npt.ArrayLike) -> Mask:
    """A mask of a layer that holds all channels of a map's positions."""
    return np.broadcast_to(positions, shape).copy()


@settings(RELAXED)
@given(prototxts())
def test_the_field_of_every_position_is_where_its_gradient_comes_from(text: str) -> None:
    net, name = positive(text)
    shape = net.layers[name]
    places = list(np.ndindex(*shape[1:]))
    single = np.eye(len(places), dtype=bool).reshape(-1, 1, *shape[1:])
    wanted = boxes(net, name, [at(shape, positions) for positions in single])
    assert [net.receptive_field(name, place) for place in places] == wanted
    assert net.receptive_field(name) == wanted[places.index((shape[1] // 2, shape[2] // 2))]


@settings(RELAXED, max_examples=50)
@given(prototxts(), st.integers(0, 1000), st.sampled_from([0.0, 0.05, 0.1, 0.3]))
def test_the_field_of_a_mask_is_where_its_gradient_comes_from(
    text: str, seed: int, share: float
) -> None:
    net, name = positive(text)
    shape = net.layers[name]
    mask = at(shape, np.random.default_rng(seed).random(shape[1:]) < share)
    assert net.receptive_field(name, mask) == boxes(net, name, [mask])[0]


@settings(RELAXED, max_examples=20)
@given(prototxts())
def test_a_fully_connected_unit_sees_what_any_position_of_its_bottom_sees(text: str) -> None:
    top = list(loaded(text).layers)[-1]
    text += layer("fc", "InnerProduct", top, "inner_product_param { num_output: 2 }")
    net, _ = positive(text)
    assert [net.receptive_field("fc")] == boxes(net, "fc", [np.array([True, False])])
    assert net.receptive_field("fc") == net.receptive_field(top, np.ones(net.layers[top], bool))


def test_masks_of_a_fully_connected_layer() -> None:
    net = load(
        declared(9, 7)
        + layer("fc", "InnerProduct", "data", "inner_product_param { num_output: 4 }")
    )
    assert net.receptive_field("fc", np.eye(4)[1]) == (0, 0, 9, 7)
    assert net.receptive_field("fc", np.zeros(4)) == (0, 0, 0, 0)


POOL = "pooling_param { kernel_size: 3 stride: 2 pad: 1 }"
POOLED = declared(9, 7) + layer("pool", "Pooling", "data", POOL)  # (3, 5, 4)


def test_max_pooling_sees_all_that_can_be_the_maximum() -> None:
    net = load(POOLED + layer("twice", "Pooling", "pool", POOL))
    x = torch.rand(1000, 3, 9, 7, generator=torch.Generator().manual_seed(0)).requires_grad_()
    for place in np.ndindex(*net.layers["twice"][1:]):
        top = net.activations(x, "twice")[:, :, *place]
        (gradient,) = torch.autograd.grad(top.sum(), x)
        assert net.receptive_field("twice", place) == box((gradient != 0).any(1).any(0).numpy())


def test_branches_that_see_nothing_but_padding_in_one_direction() -> None:
    # rows of the one and columns of the other must not be taken together
    padded = "convolution_param { num_output: 3 kernel_h: 1 kernel_w: 7 pad_h: 1 }"
    plain = "convolution_param { num_output: 3 kernel_size: 3 pad_h: 2 stride_h: 1 stride_w: 3 }"
    net, _ = positive(
        declared(4, 9)
        + layer("padded", "Convolution", "data", padded)
        + layer("plain", "Convolution", "data", plain)
        + layer("sum", "Eltwise", ["padded", "plain"])
    )
    assert net.receptive_field("padded", (0, 2)) == (0, 0, 0, 0)
    assert net.receptive_field("sum", (0, 2)) == (0, 6, 1, 9)


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ((7, 0), "position (7, 0) is outside the map of 5 x 4; give 'center', (y, x) or a mask"),
        ((0, -1), "position (0, -1) is outside the map of 5 x 4"),
        ("middle", "position 'middle' is neither 'center' nor (y, x)"),
        ((1, 2, 3), "no position or mask of the layer has shape (3,)"),
        (
            np.ones((3, 4, 5)),
            "has shape (3, 4, 5); give 'center', (y, x) or a mask of shape (3, 5, 4)",
        ),
    ],
)
def test_positions_that_do_not_exist(where: Any, told: str) -> None:
    net = load(declared(5, 4) + layer("r", "ReLU", "data"))
    with pytest.raises(UserError) as caught:
        net.receptive_field("r", where)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_layer_that_does_not_exist() -> None:
    with pytest.raises(UserError, match=r"unknown layer 'conv' \(did you mean 'conv1'\?\)"):
        load(declared(5, 4) + layer("conv1", "ReLU", "data")).receptive_field("conv")


@pytest.mark.parametrize(
    ("kind", "bottoms", "parameters", "field"),
    [
        ("LRN", ["pool"], "", (3, 1, 6, 4)),
        ("Softmax", ["pool"], "", (3, 1, 6, 4)),
        ("Softmax", ["pool"], "softmax_param { axis: 2 }", (0, 1, 9, 4)),
        ("Softmax", ["pool"], "softmax_param { axis: 3 }", (3, 0, 6, 7)),
        ("Slice", ["pool"], "", (3, 1, 6, 4)),
        ("Eltwise", ["pool", "pool"], "eltwise_param { operation: MAX }", (3, 1, 6, 4)),
        ("MVN", ["pool"], "", (0, 0, 9, 7)),
        (
            "Reshape",
            ["pool"],
            "reshape_param { shape { dim: 0 dim: 3 dim: 5 dim: 4 } }",
            (3, 1, 6, 4),
        ),
        (
            "Reshape",
            ["pool"],
            "reshape_param { shape { dim: 0 dim: 1 dim: 5 dim: -1 } }",
            (0, 0, 9, 7),
        ),
    ],
)
def test_layers_that_are_not_windows(
    kind: str, bottoms: Sequence[str], parameters: str, field: tuple[int, ...]
) -> None:
    net = load(POOLED + layer("out", kind, bottoms, parameters))
    assert net.receptive_field("out", (2, 1)) == field


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        ("Pooling", "pooling_param { global_pooling: true }"),
        ("Flatten", ""),
        ("Reduction", "reduction_param { axis: 1 }"),
        ("ArgMax", ""),
    ],
)
def test_layers_without_a_map_see_all(kind: str, parameters: str) -> None:
    assert load(POOLED + layer("out", kind, "pool", parameters)).receptive_field("out") == (
        0,
        0,
        9,
        7,
    )
