"""Layers of every kind of module: tokens, channels last, films, collections; and what has none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from basics import refusal
from kinds import (
    Chance,
    ChannelsLast,
    Checkpointed,
    Clip,
    KeptOff,
    Nested,
    OneWay,
    Shared,
    Spectrum,
    Tokens,
    Windows,
)
from modules import SHAPE, Plain, Residual, seeded
from torch import nn

import cnnpref
from cnnpref.methods import METHODS, resolve
from cnnpref.nets.pytorch import TorchNet
from cnnpref.unit_map import UnitMap

SHORT = {"gd": {"iter_n": 4}, "lbfgs": {"maxiter": 3, "initial_image": None}}
SHORT |= {"spectral": {"steps": 6}}
PIXELS = [name for name, method in METHODS.items() if not method.needs_generator]


def load(module: nn.Module, shape: tuple[int, ...] = SHAPE) -> TorchNet:
    return cnnpref.load_torch(module, shape)


def maximised(net: TorchNet, layer: str, where: Any, method: str = "gd") -> cnnpref.Solution:
    objective = cnnpref.Objective.units(net, layer, [0, 2], where)
    options = resolve(method, "higher", SHORT.get(method, {}))
    return cnnpref.maximise(net, objective, method, options, seeds=1)


def value(net: TorchNet, layer: str, *index: int) -> float:
    """Of the first image, zeros but for a pixel."""
    x = torch.zeros(1, *net.input_shape)
    x[0, 1, 3, 5] = 1
    return float(net.activations(x, layer)[0][index])


def test_units_of_tokens_are_their_features() -> None:
    net = load(Tokens())
    assert net.layers["block.mlp"] == (17, 8)
    expected = UnitMap((17, 8), axis=1, middle=11, class_token=0)  # (2, 2) of 4 x 4 patches
    assert net.maps["block.mlp"] == net.maps["block.attention.0"] == net.maps["cat"] == expected
    assert net.maps["block.mlp.0"].count == 12
    assert net.maps["flatten"] == UnitMap((8, 16), axis=0, middle=10)  # not yet transposed
    assert net.maps["transpose"] == UnitMap((16, 8), axis=1, middle=10)
    where = {"center": [11], "cls": [0], 3: [3], "all": range(17)}
    for position, tokens in where.items():
        index = cnnpref.Objective.units(net, "block.mlp", [5], position).index
        assert index.tolist() == [[8 * token + 5 for token in tokens]]


@pytest.mark.parametrize(
    ("token", "cls", "middle"), [("first", 0, 11), ("last", 16, 10), ("", None, 10)]
)
def test_class_tokens_are_found(token: str, cls: int | None, middle: int) -> None:
    net = load(Tokens(token))
    where = net.maps["block"]
    assert (where.class_token, where.middle) == (cls, middle)
    if cls is None:
        told = refusal(cnnpref.Objective.units, net, "block", [0], "cls")
        assert "'block': there is no class token, 'cls'; allowed: 'center', 'all' or a" in told


def test_tokens_of_images_that_are_not_square() -> None:
    net = load(Tokens(), (3, 8, 32))  # 2 x 8 patches
    assert net.maps["block"].middle == 1 + 8 + 4


def test_sequences_before_images() -> None:
    """Layers (T, N, D) are given as (N, T, D)."""
    module = Tokens(batch_first=False).eval()
    net = load(module)
    assert net.layers["block.mlp"] == (17, 8)
    assert net.maps["block.mlp"] == UnitMap((17, 8), axis=1, middle=11, class_token=0)
    x = torch.rand(3, *SHAPE)
    found = net.activations(x, "block.mlp")
    assert found.shape == (3, 17, 8)
    torch.testing.assert_close(net.activations(x[1:2], "block.mlp"), found[1:2])
    full = net.forward({"image": x}, ["block", "head"])
    torch.testing.assert_close(full["head"], module(x).detach())
    again = net.forward({"block": full["block"]}, ["head"])["head"]
    torch.testing.assert_close(again, full["head"])


@pytest.mark.parametrize("method", PIXELS)
@pytest.mark.parametrize("where", ["cls", 3, "all"])
def test_units_of_tokens_are_maximised(method: str, where: Any) -> None:
    net = load(seeded(Tokens))
    found = maximised(net, "block.mlp", where, method)
    assert found.status == [cnnpref.Status.OK] * 2
    assert (found.scores_best > [trace[0] for trace in found.activations]).all()
    assert net.receptive_field("block.mlp", where) == (0, 0, 16, 16)


def test_channels_that_come_last() -> None:
    net = load(seeded(ChannelsLast))
    assert net.maps["norm"] == UnitMap((4, 4, 6), axis=2)
    assert net.maps["mix"] == UnitMap((4, 4, 7), axis=2)
    index = cnnpref.Objective.units(net, "mix", [6], (1, 2)).index
    assert np.unravel_index(index.item(), (4, 4, 7)) == (1, 2, 6)
    assert net.receptive_field("mix", (1, 2)) == (4, 8, 8, 12)
    x = torch.rand(1, *SHAPE)
    readout = net.readout("mix", index)
    torch.testing.assert_close(readout(x), net.activations(x, "mix")[:, 1, 2, 6:])
    assert maximised(net, "mix", "center").status == [cnnpref.Status.OK] * 2


def test_maps_of_three_axes() -> None:
    net = load(seeded(Clip))
    assert net.maps["conv"] == UnitMap((4, 5, 16, 16))
    index = cnnpref.Objective.units(net, "conv", [1], (2, 8, 8)).index
    assert np.array_equal(index, cnnpref.Objective.units(net, "conv", [1]).index)
    assert net.receptive_field("conv", (0, 8, 0)) == (7, 0, 10, 2)
    assert maximised(net, "conv", (4, 8, 8)).status == [cnnpref.Status.OK] * 2
    told = refusal(cnnpref.Objective.units, net, "conv", [1], (2, 16, 8))
    assert "(2, 16, 8) is outside the map of 5 x 16 x 16; allowed: t in 0..4, y in 0..15" in told


def test_collections_are_listed_by_number_and_key() -> None:
    net = load(seeded(Nested))
    kinds = ["maps.conv", "maps.relu", "maps.flatten", "maps.maps.0", "maps.maps.1"]
    assert list(net.layers) == [*kinds, "heads.mean", "heads.fc", "heads.logits"]
    assert "of torch.int64, and have no gradient" in net.unlisted["maps.best"]
    assert "'maps': it gives" not in refusal(net.layer_shape, "maps.conv1")
    told = refusal(net.layer_shape, "maps")
    assert "; it gives several values: the layers 'maps.maps.0', 'maps.maps.1'; the net" in told
    assert "; in eval mode it does not run, or does not" in refusal(net.layer_shape, "unused")
    x = torch.rand(2, *SHAPE)
    given = net.forward({"image": x, "maps.maps.1": torch.ones(2, 4, 14, 14)}, ["heads.logits"])
    expected = net.module.heads.fc(torch.ones(2, 4))  # type: ignore[union-attr, operator]
    torch.testing.assert_close(given["heads.logits"], expected.detach())


def test_a_module_that_is_used_twice() -> None:
    net = load(seeded(Shared))
    assert list(net.layers) == ["conv", "relu", "conv_1", "mean", "fc"]
    assert net.receptive_field("conv_1", (8, 8)) == (6, 6, 11, 11)


def test_reentrant_checkpoints_are_taken_off() -> None:
    module = seeded(Checkpointed).eval()
    net, x = load(module), torch.rand(2, *SHAPE)
    assert "inner.0" in net.layers
    torch.testing.assert_close(net.activations(x, "fc"), module(x).detach())
    assert maximised(net, "fc", "center").status == [cnnpref.Status.OK] * 2
    torch.autograd.backward(module(x.requires_grad_()).sum())  # theirs is as it was
    with pytest.raises(RuntimeError, match="use_reentrant=True"):
        torch.autograd.grad(module(x).sum(), x)


KEPT_OFF = "layer 'off' of the net 'KeptOff' cannot be computed: it is computed without a gradient"


def test_what_cannot_be_a_layer_leaves_the_others_alone() -> None:
    net = load(seeded(KeptOff))
    assert list(net.layers) == ["on", "add", "mean", "fc"]
    assert refusal(net.layer_shape, "off").startswith(KEPT_OFF)
    net = load(seeded(OneWay))
    assert list(net.layers) == ["conv"]
    assert "no gradient can be taken through it: not this way" in refusal(net.layer_shape, "fc")
    net = load(seeded(Spectrum))
    assert list(net.layers) == ["conv", "abs", "mean", "fc"]
    assert not net.refused
    assert "; its values are of torch.complex64" in refusal(net.layer_shape, "fft")
    net = load(seeded(Windows))
    assert {"conv", "unflatten_2", "mean"} <= set(net.layers)
    assert "it gives [4, 4, 8, 8] for one image and [8, 4" in refusal(net.layer_shape, "inside")


def test_a_net_all_of_whose_layers_keep_gradients_off() -> None:
    class Off(nn.Conv2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x.detach()).sin()

    told = refusal(load, Off(3, 4, 3))
    assert "with a gradient ('detach': it is computed without a gradient, under `no_grad`" in told


@pytest.mark.parametrize("side", [12, 20, 40])
def test_layers_below_a_flatten_take_images_of_any_size(side: int) -> None:
    net = load(seeded(Plain), (3, side, side))
    assert "7" not in net.layers
    told = refusal(net.layer_shape, "7")
    assert "layer '7' of the net 'Plain' cannot be computed: the module cannot go on to it" in told
    assert "Plain, in '7', on [1, 3, " in told
    x = torch.rand(2, 3, side, side)
    blobs = net.forward({"image": x}, ["1", "2"])
    assert blobs["1"].equal(blobs["2"])  # in place
    assert net.receptive_field("0", (1, 1)) == cnnpref.load_torch(
        seeded(Plain), SHAPE
    ).receptive_field("0", (1, 1))
    assert maximised(net, "3", "center").status == [cnnpref.Status.OK] * 2


def test_the_flags_of_a_module_that_changes_its_own_are_kept() -> None:
    module = seeded(Residual)
    drop = Chance("drop").eval()
    load(drop)
    assert not drop.drop.training
    assert module.training


@pytest.mark.parametrize("way", ["dropout", "mul", "drop"])
def test_chance_is_named_by_its_first_layer(way: str) -> None:
    torch.manual_seed(0)
    net = load(Chance(way))
    assert net.random[0] == way
    told = refusal(maximised, net, "fc", "center")
    assert told.startswith(f"layer '{way}' of the net 'Chance' gives an image other values each ti")
    assert "give `training=self.training`, which is off here" in told
    maximised(net, "mean", "center")


def test_dropout_that_is_off_is_no_chance() -> None:
    net = load(Chance(""))
    assert not net.random
    assert maximised(net, "fc", "center").status == [cnnpref.Status.OK] * 2
