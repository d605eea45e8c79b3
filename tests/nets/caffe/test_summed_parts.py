"""Convolutions that take the parts of a concatenation give what they give of the whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from prototxts import INPUT, layer, pool
from small import random_net
from torch import Tensor

import cnnpref
from cnnpref.geometry import crop
from cnnpref.nets.caffe import CaffeNet
from cnnpref.nets.kernels import fast_kernels
from cnnpref.nets.net import FullReadout
from cnnpref.nets.readout import Readout

NOISE = 2e-6  # of the largest value: sums in another order


def convolution(name: str, bottom: str, given: str = "num_output: 5 kernel_size: 3 pad: 1") -> str:
    return layer(name, "Convolution", bottom, f"convolution_param {{ {given} }}")


ONE = convolution("one", "data", "num_output: 4 kernel_size: 1")
THREE = convolution("three", "data", "num_output: 6 kernel_size: 3 pad: 1")
BRANCHES = ONE + layer("rectified", "ReLU", "one") + THREE
BOTH = BRANCHES + layer("both", "Concat", ["rectified", "three"])
TOP = layer("top", "Power", "c", "power_param { scale: 2 }")

DISSOLVED = {
    "read by a convolution": BOTH + convolution("c", "both"),
    "pooled": BOTH + pool("both") + convolution("c", "pool"),
    "averaged, past the edge": BOTH
    + pool("both", parameters="pool: AVE kernel_size: 3 stride: 2 pad: 1")
    + convolution(
        "c", "pool", "num_output: 5 kernel_h: 2 kernel_w: 3 pad_h: 1 stride_h: 1 stride_w: 2"
    ),
    "in place": BOTH
    + 'layer { name: "in_place" type: "ReLU" bottom: "both" top: "both" }\n'
    + convolution("c", "both", "num_output: 5 kernel_size: 1 bias_term: false"),
    "three parts": BRANCHES
    + layer("both", "Concat", ["three", "rectified", "data"])
    + convolution("c", "both", "num_output: 5 kernel_size: 3 dilation: 2"),
    "a part twice": BRANCHES
    + layer("both", "Concat", ["three", "three"])
    + convolution("c", "both"),
    "a part read elsewhere, too": BOTH
    + convolution("c", "both", "num_output: 6 kernel_size: 3 pad: 1")
    + layer("sum", "Eltwise", ["c", "three"])
    + layer("c2", "Power", "sum"),
}
KEPT = {
    "read twice": BOTH
    + convolution("c1", "both")
    + convolution("c2", "both")
    + layer("c", "Eltwise", ["c1", "c2"]),
    "groups": BOTH + convolution("c", "both", "num_output: 6 kernel_size: 3 group: 2"),
    "rows": BRANCHES
    + layer("both", "Concat", ["one", "one"], "concat_param { axis: 2 }")
    + convolution("c", "both"),
    "normalised across channels": BOTH
    + layer("norm", "LRN", "both", "lrn_param { local_size: 3 }")
    + convolution("c", "norm"),
    "scaled": BOTH
    + layer("scale", "Scale", "both", "scale_param { bias_term: true }")
    + convolution("c", "scale"),
    "cut again": BOTH
    + 'layer { name: "cut" type: "Slice" bottom: "both" top: "cut" top: "rest"'
    + " slice_param { axis: 1 slice_point: 3 } }\n"
    + convolution("c", "cut"),
}


def passed(readout: Readout, x: Tensor) -> tuple[Tensor, Tensor]:
    """Values and a gradient of the image."""
    x = x.detach().requires_grad_()
    values = readout(crop(x, readout.box))
    weights = torch.arange(1.0, values.numel() + 1).reshape(values.shape)
    (gradient,) = torch.autograd.grad((values * weights).sum(), x)
    return values.detach(), gradient


def joins(net: CaffeNet, index: npt.NDArray[np.int64]) -> bool:
    """Whether a readout of the top layer makes the concatenation."""
    readout = net.readout(list(net.layers)[-1], index)
    return any(step.node.layer.name == "both" for step in readout.execution.steps)


@pytest.mark.parametrize("name", [*DISSOLVED, *KEPT])
@pytest.mark.parametrize("position", ["center", "all"])
def test_parts_give_what_the_whole_gives(name: str, position: str, tmp_path: Path) -> None:
    net = random_net(tmp_path, INPUT + (DISSOLVED | KEPT)[name] + TOP)
    top = list(net.layers)[-1]
    index = cnnpref.Objective.units(net, top, [3, 0, 4], position).index
    x = torch.randn(3, *net.input_shape, generator=torch.Generator().manual_seed(1))
    with fast_kernels():
        found = passed(net.readout(top, index), x)
    for one, other in zip(found, passed(FullReadout.of(net, top, index), x), strict=True):
        assert (one - other).abs().max() <= NOISE * other.abs().max()
    assert joins(net, index) == (name in KEPT)


def test_a_concatenation_that_is_wanted_is_made(tmp_path: Path) -> None:
    net = random_net(tmp_path, INPUT + BOTH)
    assert joins(net, cnnpref.Objective.units(net, "both", [9, 2], "all").index)


def test_new_weights_reach_the_parts(tmp_path: Path) -> None:
    net = random_net(tmp_path, INPUT + DISSOLVED["read by a convolution"] + TOP)
    index = cnnpref.Objective.units(net, "top", [1, 2], "all").index
    readout, x = net.readout("top", index), torch.ones(2, *net.input_shape)
    with fast_kernels(), torch.no_grad():
        before = readout(crop(x, readout.box))
        for weight in net.parameters():
            weight.mul_(2)
        after = readout(crop(x, readout.box))
        expected = FullReadout.of(net, "top", index)(x)
    assert (after - before).abs().max() > 0
    assert (after - expected).abs().max() <= NOISE * expected.abs().max()
