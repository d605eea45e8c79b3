"""gd as neuroscience uses it: images of a fixed norm or contrast, blurred gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from small import random_net
from torch import nn

import cnnpref
from cnnpref.ascent.task import Moment
from cnnpref.methods import keyed
from cnnpref.methods.options import Options


def grey_net() -> cnnpref.Net:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 6, 7, stride=2), nn.ELU(), nn.Conv2d(6, 5, 5))
    return cnnpref.load_torch(module.eval(), (1, 36, 44), mean=[0.45], std=[0.25])


def iterates(net: cnnpref.Net, layer: str, **options: Any) -> list[torch.Tensor]:
    """Images in the net's space after each iteration, of two units."""
    seen: list[torch.Tensor] = []

    def observe(moment: Moment) -> None:
        seen.append(torch.from_numpy(net.space.encode(moment.images())))

    chosen = cnnpref.resolve("gd", "mei", {"iter_n": 12, **options})
    objective = cnnpref.Objective.units(net, layer, [0, 3])
    cnnpref.maximise(net, objective, "gd", chosen, observe=observe)
    return seen


@pytest.mark.parametrize("kind", ["grey", "colour"])
def test_the_norm_is_that_after_every_step(tmp_path: Path, kind: str) -> None:
    net = grey_net() if kind == "grey" else random_net(tmp_path)
    layer = "2" if kind == "grey" else "conv2"
    seen = iterates(net, layer)
    assert len(seen) == 12
    for images in seen:
        assert images.flatten(1).norm(dim=1).numpy() == pytest.approx([25, 25], rel=1e-4)


def test_mean_and_standard_deviation_are_those_after_every_step() -> None:
    for images in iterates(grey_net(), "2", fixed_norm=0, fixed_mean=0.2, fixed_sd=0.5):
        flat = images.flatten(1).numpy()
        assert flat.mean(1) == pytest.approx([0.2, 0.2], abs=1e-4)
        assert flat.std(1) == pytest.approx([0.5, 0.5], rel=1e-4)


def test_a_step_is_along_the_blurred_gradient() -> None:
    net = grey_net()
    objective = cnnpref.Objective.units(net, "2", [1])
    start = np.random.default_rng(0).integers(0, 256, (36, 44, 1)).astype(np.float32)
    x = torch.from_numpy(net.space.encode(start[None])).requires_grad_()
    (g,) = torch.autograd.grad(net.activations(x, "2")[0, 1, 5, 7], x)
    options = cnnpref.resolve("gd", "mei", {"iter_n": 1, "fixed_norm": 0})
    found = cnnpref.maximise(net, objective, "gd", options, initial=[start]).images
    moved = net.space.encode(found[0]) - x.detach().numpy()[0]
    wanted = 10 * gaussian_filter(g.numpy()[0, 0], 1.0, mode="reflect")
    assert np.abs(moved[0] - wanted).max() < 1e-3 * np.abs(wanted).max()


def test_activations_rise_and_rows_are_independent() -> None:
    net = grey_net()
    options = cnnpref.resolve("gd", "mei", {"iter_n": 60})
    both = cnnpref.maximise(net, cnnpref.Objective.units(net, "2", [0, 3]), "gd", options)
    alone = cnnpref.maximise(net, cnnpref.Objective.units(net, "2", [3]), "gd", options)
    assert np.allclose(both.images[1], alone.images[0], atol=0.01)
    for trace in both.activations:
        assert trace[-1] > trace[1]


def test_a_black_image_has_no_norm_to_fix() -> None:
    from cnnpref.ascent import gd_steps

    black = torch.zeros(2, 1, 4, 4)
    assert torch.equal(gd_steps.fixed_norm(25)(black, 0, slice(0, 2)), black)
    assert torch.equal(gd_steps.fixed_contrast(0, 1)(black + 3, 0, slice(0, 2)), black)


def test_other_presets_keep_their_keys() -> None:
    new = {"gradient_blur", "fixed_mean", "fixed_sd", "fixed_norm"}
    for preset in ("lower", "higher", "reference"):
        assert not new & set(keyed(cnnpref.resolve("gd", preset)))
    mei: Options = cnnpref.resolve("gd", "mei")
    assert new & set(keyed(mei)) == {"gradient_blur", "fixed_norm"}
