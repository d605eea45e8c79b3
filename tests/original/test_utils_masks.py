"""The original's helpers for masks: units of layers, and what they see of a picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from basics import floats, refusal
from prototxts import layer, load

from cnnpref import utils
from cnnpref.nets.caffe import CaffeNet

Floats = npt.NDArray[np.float64]


FEATURES = {"conv": floats(4, 5, 6), "fc": floats(7)}


def test_without_masks_and_channels_all_units_are_wanted() -> None:
    for nothing in (None, {}):
        made = utils.create_feature_masks(FEATURES, nothing, nothing)
        assert {name: mask.shape for name, mask in made.items()} == {"conv": (4, 5, 6), "fc": (7,)}
        assert all((mask == 1).all() for mask in made.values())


def test_masks_of_the_layers_shape_are_taken_as_they_are() -> None:
    masks = {"conv": floats(4, 5, 6) > 0, "fc": floats(7) > 0}
    made = utils.create_feature_masks(FEATURES, masks, {"conv": [1]})
    for name, mask in masks.items():
        np.testing.assert_array_equal(made[name], mask)


def test_a_flat_mask_is_for_all_channels_or_for_some() -> None:
    mask = (floats(5, 6) > 0).astype(int)
    made = utils.create_feature_masks(FEATURES, {"conv": mask})
    np.testing.assert_array_equal(made["conv"], np.stack([mask] * 4))
    assert made["fc"].all()
    made = utils.create_feature_masks(FEATURES, {"conv": mask}, {"conv": [2]})
    np.testing.assert_array_equal(made["conv"], np.stack([mask * (c == 2) for c in range(4)]))


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        # a map of 5 x 6: ones around a mask that is smaller, the middle of one that is larger
        ((1, 2), ["111111", "111111", "110011", "111111", "111111"]),
        ((2, 6), ["111111", "000000", "000000", "111111", "111111"]),
        ((9, 8), ["000000", "000000", "000000", "000000", "000000"]),
        ((7, 2), ["110011", "110011", "110011", "110011", "110011"]),
    ],
)
def test_a_flat_mask_of_another_size_is_centred(size: tuple[int, int], wanted: list[str]) -> None:
    mask = utils.create_feature_masks(FEATURES, {"conv": np.zeros(size)})["conv"]
    for channel in mask:
        assert ["".join(str(int(v)) for v in row) for row in channel] == wanted


def test_a_larger_flat_mask_loses_its_rim() -> None:
    large = floats(8, 9)
    mask = utils.create_feature_masks(FEATURES, {"conv": large})["conv"]
    np.testing.assert_allclose(mask[0], large[1:6, 1:7], rtol=1e-6)


@pytest.mark.parametrize("kind", [list, tuple, np.array])
def test_channels(kind: Callable[[list[int]], Any]) -> None:
    channels = {"conv": kind([3, 0]), "fc": kind([5])}
    made = utils.create_feature_masks(FEATURES, channels=channels)
    assert made["conv"].sum((1, 2)).tolist() == [30, 0, 0, 30]
    assert made["fc"].tolist() == [0, 0, 0, 0, 0, 1, 0]


@pytest.mark.parametrize(
    ("masks", "channels", "said"),
    [
        ({"conv": np.ones((4, 5, 7))}, {}, "'conv' must have shape (4, 5, 6), or (h, w), got (4,"),
        ({"conv": np.ones(4)}, {}, "got (4,)"),
        ({"fc": np.ones(6)}, {}, "'fc' must have shape (7,), got (6,)"),
        ({"fc": 1}, {}, "got ()"),
        ({}, {"conv": [4]}, "'conv' has channels 0..3, got [4]"),
        ({}, {"conv": [-1]}, "got [-1]"),
        ({}, {"fc": []}, "'fc' has channels 0..6, got []"),
        ({}, {"fc": [True, False]}, "got [True, False]"),
        ({}, {"fc": [1.5]}, "got [1.5]"),
    ],
)
def test_what_does_not_fit_a_layer_is_refused(masks: Any, channels: Any, said: str) -> None:
    assert said in refusal(utils.create_feature_masks, FEATURES, masks, channels)


STRIDED = (
    'input: "data"\ninput_shape { dim: 1 dim: 3 dim: 21 dim: 26 }\n'
    + layer(
        "conv1",
        "Convolution",
        "data",
        "convolution_param { num_output: 4 kernel_size: 3 stride: 2 }",
    )
    + layer("relu1", "ReLU", "conv1")
    + layer("pool1", "Pooling", "relu1", "pooling_param { pool: MAX kernel_size: 2 stride: 1 }")
    + layer(
        "conv2", "Convolution", "pool1", "convolution_param { num_output: 3 kernel_size: 3 pad: 1 }"
    )
    + layer("fc", "InnerProduct", "conv2", "inner_product_param { num_output: 2 }")
)


def support(net: CaffeNet, name: str, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The box around the pixels from which a gradient came, over noise images."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(40, *net.input_shape, generator=random, requires_grad=True)
    net.activations(x, name)[:, torch.from_numpy(mask)].sum().backward()
    assert x.grad is not None
    hit = x.grad.abs().sum((0, 1)).numpy() > 0
    (rows,), (columns,) = np.nonzero(hit.any(1)), np.nonzero(hit.any(0))
    box = np.zeros_like(hit)
    box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    return box


@pytest.mark.parametrize(
    ("name", "units"),
    [
        ("conv1", [(0, 4, 5)]),
        ("conv2", [(1, 4, 5)]),
        ("conv2", [(0, 0, 0)]),
        ("conv2", [(2, 8, 10)]),
        ("conv2", [(0, 3, 3), (2, 3, 6), (1, 4, 2)]),
        ("fc", [(1,)]),
    ],
)
def test_the_receptive_field_is_where_gradients_come_from(
    name: str, units: list[tuple[int, ...]]
) -> None:
    net = load(STRIDED)
    random = torch.Generator().manual_seed(1)
    for weight in net.parameters():
        weight.normal_(generator=random)
    mask = np.zeros(net.layers[name], bool)
    for unit in units:
        mask[unit] = True
    field = utils.create_receptive_field_mask(net, name, mask.astype(float))
    assert (field.shape, field.dtype) == ((21, 26, 3), np.uint8)
    box = support(net, name, mask)
    np.testing.assert_array_equal(field, np.repeat(box[:, :, None], 3, axis=2))


def test_a_receptive_field_needs_units_of_a_layer() -> None:
    net, field = load(STRIDED), utils.create_receptive_field_mask
    assert "unknown layer 'conv'" in refusal(field, net, "conv", np.ones((4, 10, 12)))
    message = refusal(field, net, "conv1", np.ones((4, 10, 11)))
    assert "'conv1' has shape (4, 10, 12) and 1 at units, got shape (4, 10, 11)" in message
    assert "got none above 0" in refusal(field, net, "fc", np.zeros(2))
