"""Receptive fields: the box of pixels from which a gradient comes, in made-up nets."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from basics import refusal
from hypothesis import given, settings
from hypothesis import strategies as st
from prototxts import layer, load
from random_nets import RELAXED, declared, loaded, positive, prototxts

from cnnpref.errors import UserError
from cnnpref.geometry import Transposed, Window
from cnnpref.nets.caffe import CaffeNet

Mask = npt.NDArray[np.bool_]


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


@settings(RELAXED)
@given(prototxts(), st.integers(0, 1000))
def test_the_field_of_a_channel_is_where_its_gradient_comes_from(text: str, seed: int) -> None:
    net, name = positive(text)
    mask = np.zeros(net.layers[name], bool)
    mask.flat[np.random.default_rng(seed).integers(mask.size)] = True
    assert net.receptive_field(name, mask) == boxes(net, name, [mask])[0]


def test_each_top_of_a_convolution_sees_its_own_bottom() -> None:
    text = declared(9, 9) + layer("near", "Power", "data")
    wide = "convolution_param { num_output: 3 kernel_size: 5 pad: 2 }"
    text += layer("wide", "Convolution", "data", wide)
    text += 'layer { name: "both" type: "Convolution" bottom: "wide" bottom: "near"'
    text += ' top: "one" top: "other" convolution_param { num_output: 2 kernel_size: 3 pad: 1 } }'
    net, _ = positive(text + layer("end", "Power", "other"))
    assert net.receptive_field("both") == (1, 1, 8, 8)
    assert net.receptive_field("end") == (3, 3, 6, 6)


def test_batch_statistics_depend_on_the_whole_map() -> None:
    text = declared(9, 7) + layer("pool", "Pooling", "data", POOL)
    for stored, field in (("true", (1, 1, 4, 4)), ("false", (0, 0, 9, 7))):
        given = f"batch_norm_param {{ use_global_stats: {stored} }}"
        net = load(text + layer("norm", "BatchNorm", "pool", given))
        assert net.receptive_field("norm", (1, 1)) == field


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


def test_the_fields_of_all_layers_of_a_deep_net_take_less_than_a_second() -> None:
    text, top = declared(128, 128), "data"
    for n in range(40):
        wide = f"convolution_param {{ num_output: {3 if n < 1 else 128} kernel_size: 3 pad: 1 }}"
        text += layer(f"conv{n}", "Convolution", top, wide)
        text += layer(f"relu{n}", "ReLU", f"conv{n}")
        top = f"relu{n}" if n < 2 else f"sum{n}"
        text += "" if n < 2 else layer(top, "Eltwise", [f"relu{n}", f"conv{n - 1}"])
    net = load(text)
    start = time.process_time()
    fields = {name: net.receptive_field(name) for name in net.layers}
    assert time.process_time() - start < 1  # measured: 0.15
    assert fields["conv0"] == (63, 63, 66, 66)
    assert fields["sum39"] == (24, 24, 105, 105)


def test_the_time_of_a_window_does_not_grow_with_each_of_its_values() -> None:
    window, start = Window(10**7 - 1, 1, 2, 2), time.process_time()
    seen = window.inputs_of(np.array([[False], [True]]), 2 * 10**7)[:, 0]
    np.testing.assert_array_equal(np.flatnonzero(seen[:9]), [1, 3, 5, 7])
    assert seen.sum() == 10**7 - 2  # the first lies before the input
    units = Transposed(window).inputs_of(seen[:, None], 3)[:, 0]
    np.testing.assert_array_equal(units, [False, True, False])
    assert time.process_time() - start < 3  # measured: 0.5; 9.5 with a look at each value


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
    assert told in refusal(net.receptive_field, "r", where)


def test_a_net_that_takes_no_images_has_no_receptive_fields() -> None:
    text = 'input: "feat" input_shape { dim: 1 dim: 8 }\n' + layer("r", "ReLU", "feat")
    with pytest.raises(UserError, match=r"takes \[8\], not images \[C, H, W\]"):
        load(text).receptive_field("r")


def test_a_map_that_no_memory_holds_has_no_receptive_fields() -> None:
    net = load(declared(1 << 20, 1 << 9) + layer("r", "ReLU", "data"))
    told = refusal(net.receptive_field, "r")
    assert "'r' leads through a blob of shape [3, 1048576, 512], allowed are 1,0" in told


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
            (1, 1, 4, 4),  # the place in its channel that comes as the 25th value
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
