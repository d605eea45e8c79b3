"""Nets whose images depend on each other, on chance or on a state are refused, by layer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from live_caffe import FORCE, pair
from modules import SHAPE, Branches, Convnext, Functional, Plain, Residual, Vit, seeded
from prototxts import layer
from small import GENERATOR, NET, random_net
from torch import Tensor, nn

import cnnpref
from cnnpref.nets.independence import check_part, check_readout

Step = Callable[[Tensor], Tensor]


class Between(nn.Module):
    """A convolution, something else, and a fully connected layer."""

    def __init__(self, step: Step) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.conv, self.fc, self.step = nn.Conv2d(3, 4, 3), nn.Linear(4, 5), step

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        x = x + self.step(x)
        return self.fc(x.mean((2, 3)))


class Counter:
    """Adds more each time."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x.sin() + self.calls


def units(net: cnnpref.Net, name: str, channels: tuple[int, ...] = (2,)) -> None:
    """Check the units of some channels, in the middle of a map."""
    objective = cnnpref.Objective.units(net, name, channels)
    check_readout(net, name, net.readout(name, objective.index), len(channels))


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(cnnpref.UserError) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


OVER_IMAGES = "softmax_param { axis: 0 }"
RANDOM = "other values each time: it draws at random, or has a state"
MIXES = "other values beside another one: it mixes images"
FAULTS: dict[str, tuple[Step, str, str]] = {
    "dropout": (lambda x: F.dropout(x, 0.5), "dropout", RANDOM),
    "noise": (lambda x: x + 0.1 * torch.randn_like(x), "randn_like", RANDOM),
    "state": (Counter(), "add", RANDOM),
    "mean of the batch": (lambda x: x.sigmoid() - x.mean(0, keepdim=True), "sub", MIXES),
    "softmax over the batch": (lambda x: x.softmax(0), "softmax", MIXES),
    "neighbour": (lambda x: x.roll(1, 0), "roll", MIXES),
    "largest of all": (lambda x: x / x.abs().max(), "div", MIXES),
    "number": (
        lambda x: x.tanh() / len(x),
        "div",
        "other values alone: it depends on their number",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_the_first_layer_at_fault_is_named(name: str) -> None:
    step, culprit, fault = FAULTS[name]
    net = cnnpref.load_torch(Between(step).eval(), SHAPE)
    units(net, "conv")
    for _ in range(2):  # it stays refused
        told = refusal(lambda: units(net, "fc"))
        assert f"of the net 'Between' gives an image {fault}" in told
        assert told.startswith(f"layer '{culprit}") or culprit == "randn_like"
        assert "layer 'conv'" not in told
    units(net, "conv")


@pytest.mark.parametrize("module", [Plain, Residual, Branches, Vit, Convnext, Functional])
def test_nets_that_see_each_image_by_itself_pass(module: type[nn.Module]) -> None:
    net = cnnpref.load_torch(seeded(module), SHAPE)
    for name, where in net.maps.items():
        units(net, name, (0, where.count - 1))


def test_the_random_numbers_of_a_user_are_left_alone() -> None:
    before = torch.get_rng_state()
    units(cnnpref.load_torch(seeded(Plain), SHAPE), "0")
    assert torch.equal(torch.get_rng_state(), before)


def test_each_part_of_a_layer_is_asked_once_with_five_images() -> None:
    module, seen = seeded(Plain), list[int]()
    module.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    net = cnnpref.load_torch(module, SHAPE)
    objective = cnnpref.Objective.units(net, list(net.layers)[-1], [0, 1, 0])
    readout = net.readout(objective.layer, objective.index)
    for expected in ([2, 2, 1], []):
        seen.clear()
        check_readout(net, objective.layer, readout, 3)
        assert seen == expected


def test_a_unit_without_a_gradient_tells_nothing_so_that_the_next_is_asked() -> None:
    net = cnnpref.load_torch(Between(lambda x: x.softmax(0)).eval(), SHAPE)
    for weight in net.parameters():
        if weight.shape == (5, 4):
            weight[:2] = 0
    units(net, "fc", (0,))
    units_of_three = cnnpref.Objective.units(net, "fc", (0, 1, 4))
    other = cnnpref.load_torch(net.module, SHAPE)
    readout = other.readout("fc", units_of_three.index)
    assert MIXES in refusal(lambda: check_readout(other, "fc", readout, 3))


def test_a_live_net_whose_images_share_statistics(tmp_path: Path) -> None:
    norm = layer("norm", "Softmax", "pool1", OVER_IMAGES)
    text = FORCE + NET.replace('bottom: "pool1"', 'bottom: "norm"').replace(
        'layer { name: "conv2"', norm + 'layer { name: "conv2"'
    )
    net = pair(tmp_path, text).net
    units(net, "pool1")
    assert refusal(lambda: units(net, "fc")).startswith("layer 'norm' of the net 'pycaffe' gives")


def test_generators(tmp_path: Path) -> None:
    box = (2, 3, 9, 8)
    for net in (random_net(tmp_path, GENERATOR), pair(tmp_path, FORCE + GENERATOR).net):
        check_part(net, "feat", "made", net.part("feat", "made", box))
        check_part(net, "map", "made", net.part("map", "made", box))
    shared = "batch_norm_param { use_global_stats: false }"
    norm = layer("norm", "BatchNorm", "map", shared) + layer("mix", "Softmax", "norm", OVER_IMAGES)
    text = FORCE + GENERATOR.replace('bottom: "map"', 'bottom: "mix"').replace(
        'layer { name: "grow"', norm + 'layer { name: "grow"'
    )
    net = random_net(tmp_path, text)
    check_part(net, "feat", "norm", net.part("feat", "norm", box))
    for source in ("feat", "map"):
        part = net.part(source, "made", box)
        told = refusal(partial(check_part, net, source, "made", part))
        assert told.startswith("layer 'mix' of the net 'maker' gives an image other values beside")


@pytest.mark.parametrize("kept", [False, True])
def test_statistics_of_a_batch_are_those_of_each_image(kept: bool) -> None:
    """Of a normalisation without statistics, or with some that are not used."""

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=kept)
            self.fc = nn.Linear(784, 5)

        def forward(self, x: Tensor) -> Tensor:
            x = self.conv(x)
            return self.fc((self.normalise(x) if kept else self.norm(x)).flatten(1))

        def normalise(self, x: Tensor) -> Tensor:
            kept = self.norm.running_mean, self.norm.running_var
            return F.batch_norm(x, *kept, self.norm.weight, training=True)

    module, random = Own(), torch.Generator().manual_seed(0)
    net, x = cnnpref.load_torch(module, SHAPE), torch.rand(3, *SHAPE, generator=random)
    before = [value.clone() for value in module.buffers()]
    found = net.activations(x, "fc")
    assert all(map(torch.equal, before, module.buffers()))
    with torch.no_grad():
        torch.testing.assert_close(found, torch.cat([module(image[None]) for image in x]))
    for name in net.layers:
        units(net, name)
    norm = "batch_norm" if kept else "norm"
    assert net.layers[norm] == (4, 14, 14)
    assert net.receptive_field(norm) == (0, 0, 16, 16)
