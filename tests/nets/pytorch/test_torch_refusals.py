"""PyTorch modules of which no net can be made, and what is asked of nets that they do not have."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from basics import refusal
from modules import SHAPE, Plain, Residual, Vit, seeded
from torch import Tensor, nn

import cnnpref


def failure(module: Any, shape: Any = SHAPE, **options: Any) -> str:
    return refusal(lambda: cnnpref.load_torch(module, shape, **options))


class Constant(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.ones(len(x), 3)


class OneByOne(nn.Module):
    """Takes a single image at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(768, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.view(1, -1))


class Summing(nn.Module):
    """What it says of an image depends on the others."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(0)


class TwoInputs(nn.Module):
    """Takes more than images."""

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        return x + other


@pytest.mark.parametrize(
    ("module", "told"),
    [
        (Plain, "load_torch: an nn.Module wanted, got the class Plain"),
        (lambda x: x, "load_torch: an nn.Module wanted, got function"),
        (seeded(Plain).state_dict(), "load_torch: an nn.Module wanted, got OrderedDict"),
        (seeded(Plain).double(), "Plain: '0.weight' is torch.float64; make the module .float()"),
        (seeded(Plain).to("meta"), None),
        (Constant(), "Constant: no layer of it gives one tensor (N, ...) that depends on its inp"),
        (OneByOne(), "OneByOne, in 'fc', on [2, 3, 16, 16]: mat1 and mat2 shapes cannot be mult"),
        (Summing(), "Summing: no layer of it gives one tensor (N, ...)"),
        (nn.Identity(), "Identity: no layer of it gives one tensor"),
        (TwoInputs(), "argument: 'other'; check the shape of its input: it is called with that on"),
    ],
)
def test_modules_that_are_no_nets(module: Any, told: str | None) -> None:
    if told is None:  # without values, but with layers
        assert "7" in cnnpref.load_torch(module, SHAPE).layers
    else:
        assert told in failure(module)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {"device": "meta"},
            "Plain: '0.weight' is on cpu, not on meta; move the module there",
        ),
        ({"device": "toaster"}, "no device 'toaster'"),
        ({"name": "mine", "device": "meta"}, "mine: '0.weight' is on cpu"),
        (
            {"mean": (1, 2)},
            "mean: got [1, 2]; allowed: three numbers (red, green, blue)",
        ),
        ({"mean": (1, 2, float("nan"))}, "mean: got [1, 2, nan]; allowed: three numbers (red"),
        ({"std": (1, 0, 1)}, "std: got [1, 0, 1]; allowed: three numbers above 0 (red, green, bl"),
    ],
)
def test_options_that_are_not_allowed(options: dict[str, Any], told: str) -> None:
    assert told in failure(seeded(Plain), **options)


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ((3, 0, 4), "Plain: input_shape: got (3, 0, 4); allowed: (C, H, W) for images or"),
        (224, "input_shape: got 224; allowed: (C, H, W)"),
        ((), "input_shape: got (); allowed: (C, H, W)"),
        ((3, 8, 16, 16), "got (3, 8, 16, 16), films; allowed: (C, H, W), images: wrap it in a mod"),
        (
            (1, 16, 16),
            "Plain, in '0', on [1, 1, 16, 16]: Given groups=1, weight of size",
        ),
        ((12,), "Plain, in '0', on [1, 12]: Expected 3D (unbatched) or 4D (batched) input"),
    ],
)
def test_shapes_that_a_module_does_not_take(shape: Any, told: str) -> None:
    message = failure(seeded(Plain), shape)
    assert told in message
    if told.startswith("Plain, in"):
        assert "; check the shape of its input: it is called with that one tensor;" in message


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_compiled_modules() -> None:
    module = seeded(Residual)
    module.layer1 = torch.compile(module.layer1)
    assert failure(module).startswith("Residual: 'layer1' is compiled, by torch.jit or torch.comp")
    traced = torch.jit.trace(seeded(Plain).eval(), torch.zeros(1, *SHAPE))
    assert "TopLevelTracedModule: it is compiled" in failure(traced)


def test_modules_that_devices_share_have_the_layers_of_their_own() -> None:
    module = nn.DataParallel(seeded(Plain))
    assert (
        cnnpref.load_torch(module, SHAPE).layers == cnnpref.load_torch(seeded(Plain), SHAPE).layers
    )


def test_parts_on_several_devices() -> None:
    module = seeded(Residual)
    module.fc.to("meta")
    assert failure(module).startswith("Residual: 'fc.weight' is on meta, not on cpu; move the mod")


def test_names_that_a_net_does_not_have() -> None:
    net = cnnpref.load_torch(seeded(Residual), SHAPE)
    x = torch.zeros(1, *SHAPE)
    for act in (
        lambda: net.activations(x, "layer1.0.conv"),
        lambda: net.receptive_field("layer1.0.conv"),
        lambda: cnnpref.Objective.units(net, "layer1.0.conv", [0]),
    ):
        assert refusal(act).startswith(
            "unknown layer 'layer1.0.conv' (did you mean 'layer1.0.conv2' or 'layer1.0.conv1'"
        )
    assert refusal(lambda: net.forward({"data": x}, ["fc"])).startswith(
        "unknown blob of 'Residual': 'data'"
    )
    assert "'fv'" in refusal(lambda: net.forward({"image": x}, ["fv"]))
    assert refusal(lambda: net.forward({}, ["fc"])) == "net 'Residual': give its input 'image' too"
    assert "check the shape" in refusal(lambda: net.activations(x[:, :1], "stem"))


def test_layers_without_a_map_of_channels_have_no_units() -> None:
    net = cnnpref.load_torch(seeded(Vit), SHAPE)
    assert net.receptive_field("layer") == (0, 0, 16, 16)
    assert net.layers["cat"] == (17, 8)


def test_names_that_are_taken() -> None:
    module = nn.Sequential()
    module.add_module("image", nn.Conv2d(3, 2, 1))
    module.add_module("relu", nn.ReLU())
    module.add_module("again", module.relu)
    module.add_module("relu_1", nn.Tanh())
    net = cnnpref.load_torch(module, SHAPE)
    assert list(net.blobs) == ["image", "image_1", "relu", "relu_2", "relu_1"]
    x = torch.rand(1, *SHAPE)
    torch.testing.assert_close(net.activations(x, "relu_1"), module(x).detach())


def test_errors_of_a_module_that_is_out_of_memory_stay_what_they_are() -> None:
    class Greedy(nn.Identity):
        def forward(self, x: Tensor) -> Tensor:
            raise torch.OutOfMemoryError("too much")

    with pytest.raises(torch.OutOfMemoryError):
        cnnpref.load_torch(Greedy(), SHAPE)
