"""ReLUs that run after a pooling or a concatenation give what Caffe's order gives, to the bit."""

from __future__ import annotations

import pytest
import torch
from prototxts import INPUT, layer, load, pool
from torch import Tensor

from cnnpref.nets.caffe import CaffeNet

RELU = layer("a", "ReLU", "data")
BRANCHES = (
    RELU
    + layer("negative", "Power", "data", "power_param { scale: -2 }")
    + layer("b", "ReLU", "negative")
)
NETS = {
    "pooled": RELU + pool("a"),
    "concatenated": BRANCHES + layer("both", "Concat", ["a", "b"]),
    "concatenated and pooled": BRANCHES + layer("both", "Concat", ["b", "a"]) + pool("both"),
    "pooled twice": RELU + pool("a") + pool("pool", "top"),
    "read twice": BRANCHES
    + layer("both", "Concat", ["a", "b"])
    + pool("both")
    + layer("sum", "Eltwise", ["a", "b"])
    + layer("flat", "Flatten", "pool")
    + layer("flat_sum", "Flatten", "sum")
    + layer("top", "Concat", ["flat", "flat_sum"]),
    "averaged": RELU + pool("a", parameters="pool: AVE kernel_size: 2"),
    "one not rectified": BRANCHES + layer("both", "Concat", ["a", "negative"]) + pool("both"),
    "leaky": layer("a", "ReLU", "data", "relu_param { negative_slope: 0.1 }") + pool("a"),
    # the last column of windows lies outside of the map: Caffe fills it with -FLT_MAX
    "windows of nothing": RELU + pool("a", parameters="kernel_size: 1 stride_h: 7 stride_w: 9"),
}


def passed(net: CaffeNet, blobs: list[str]) -> tuple[Tensor, Tensor]:
    """The last blob, and a gradient of the image."""
    random = torch.Generator().manual_seed(1)
    # whole numbers: many values are the same, and many are 0
    image = torch.randn(2, *net.input_shape, generator=random).mul(2).round().requires_grad_()
    top = net.forward({"data": image}, blobs)[blobs[-1]]
    weights = torch.randn(top.shape, generator=random)
    top.backward(torch.where(top.detach() < -1e30, 0, weights))
    assert image.grad is not None
    return top.detach(), image.grad


@pytest.mark.parametrize("name", NETS)
def test_the_order_does_not_show(name: str) -> None:
    net = load(INPUT + NETS[name])
    blobs = list(net.blobs)
    # a blob that is wanted must come out rectified, so nothing can wait
    (top, gradient), (expected, slope) = passed(net, blobs[-1:]), passed(net, blobs)
    assert torch.equal(top, expected)
    assert torch.equal(gradient, slope)
    assert gradient.count_nonzero() > 0
