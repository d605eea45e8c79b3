"""PyTorch modules run on what a unit sees alone, to the same values and gradients."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_modules import Made, modules
from modules import Branches, Plain, Residual, seeded
from torch import Tensor, nn

import cnnpref
from cnnpref.geometry import crop
from cnnpref.methods import resolve
from cnnpref.nets.net import FullReadout
from cnnpref.nets.pytorch import TorchNet
from cnnpref.nets.readout import Readout

SHAPE = (3, 61, 75)


def values_and_gradient(readout: Readout, images: Tensor) -> tuple[Tensor, Tensor]:
    x = images.clone().requires_grad_()
    values = readout(crop(x, readout.box))
    (gradient,) = torch.autograd.grad(values.sum(), x, allow_unused=True)
    return values.detach(), torch.zeros_like(x) if gradient is None else gradient


def unit_index(net: TorchNet, layer: str, where: str | tuple[int, int]) -> npt.NDArray[np.int64]:
    """(4, 1): channels at a position."""
    channels = [0, 1, net.layers[layer][0] - 1, 0]
    return cnnpref.Objective.units(net, layer, channels, where).index


def check(net: TorchNet, layer: str, where: str | tuple[int, int] = "center") -> Readout:
    """The readout of some units, which gives what the whole image gives."""
    index = unit_index(net, layer, where)
    readout = net.readout(layer, index)
    images = torch.randn(4, *net.input_shape, generator=torch.Generator().manual_seed(3))
    found = values_and_gradient(readout, images)
    whole = values_and_gradient(FullReadout.of(net, layer, index), images)
    for one, other in zip(found, whole, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5 * max(1e-3, float(other.abs().max())))
    return readout


CASES: list[tuple[type[nn.Module], str]] = [
    *((Plain, layer) for layer in "02345"),
    (Residual, "stem"),
    (Residual, "layer1.0.conv2"),
    (Residual, "layer1.1"),
    (Branches, "cat"),
]


@pytest.mark.parametrize(("kind", "layer"), CASES)
@pytest.mark.parametrize("corner", ["center", "first", "last", "left", "near the end"])
def test_units_of_a_map_are_read_from_what_they_see(
    kind: type[nn.Module], layer: str, corner: str
) -> None:
    module = seeded(kind)
    net = cnnpref.load_torch(nn.Sequential(*list(module)[:-2]) if kind is Plain else module, SHAPE)
    height, width = net.layers[layer][1:]
    places: dict[str, str | tuple[int, int]] = {
        "center": "center",
        "first": (0, 0),
        "last": (height - 1, width - 1),
        "left": (height // 2, 0),
        "near the end": (height - 2, width - 3),
    }
    readout = check(net, layer, places[corner])
    assert readout.box == net.receptive_field(layer, places[corner])
    assert readout.box != (0, 0, *SHAPE[1:])


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(modules(), st.data())
def test_any_module(made: tuple[Made, tuple[int, int, int]], data: st.DataObject) -> None:
    module, shape = made
    net = cnnpref.load_torch(module, shape)
    layer = list(net.layers)[-1]
    sizes = net.layers[layer][1:]
    row, column = (data.draw(st.integers(0, size - 1)) for size in sizes)
    check(net, layer, (row, column))


class Lambda(nn.Module):
    """A convolution, then a function of its map and of the image."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.act, self.function = nn.Conv2d(3, 4, 3), nn.Identity(), function

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.function(self.conv(x), x))


@pytest.mark.parametrize(
    "function",
    [
        lambda y, _x: y + torch.arange(y.shape[-1]),  # knows the place
        lambda y, _x: y * y.shape[-1],  # knows the size
        lambda y, _x: y.reshape(-1, 4, 59, 73),  # wants one size
        lambda y, _x: y - y.mean((2, 3), keepdim=True),  # sees everything
        lambda y, x: y * (x.flatten(1).sum(1) > 0)[:, None, None, None],
        lambda y, _x: y.clamp(max=-1e6).add(1e6),  # always the same
    ],
)
def test_modules_that_a_part_of_the_image_would_change_see_all_of_it(
    function: Callable[[Tensor, Tensor], Tensor],
) -> None:
    net = cnnpref.load_torch(Lambda(function), SHAPE)
    assert check(net, "act").box == (0, 0, *SHAPE[1:])


def test_longer_strides_before_a_layer_are_found() -> None:
    """A map at half the size is drawn out again: the next unit sees one pixel on, or three."""
    up = nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.ConvTranspose2d(4, 4, 4, 4), nn.Conv2d(4, 4, 1))
    net = cnnpref.load_torch(up, (3, 64, 64))
    for place in ((31, 31), (32, 33), (30, 35)):
        check(net, "2", place)


def test_images_are_the_same_as_from_whole_passes() -> None:
    """A bounded search moves nothing outside of what a unit sees, so the problem may shrink."""
    net = cnnpref.load_torch(seeded(Residual), SHAPE)
    objective = cnnpref.Objective.units(net, "layer1.0.conv2", [0, 1, 2])
    options = resolve("lbfgs", "lower", {"maxiter": 4, "initial_image": None})
    found = cnnpref.maximise(net, objective, "lbfgs", options, seeds=1)
    whole = cnnpref.maximise(net, objective, "lbfgs", options, seeds=1, faithful=True)
    np.testing.assert_allclose(found.scores, whole.scores, rtol=1e-3)
    np.testing.assert_allclose(found.images, whole.images, atol=0.5)
