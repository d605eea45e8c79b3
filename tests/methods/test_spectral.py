"""`spectral`: what it returns beside images, and what its options do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small import random_net

import cnnpref
from cnnpref.ascent.solution import Solution
from cnnpref.methods.spectral import Suited, suited
from cnnpref.nets.caffe import CaffeNet


@pytest.fixture
def net(tmp_path: Path) -> CaffeNet:
    return random_net(tmp_path)


def run(net: CaffeNet, layer: str = "fc", preset: str = "higher", **options: Any) -> Solution:
    chosen = cnnpref.resolve("spectral", preset, {"steps": 24, **options})
    objective = cnnpref.Objective.units(net, layer, [0, 5], weight=chosen.feature_weight)
    return cnnpref.maximise(net, objective, "spectral", chosen)


def test_images_are_within_their_range_and_the_trace_is_of_every_step(net: CaffeNet) -> None:
    solution = run(net)
    assert solution.images.min() >= -1e-3
    assert solution.images.max() <= 255 + 1e-3
    assert [len(trace) for trace in solution.activations] == [24, 24]
    assert np.array_equal(solution.images, solution.images_best)


def test_importance_is_a_plane_of_bytes_within_what_the_unit_sees(net: CaffeNet) -> None:
    solution = run(net, "conv1", "lower")
    assert solution.importance is not None
    assert solution.importance.dtype == np.uint8
    assert solution.importance.shape == (2, 20, 20)
    assert solution.importance.max() == 255
    top, left, bottom, right = net.receptive_field("conv1")
    outside = np.ones((20, 20), bool)
    outside[max(0, top - 4) : bottom + 4, max(0, left - 4) : right + 4] = False
    assert not solution.importance[:, outside].any()


def test_a_negative_weight_finds_what_a_unit_likes_least(net: CaffeNet) -> None:
    most, least = (run(net, feature_weight=w, objective="activation").scores for w in (1, -1))
    assert (most > least).all()


@pytest.mark.parametrize("objective", ["lead", "margin"])
def test_a_unit_rises_above_its_mates(net: CaffeNet, objective: str) -> None:
    leads = []
    for steps in (1, 60):
        images = run(net, objective=objective, steps=steps).images
        values = net.activations(torch.from_numpy(net.space.encode(images)), "fc")
        leads.append(values[[0, 1], [0, 5]] - values.mean(1))
    assert (leads[1] > leads[0] + 1).all()


def test_options_follow_the_size_of_the_field() -> None:
    options = cnnpref.resolve("spectral", "lower")
    small, middle, large = (suited(options, (0, 0, side, side)) for side in (11, 59, 155))
    assert small.cap > middle.cap > large.cap
    assert small.alpha < middle.alpha < large.alpha
    between = suited(options, (0, 0, 25, 25))
    assert small.cap > between.cap > middle.cap
    assert suited(options, (0, 0, 3, 3)) == small
    assert suited(options, (0, 0, 500, 400)) == large
    own = cnnpref.resolve("spectral", "lower", {"cap": 0.2})
    assert suited(own, (0, 0, 11, 11)) == Suited(**{**small._asdict(), "cap": 0.2})


@pytest.mark.parametrize("width", [1, 2, 3])
def test_images_of_few_pixels(width: int) -> None:
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.Flatten()).eval()
    net = cnnpref.load_torch(module, input_shape=(3, 1, width))
    objective = cnnpref.Objective.units(net, "1", [0, 1])
    images = cnnpref.maximise(net, objective, "spectral").images
    assert images.shape == (2, 1, width, 3)
    assert np.isfinite(images).all()
