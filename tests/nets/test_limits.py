"""Sizes that cannot be, and layers of a single value."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from prototxts import INPUT, layer, load, refusal
from torch import Tensor, nn

import cnnpref

WIDE = "inner_product_param { num_output: 715827882 }"
MANY = "convolution_param { num_output: 2000000000 kernel_size: 1 }"
HUGE = 'input: "huge" input_shape { dim: 1 dim: 3 dim: 2000000000 dim: 2000000000 }\n'
ON_DATA = "layer 'x' ({}) on [1, 3, 8, 9]: {} would be "
SIZES = {
    layer("x", "InnerProduct", "data", WIDE): ON_DATA.format(
        "InnerProduct", "a weight blob of [715827882, 216]"
    ),
    layer("x", "Convolution", "data", MANY): ON_DATA.format(
        "Convolution", "a weight blob of [2000000000, 3, 1, 1]"
    ),
    layer("x", "Tile", "data", "tile_param { tiles: 2147483647 }"): ON_DATA.format(
        "Tile", "a top of [1, 6442450941, 8, 9]"
    ),
    HUGE + layer("x", "ReLU", "huge"): "input 'huge': a blob of [1, 3, 2000000000, 2000000000] wo",
}


@pytest.mark.parametrize("text", SIZES)
def test_blobs_that_caffe_cannot_have_are_refused_by_name(text: str) -> None:
    told = refusal(INPUT + text)
    assert SIZES[text] in told
    assert told.endswith("a blob of Caffe has at most 2,147,483,647 numbers: check the sizes")


def test_weights_that_no_memory_can_hold_are_refused_by_name() -> None:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    output = (2**31 - 1) // 216
    wide = f"inner_product_param {{ num_output: {output} }}"
    many = memory // (4 * 216 * output) + 1
    text = INPUT + "".join(layer(f"x{n}", "InnerProduct", "data", wide) for n in range(many))
    told = refusal(text)
    assert told.startswith("the weights take ")
    assert f"the largest are of layer 'x0', [{output}, 216]; check the sizes" in told


def test_images_of_more_channels_than_any_are_refused_before_they_take_memory() -> None:
    text = INPUT.replace("dim: 3", "dim: 16777216") + layer("x", "ReLU", "data")
    assert refusal(text) == (
        "net 'made': its images have 16,777,216 channels, allowed are 1,048,576; check the shape of"
        " its input 'data'"
    )


class Sum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).sum((1, 2, 3))


@pytest.mark.parametrize("method", ["gd", "lbfgs"])
@pytest.mark.parametrize("faithful", [False, True])
def test_a_layer_of_a_single_value_is_maximised_by_a_mask(method: str, faithful: bool) -> None:
    reduced = layer("sum", "Reduction", "data", "reduction_param { axis: 1 }")
    for net in (load(INPUT + reduced), cnnpref.load_torch(Sum(), (3, 8, 9))):
        assert net.layers["sum"] == ()
        assert net.receptive_field("sum") == (0, 0, 8, 9)
        with pytest.raises(cnnpref.UserError, match="'sum' has a single value and no units: give"):
            cnnpref.Objective.units(net, "sum", [0])
        objective = cnnpref.Objective.masks(net, "sum", np.ones(2))
        overrides: dict[str, Any] = {"maxiter": 3}
        if method == "gd":
            overrides = {"iter_n": 12, "image_jitter": False, "clip_small_norm": False}
            overrides |= {"clip_small_contribution": False}
        options = cnnpref.resolve(method, "higher", overrides)
        solution = cnnpref.maximise(net, objective, method, options, [1, 2], faithful=faithful)
        assert solution.status == ["ok", "ok"]
        assert np.isfinite(solution.scores).all()
