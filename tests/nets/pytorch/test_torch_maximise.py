"""Activation maximisation of PyTorch nets: the four methods, and the original's functions."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

import numpy as np
import pytest
import torch
from modules import SHAPE, Convnext, Maker, Plain, Residual, Squeeze, Vit, seeded
from torch import nn

import cnnpref
from cnnpref.ascent.solution import Solution
from cnnpref.ascent.variables import Generator
from cnnpref.methods import METHODS, resolve
from cnnpref.nets.pytorch import TorchNet
from cnnpref.utils import create_receptive_field_mask, get_cnn_features

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
SYMMETRIC = cnnpref.InputSpace((0, 1, 2), (127.5,) * 3, (1 / 127.5,) * 3)  # -1..1
SHORT = {"gd": {"iter_n": 8, "jitter_size": 2}, "lbfgs": {"maxiter": 5, "initial_image": None}}
SHORT |= {
    "dgn_gd": {"iter_n": 8},
    "dgn_lbfgs": {"maxiter": 5},
    "spectral": {"steps": 40, "objective": "activation"},
    "maco": {"steps": 60},
}
UNITS = [4, 0, 3, 1]


def load(kind: type[nn.Module]) -> TorchNet:
    return cnnpref.load_torch(seeded(kind), SHAPE, **IMAGENET)


@pytest.fixture(scope="module")
def generator() -> Generator:
    return Generator(cnnpref.load_torch(seeded(Maker), (12,)), space=SYMMETRIC)


def run(
    net: TorchNet, generator: Generator, method: str, layer: str, units: Sequence[int]
) -> Solution:
    position = "all" if layer == "4" else "center"
    objective = cnnpref.Objective.units(net, layer, units, position)
    options = resolve(method, "lower" if layer == "0" else "higher", SHORT[method])
    return cnnpref.maximise(net, objective, method, options, seeds=5, generator=generator)


CASES = [(Plain, "0"), (Plain, "4"), (Plain, "7"), (Residual, "layer1.0.bn1"), (Residual, "fc")]
CASES += [(Convnext, "add")]


@pytest.mark.parametrize(("kind", "layer"), CASES)
@pytest.mark.parametrize("method", METHODS)
def test_a_unit_does_not_depend_on_its_batch(
    generator: Generator, method: str, kind: type[nn.Module], layer: str
) -> None:
    """Alone, in a batch, in reversed order: to the bit, on a CPU with one thread."""
    net = load(kind)
    units = [unit for unit in UNITS if unit < net.layers[layer][0]]
    batch = run(net, generator, method, layer, units)
    backwards = run(net, generator, method, layer, units[::-1])
    for row, unit in enumerate(units):
        alone = run(net, generator, method, layer, [unit])
        for other, place in ((alone, 0), (backwards, -1 - row)):
            assert np.array_equal(batch.images[row], other.images[place])
            assert np.array_equal(batch.activations[row], other.activations[place])
            assert batch.status[row] == other.status[place]
        assert batch.status[row] == cnnpref.Status.OK
        assert batch.scores_best[row] > batch.activations[row][0]


@pytest.mark.parametrize("objective", ["lead", "margin"])
@pytest.mark.parametrize("method", ["spectral", "maco"])
@pytest.mark.parametrize(("kind", "layer"), CASES)
def test_targets_among_their_mates_do_not_depend_on_the_batch(
    kind: type[nn.Module], layer: str, method: str, objective: str
) -> None:
    net = load(kind)
    options = resolve(method, "higher", {"steps": 6, "objective": objective})
    units = [unit for unit in UNITS if unit < net.layers[layer][0]]
    batch, alone = (
        cnnpref.maximise(net, cnnpref.Objective.units(net, layer, rows), method, options)
        for rows in (units, units[1:2])
    )
    assert np.array_equal(batch.images[1], alone.images[0])
    assert np.array_equal(batch.activations[1], alone.activations[0])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("kind", "layer"), [(Vit, "head"), (Squeeze, "up")])
def test_attention_and_tiny_maps_depend_on_the_batch_by_no_more_than_noise(
    generator: Generator, method: str, kind: type[nn.Module], layer: str
) -> None:
    net = load(kind)
    batch = run(net, generator, method, layer, UNITS)
    for row, unit in enumerate(UNITS):
        alone = run(net, generator, method, layer, [unit])
        first = batch.activations[row][0]
        assert alone.activations[0][0] == pytest.approx(first, rel=1e-5, abs=1e-6)
        assert alone.scores_best[0] == pytest.approx(batch.scores_best[row], rel=1e-2, abs=1e-3)


def test_scores_are_the_modules_own(generator: Generator) -> None:
    net, module = load(Residual), seeded(Residual).eval()
    solution = run(net, generator, "lbfgs", "fc", UNITS)
    pixels = torch.from_numpy(solution.images / 255).permute(0, 3, 1, 2)
    mean, std = (torch.tensor(IMAGENET[key])[:, None, None] for key in ("mean", "std"))
    answers = module((pixels - mean) / std)[range(len(UNITS)), UNITS]
    assert answers.tolist() == pytest.approx(solution.scores, rel=1e-4)
    assert solution.images.min() >= -1e-3
    assert solution.images.max() <= 255 + 1e-3


def test_a_net_that_takes_bgr() -> None:
    bgr = cnnpref.InputSpace(mean=(104.0, 117.0, 123.0))
    net = cnnpref.load_torch(seeded(Plain), SHAPE, space=bgr)
    red = np.zeros((16, 16, 3), np.float32)
    red[..., 0] = 255
    x = torch.tensor([-104.0, -117.0, 132.0])[:, None, None].expand(1, 3, 16, 16)
    expected = seeded(Plain).eval()(x).detach().numpy()[0]
    np.testing.assert_allclose(get_cnn_features(net, red, ["7"])["7"], expected, rtol=1e-4)


def test_dead_units_and_layers_without_influence(generator: Generator) -> None:
    module = seeded(Plain)
    with torch.no_grad():
        module[7].weight[2] = 0
    net = cnnpref.load_torch(module, SHAPE)
    solution = run(net, generator, "gd", "7", [0, 2])
    assert solution.status == ["ok", "zero-gradient"]


@pytest.mark.parametrize("method", ["gd", "lbfgs", "dgn_gd", "dgn_lbfgs"])
def test_the_originals_functions(generator: Generator, method: str) -> None:
    net = load(Residual)
    generate_image = import_module(f"cnnpref.prefer_img_{method}").generate_image
    makers = [generator.net] if method.startswith("dgn") else []
    few = {"iter_n": 4} if method.endswith("gd") else {"maxiter": 4}
    mask = np.zeros(net.layers["fc"])
    mask[3] = 1
    seen: list[float] = []
    np.random.seed(0)  # noqa: NPY002 - the original's source of random numbers
    image = generate_image(
        *makers, net, "fc", mask, **few, callback=lambda _i, _x, a: seen.append(a)
    )
    assert image.shape == (16, 16, 3)
    assert np.isfinite(image).all()
    assert len(seen) >= 4


def test_the_originals_helpers() -> None:
    net = load(Plain)
    picture = np.random.default_rng(0).uniform(0, 255, (16, 16, 3)).astype(np.float32)
    found = get_cnn_features(net, picture, ["1", "7"])
    assert found["1"].min() == 0  # rectified in place
    mask = np.zeros(net.layers["0"])
    mask[0, 1, 2] = 1
    field = create_receptive_field_mask(net, "0", mask)
    assert np.argwhere(field[..., 0]).min(0).tolist() == [2, 4]
    assert field.sum() == 25 * 3


@pytest.mark.parametrize("channels", [1, 2, 4, 5])
@pytest.mark.parametrize("given", [False, True])
def test_images_of_any_number_of_channels(channels: int, given: bool) -> None:
    module = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))
    values = {"mean": [0.1 * (n + 1) for n in range(channels)], "std": [0.5] * channels}
    net = cnnpref.load_torch(module, (channels, 8, 8), **(values if given else {}))
    objective = cnnpref.Objective.units(net, "3", [1, 4])
    options = cnnpref.resolve("gd", "higher", {"iter_n": 3, "jitter_size": 1})
    solution = cnnpref.maximise(net, objective, "gd", options)
    assert solution.images.shape == (2, 8, 8, channels)
    pixels = torch.from_numpy(solution.images).permute(0, 3, 1, 2) / 255
    if given:
        mean = torch.tensor(values["mean"])[:, None, None]
        pixels = (pixels - mean) / 0.5
    with torch.no_grad():
        scores = module(pixels)[[0, 1], [1, 4]].numpy()
    np.testing.assert_allclose(solution.scores, scores, rtol=1e-3, atol=1e-4)
