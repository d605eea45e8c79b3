"""What tests of live pycaffe nets share: a net with branches, and comparisons of gradients."""

from __future__ import annotations

import torch
from basics import noise
from prototxts import layer
from torch import Tensor

import cnnpref

CONV = "convolution_param {{ num_output: {} kernel_size: 3 pad: 1 }}"
# Splits of the input and of a blob in the middle, a layer whose blob has another name, one with
# two tops, branches that join.
BRANCHED = (
    'name: "branched" input: "image" input_shape { dim: 1 dim: 3 dim: 9 dim: 8 }\n'
    + layer("stem", "Convolution", "image", CONV.format(4)).replace('top: "stem"', 'top: "trunk"')
    + layer("relu", "ReLU", "trunk").replace('top: "relu"', 'top: "trunk"')
    + layer("skip", "Convolution", "image", CONV.format(4))
    + layer("left", "Convolution", "trunk", CONV.format(2))
    + layer("right", "Convolution", "trunk", CONV.format(2))
    + layer("joined", "Concat", ["left", "right"])
    + layer("sum", "Eltwise", ["joined", "skip", "trunk"])
    + layer("cut", "Slice", "sum").replace('top: "cut"', 'top: "first" top: "second"')
    + layer("fc", "InnerProduct", "second", "inner_product_param { num_output: 5 }")
    + layer("best", "ArgMax", "fc")
)


def image(net: cnnpref.Net, rows: int = 1, seed: int = 0) -> Tensor:
    return 50 * noise(rows, *net.input_shape, seed=seed).requires_grad_()


def gradient(values: Tensor, x: Tensor) -> Tensor:
    """Of a random combination of the values."""
    (found,) = torch.autograd.grad(
        (values * noise(*values.shape, seed=9)).sum(), x, retain_graph=True
    )
    return found


def check(found: Tensor, wanted: Tensor) -> None:
    scale = float(wanted.detach().abs().max())
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6 * scale)
