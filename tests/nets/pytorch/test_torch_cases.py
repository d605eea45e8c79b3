"""The modules that people brought and that failed, as they were recorded."""

from __future__ import annotations

import importlib.util
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from basics import refusal
from places import SHARED
from torch import nn

import cnnpref
from cnnpref.methods import resolve
from cnnpref.unit_map import UnitMap

FILE = SHARED / "cases" / "torch_cases.py"
SHAPE = (3, 16, 16)
pytestmark = pytest.mark.skipif(not FILE.exists(), reason="the cases are not here")


@pytest.fixture(scope="module")
def cases() -> ModuleType:
    spec = importlib.util.spec_from_file_location("torch_cases", FILE)
    assert spec
    assert spec.loader
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def load(module: nn.Module, shape: tuple[int, ...] = SHAPE) -> cnnpref.Net:
    return cnnpref.load_torch(module, shape)


def maximised(net: cnnpref.Net, layer: str, where: Any = "center") -> cnnpref.Solution:
    objective = cnnpref.Objective.units(net, layer, [0, 2], where)
    options = resolve("gd", "higher", {"iter_n": 4})
    found = cnnpref.maximise(net, objective, "gd", options, seeds=1)
    assert found.status == [cnnpref.Status.OK] * 2
    return found


def test_there_is_a_test_for_each(cases: ModuleType) -> None:
    own = {name for name, value in vars(cases).items() if callable(value) and name != "Block"}
    own -= {"nn", "F"}
    tested = {"Dropout", "lazy", "Checkpointed", "Spectrum", "Tokens", "batch_statistics", "grey"}
    assert own == tested | {"tanh_generator"}


def test_dropout_is_named(cases: ModuleType) -> None:
    net = load(cases.Dropout())
    assert net.random == ["dropout", "l"]
    told = refusal(maximised, net, "l")
    assert told.startswith("layer 'dropout' of the net 'Dropout' gives an image other values each")
    assert "`training=self.training`" in told
    maximised(net, "c")


def test_lazy_layers_with_and_without_weights(cases: ModuleType, tmp_path: Any) -> None:
    built = cases.lazy()
    built(torch.zeros(1, *SHAPE))
    torch.save(built.state_dict(), tmp_path / "lazy.pt")
    (tmp_path / "lazy_case.py").write_text(FILE.read_text())
    maximised(load(cases.lazy()), "3")
    from cnnpref.nets import open_net

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(tmp_path))
        section = {"torch": "lazy_case:lazy", "input_shape": SHAPE}
        net = open_net({**section, "weights": str(tmp_path / "lazy.pt")})
    x = torch.rand(1, *SHAPE)
    torch.testing.assert_close(net.activations(x, "3"), built(x).detach())


def test_reentrant_checkpoints_work(cases: ModuleType) -> None:
    maximised(load(cases.Checkpointed()), "l")


def test_complex_layers_are_not_listed(cases: ModuleType) -> None:
    net = load(cases.Spectrum())
    assert "complex64" in net.unlisted["fft_rfft2"]
    assert "abs" in net.maps
    for layer in ("c", "l"):
        maximised(net, layer)


def test_tokens_have_features_for_units(cases: ModuleType) -> None:
    net = load(cases.Tokens())
    assert net.maps["b.m"] == UnitMap((17, 16), axis=1, middle=11, class_token=0)
    assert net.maps["b.a.0"] == net.maps["b.m"]
    assert "the layers 'b.a.0'" in refusal(net.layer_shape, "b.a")
    for where in ("cls", 3, "all"):
        maximised(net, "b.m", where)


def test_statistics_of_a_batch_are_an_images_own(cases: ModuleType) -> None:
    net = load(cases.batch_statistics())
    x = torch.randn(1, *SHAPE)
    beside = net.activations(torch.cat([x, 9 * x.flip(3) + 1]), "3")[:1]
    torch.testing.assert_close(beside, net.activations(x, "3"), rtol=1e-5, atol=1e-6)
    maximised(net, "3")


def test_grey_images(cases: ModuleType) -> None:
    found = maximised(load(cases.grey(), (1, 28, 28)), "3")
    assert found.images.shape == (2, 28, 28, 1)


def test_a_generator_with_its_own_mean(cases: ModuleType) -> None:
    net = load(nn.Sequential(nn.Conv2d(3, 4, 5, 4), nn.Flatten(), nn.Linear(900, 3)), (3, 64, 64))
    maker = cnnpref.load_torch(cases.tanh_generator(), (10,), mean=[0.5] * 3, std=[0.5] * 3)
    objective = cnnpref.Objective.units(net, "2", [0, 1])
    options = resolve("dgn_gd", "higher", {"iter_n": 4})
    generator = cnnpref.Generator(maker)
    found = cnnpref.maximise(net, objective, "dgn_gd", options, seeds=1, generator=generator)
    assert np.ptp(found.images) > 60
    assert 0 <= found.images.min() <= found.images.max() <= 255
