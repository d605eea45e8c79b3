"""Generators: the space and the size of the images that they make."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from basics import refusal
from builders import NET
from calling import succeed
from modules import SHAPE, Maker, Plain, seeded
from torch import Tensor, nn

import cnnpref
from cnnpref.methods import METHODS, resolve
from cnnpref.nets.pytorch import TorchNet
from cnnpref.prefer_img_dgn_gd import generate_image as by_gd
from cnnpref.prefer_img_dgn_lbfgs import generate_image as by_lbfgs
from cnnpref.results.unit_file import read_unit

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}  # of images in -1..1
WITH_GENERATOR = [name for name, method in METHODS.items() if method.needs_generator]


@pytest.fixture(scope="module")
def net() -> TorchNet:
    return cnnpref.load_torch(seeded(Plain), SHAPE, **IMAGENET)


def maker(side: int, **given: Any) -> TorchNet:
    """Of images of -1..1, blue to green."""
    torch.manual_seed(2)
    layers = [nn.Linear(12, 3 * side * side), nn.Unflatten(1, (3, side, side)), nn.Tanh()]
    return cnnpref.load_torch(nn.Sequential(*layers), (12,), **given)


def image(
    generate: Callable[..., Any], generator: TorchNet, net: TorchNet, **given: Any
) -> np.ndarray:
    mask = np.zeros(net.layers["7"])
    mask[3] = 1
    np.random.seed(0)  # noqa: NPY002 - the original draws from the global state
    return generate(generator, net, "7", mask, **given)


def gd(generator: TorchNet, net: TorchNet, **given: Any) -> np.ndarray:
    return image(by_gd, generator, net, iter_n=3, disp_every=0, **given)


def lbfgs(generator: TorchNet, net: TorchNet, **given: Any) -> np.ndarray:
    return image(by_lbfgs, generator, net, maxiter=3, disp=False, **given)


@pytest.mark.parametrize("generate", [gd, lbfgs])
def test_a_generators_own_space_from_python(
    net: TorchNet, generate: Callable[..., np.ndarray]
) -> None:
    own = generate(maker(16, **HALF), net)
    assert own.min() < 20
    assert own.max() > 235
    assert own.min() >= 0
    assert own.max() <= 255
    as_the_nets = generate(maker(16), net)
    spread = 255 * np.array(IMAGENET["std"])
    limits = 255 * np.array(IMAGENET["mean"]) + spread, 255 * np.array(IMAGENET["mean"]) - spread
    assert (as_the_nets <= limits[0] + 1e-3).all()
    assert (as_the_nets >= limits[1] - 1e-3).all()


def test_a_space_that_is_given_goes_first() -> None:
    other = cnnpref.InputSpace((0, 1, 2))
    assert cnnpref.Generator(maker(16, **HALF), space=other).space == other
    assert cnnpref.Generator(maker(16, **HALF)).space == maker(16, **HALF).space
    assert cnnpref.Generator(maker(16)).space is None


def test_a_caffe_generators_own_mean(tiny_net: Path) -> None:
    paths = tiny_net / "generator.prototxt", tiny_net / "generator.caffemodel"
    with_mean = cnnpref.Generator(cnnpref.load_caffe(*paths, mean=(1, 2, 3)))
    assert with_mean.space is not None
    assert with_mean.space.mean == (1, 2, 3)
    assert cnnpref.Generator(cnnpref.load_caffe(*paths)).space is None


def solved(net: TorchNet, generator: cnnpref.Generator, method: str) -> cnnpref.Solution:
    short = {"iter_n": 6} if method == "dgn_gd" else {"maxiter": 6}
    objective = cnnpref.Objective.units(net, "4", [1, 5])
    options = resolve(method, "higher", short)
    return cnnpref.maximise(net, objective, method, options, generator=generator)


@pytest.mark.parametrize("method", WITH_GENERATOR)
@pytest.mark.parametrize("side", [10, 16, 21])
def test_images_of_another_size_are_stretched(net: TorchNet, method: str, side: int) -> None:
    source = maker(side, **HALF)
    solution = solved(net, cnnpref.Generator(source, resize=True), method)
    assert solution.images.shape == (2, 16, 16, 3)
    assert solution.latents is not None
    made = source.activations(torch.from_numpy(solution.latents), "2").detach()
    small = source.space.decode(made.numpy())
    whole = torch.from_numpy(small).permute(0, 3, 1, 2)
    expected = F.interpolate(whole, (16, 16), mode="bilinear", antialias=True)
    np.testing.assert_allclose(solution.images, expected.permute(0, 2, 3, 1), atol=0.01)
    assert (solution.scores_best > [trace[0] for trace in solution.activations]).all()
    found = net.activations(torch.from_numpy(net.space.encode(solution.images)), "4")
    there = found[torch.arange(2), [1, 5], 1, 1].detach()
    np.testing.assert_allclose(there, solution.scores, rtol=1e-3)


def test_stretching_is_differentiable(net: TorchNet) -> None:
    from cnnpref.ascent.variables import Features

    features = Features(net, cnnpref.Generator(maker(10, **HALF), resize=True), (3, 2, 12, 14))

    def seen(x: Tensor) -> Tensor:
        return features.net_input(x.float()[None])[0]

    x = torch.rand(12, requires_grad=True)
    assert seen(x).shape == (3, 9, 12)
    (slope,) = torch.autograd.grad(seen(x).sum(), x)
    step = 1e-2 * slope / slope.norm()
    with torch.no_grad():
        rise = (seen(x + step) - seen(x - step)).sum() / 2
    assert float(rise) == pytest.approx(float((slope * step).sum()), rel=1e-2)


def test_sizes_that_do_not_fit(net: TorchNet) -> None:
    told = refusal(solved, net, cnnpref.Generator(maker(10)), "dgn_gd")
    assert told.endswith("the image must be at least that large, or resized (resize: true)")
    grey = nn.Sequential(nn.Linear(12, 100), nn.Unflatten(1, (1, 10, 10)))
    small = cnnpref.Generator(cnnpref.load_torch(grey, (12,)), resize=True)
    assert refusal(solved, net, small, "dgn_gd").endswith("the image must have 3 channels")


@pytest.mark.usefixtures("vision")
def test_a_small_generator_in_a_config() -> None:
    """Of 10 x 10, for a net of 32 x 32."""
    generator = {"torch": "vision:Maker", "input_shape": [6], "output": "view", "resize": True}
    config = {
        **{"net": {**NET, "input_shape": [3, 32, 32]}, "generator": {**generator, **HALF}},
        **{"layers": {"5": {"units": [3]}}, "methods": ["dgn_gd"]},
        **{"options": {"dgn_gd": {"iter_n": 3}}},
    }
    succeed("generate", config)
    (path,) = Path("results").rglob("3.h5")
    made = read_unit(path)
    assert made.image.shape == (32, 32, 3)
    assert made.attributes["sha256"]["generator"]["resize"] is True


def test_generate_image_resizes_too(net: TorchNet) -> None:
    for generate in (gd, lbfgs):
        assert generate(maker(9, **HALF), net, resize=True).shape == (16, 16, 3)


def test_the_makers_of_other_tests_are_as_before(net: TorchNet) -> None:
    """A space that is that of the net, and none, are the same to the bit."""
    source = cnnpref.load_torch(seeded(Maker), (12,))
    one = solved(net, cnnpref.Generator(source), "dgn_gd")
    same = cnnpref.Generator(source, space=net.space)
    assert np.array_equal(one.images, solved(net, same, "dgn_gd").images)
