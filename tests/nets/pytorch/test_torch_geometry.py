"""Receptive fields of PyTorch nets: the pixels from which a gradient comes, in made-up modules."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from made_modules import Made, modules, weights
from modules import SHAPE, Branches, Convnext, Maker, Residual, Squeeze, Undecided, Vit, seeded
from torch import Tensor, nn

import cnnpref
from cnnpref.errors import UserError
from cnnpref.nets.pytorch import TorchNet

RELAXED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def reaching(net: TorchNet, layer: str) -> npt.NDArray[np.bool_]:
    """The pixels from which each position of a layer gets a gradient, (positions, H, W)."""
    shape = net.layers[layer]
    count = int(np.prod(shape[1:]))
    x = torch.rand(count, *net.input_shape, generator=torch.Generator().manual_seed(1)) + 0.5
    y = net.activations(x.requires_grad_(), layer).flatten(2)
    ((y * weights(shape[0], 1))[range(count), :, range(count)]).sum().backward()
    assert x.grad is not None
    return (x.grad != 0).any(1).numpy()


def told(net: TorchNet, layer: str) -> npt.NDArray[np.bool_]:
    """The pixels that `support` names for each position, (positions, H, W)."""
    shape = net.layers[layer]
    count = int(np.prod(shape[1:]))
    masks = np.eye(count, dtype=bool).reshape(count, *shape[1:])
    return np.stack([net.support(layer, mask) for mask in masks])


@settings(RELAXED, max_examples=150)
@given(modules())
def test_every_position_is_reached_by_what_it_gets_a_gradient_from(
    made: tuple[Made, tuple[int, int, int]],
) -> None:
    module, shape = made
    net = cnnpref.load_torch(module, shape)
    layer = list(net.layers)[-1]
    np.testing.assert_array_equal(told(net, layer), reaching(net, layer))


class Lambda(nn.Module):
    """A function, and a step behind it."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x) * 2


def through_a_view(x: Tensor) -> Tensor:
    """What is written into a part of a tensor that was made before."""
    made = torch.zeros(*x.shape[:2], 7, 7)
    inside = made[:, :, 1:6, 1:6]
    flat = made.flatten(1)
    inside.copy_(x[:, :, :5, :5])
    return flat.view(made.shape) + made


def changed_behind_a_view(x: Tensor) -> Tensor:
    y = x * 1
    rows = y[:, :, 1:]
    rows += y.flip(2)[:, :, :-1].clone()
    return y


def weighted_by_itself(x: Tensor) -> Tensor:
    kernel = x.mean((0, 2)).view(1, 3, 1, -1)
    return F.conv2d(x, kernel[..., :2])


UNKNOWN: dict[str, Callable[[Tensor], Tensor]] = {
    "circular padding": lambda x: F.pad(x, (1, 1, 2, 0), "circular"),
    "unfolding": lambda x: F.unfold(x, 3).view(len(x), 27, 5, 5),
    "attention": lambda x: F.scaled_dot_product_attention(x, x, x),
    "a product of maps": lambda x: x @ x,
    "sorting": lambda x: x.sort(2).values,
    "a view": lambda x: x.reshape(len(x), 21, 7).view(len(x), 7, 3, 7),
    "a spread view": lambda x: x.as_strided((len(x), 3, 7, 3), (147, 49, 7, 2)),
    "written through a view": through_a_view,
    "changed behind a view": changed_behind_a_view,
    "weights of its own making": weighted_by_itself,
    "a mask": lambda x: x.masked_fill(x > x.mean(), 0.0) + x.masked_select(x > 0).sum() / len(x),
    "grid sampling": lambda x: F.grid_sample(x, x[:, :2].permute(0, 2, 3, 1), align_corners=False),
}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_what_is_not_followed_may_come_from_anywhere(kind: str) -> None:
    net = cnnpref.load_torch(Lambda(UNKNOWN[kind]), (3, 7, 7))
    layer = list(net.layers)[-1]
    found = reaching(net, layer)
    assert found.any()
    assert not (found & ~told(net, layer)).any()


def test_values_that_python_is_told_come_from_everywhere() -> None:
    net = cnnpref.load_torch(seeded(Undecided), SHAPE)
    assert net.receptive_field("dark", (0, 0)) == (0, 0, 16, 16)


@pytest.mark.parametrize(
    ("kind", "layer", "place", "field"),
    [
        (Residual, "stem", (0, 1), (0, 2, 3, 5)),
        (Residual, "layer1.0.conv2", (3, 3), (2, 2, 13, 13)),
        (Residual, "layer1.0", (3, 3), (2, 2, 13, 13)),
        (Residual, "fc", "center", (0, 0, 15, 15)),  # the last row and column are not looked at
        (Convnext, "permute_1", (4, 8), (2, 6, 7, 11)),
        (Convnext, "add", (0, 0), (0, 0, 3, 3)),
        (Branches, "one", (5, 5), (5, 5, 6, 6)),
        (Branches, "relu", (5, 5), (4, 4, 7, 7)),
        (Branches, "last", (5, 5), (3, 3, 8, 8)),
        (Squeeze, "hardswish", (5, 5), (4, 4, 7, 7)),
        (Squeeze, "mul", (5, 5), (0, 0, 16, 16)),
        (Vit, "patches", (1, 2), (4, 8, 8, 12)),
        (Vit, "layer", "center", (0, 0, 16, 16)),
        (Vit, "head", "center", (0, 0, 16, 16)),
    ],
)
def test_fields_of_known_nets(
    kind: type[nn.Module], layer: str, place: str | tuple[int, int], field: tuple[int, ...]
) -> None:
    net = cnnpref.load_torch(seeded(kind), SHAPE)
    assert net.receptive_field(layer, place) == field


def test_the_field_of_a_mask() -> None:
    net = cnnpref.load_torch(seeded(Residual), SHAPE)
    mask = np.zeros(net.layers["stem"], bool)
    mask[2, 1, 1] = mask[0, 4, 5] = True
    assert net.receptive_field("stem", mask) == (2, 2, 11, 13)
    assert net.receptive_field("stem", mask & False) == (0, 0, 0, 0)


def test_a_generator_has_no_pixels_to_look_at() -> None:
    net = cnnpref.load_torch(seeded(Maker), (12,))
    with pytest.raises(UserError, match=r"takes \[12\], not images \[C, H, W\]"):
        net.receptive_field("grow", (0, 0))


@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize("dilation", [1, 2])
def test_max_pooling_sees_all_that_can_be_the_maximum(ceil: bool, dilation: int) -> None:
    pool = nn.MaxPool2d(3, 2, 1, dilation, ceil_mode=ceil)
    net = cnnpref.load_torch(nn.Sequential(pool, nn.AdaptiveMaxPool2d((2, 3))), (1, 10, 9))
    for layer in net.layers:
        x = torch.rand(900, 1, 10, 9, generator=torch.Generator().manual_seed(0)).requires_grad_()
        for place in np.ndindex(*net.layers[layer][1:]):
            top = net.activations(x, layer)[:, 0, *place]
            (gradient,) = torch.autograd.grad(top.sum(), x)
            seen = (gradient[:, 0] != 0).any(0).numpy()
            mask = np.zeros(net.layers[layer][1:], bool)
            mask[place] = True
            np.testing.assert_array_equal(net.support(layer, mask), seen)
