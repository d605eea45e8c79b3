"""Several layers in one pass have the values that each has alone."""

from __future__ import annotations

import pytest
import torch
from basics import refusal
from drawings import shapes_net
from torch import Tensor, nn

import cnnpref


class InPlace(nn.Module):
    """Its ReLU changes what the convolution gave."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu, self.fc = nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.relu(self.conv(x)).mean((2, 3)) + 1)


@pytest.fixture(params=["caffe", "torch"])
def net(request: pytest.FixtureRequest) -> cnnpref.Net:
    if request.param == "caffe":
        return shapes_net()
    return cnnpref.load_torch(InPlace(), (3, 12, 12))


def test_all_layers_in_one_pass(net: cnnpref.Net) -> None:
    images, found = net.noise(2), dict[str, Tensor]()
    with torch.no_grad():
        net.visit(images, list(net.layers), lambda name, x: found.update({name: x.clone()}))
        assert list(found) == list(net.layers)
        for name, value in found.items():
            assert torch.equal(value, net.activations(images, name)), name


def test_unknown_layers_are_refused(net: cnnpref.Net) -> None:
    message = refusal(net.visit, net.noise(1), ["nothing"], lambda *_: None)
    assert "unknown layer 'nothing'" in message
