"""Activation maximisation through its public function, on small nets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import cnnpref
from cnnpref.ascent.solution import Solution
from cnnpref.ascent.variables import Generator
from cnnpref.methods import METHODS, resolve
from cnnpref.nets.caffe import CaffeNet

SHORT = {"gd": {"iter_n": 8, "jitter_size": 2}, "lbfgs": {"maxiter": 4, "initial_image": None}}
SHORT |= {"dgn_gd": {"iter_n": 8}, "dgn_lbfgs": {"maxiter": 4}, "spectral": {"steps": 8}}
SHORT |= {"maco": {"steps": 8}}

# what lets the activation itself rise from step to step
RISING: dict[str, dict[str, Any]] = {
    "gd": {"iter_n": 40, "image_jitter": False},
    "spectral": {"steps": 40, "objective": "activation"},
    "maco": {"steps": 60},
}


def run(
    net: CaffeNet,
    generator: Generator,
    method: str,
    layer: str,
    units: list[int],
    **options: Any,
) -> Solution:
    position = "all" if layer == "conv2" else "center"
    objective = cnnpref.Objective.units(net, layer, units, position)
    preset = "lower" if layer == "conv1" else "higher"
    chosen = resolve(method, preset, SHORT[method] | options)
    return cnnpref.maximise(net, objective, method, chosen, seeds=5, generator=generator)


@pytest.mark.parametrize("layer", ["conv1", "conv2", "fc"])
@pytest.mark.parametrize("method", METHODS)
def test_a_unit_does_not_depend_on_its_batch(
    net: CaffeNet, generator: Generator, method: str, layer: str
) -> None:
    """Alone, in a batch of 8, in reversed order: to the bit, on a CPU with one thread."""
    units = [4, 0, 7, 2, 5, 8, 1, 3]
    batch = run(net, generator, method, layer, units)
    backwards = run(net, generator, method, layer, units[::-1])
    for row in (0, 3, 7):
        alone = run(net, generator, method, layer, [units[row]])
        for other, place in ((alone, 0), (backwards, 7 - row)):
            assert np.array_equal(batch.images[row], other.images[place])
            assert np.array_equal(batch.images_best[row], other.images_best[place])
            assert np.array_equal(batch.activations[row], other.activations[place])
            assert batch.status[row] == other.status[place]


@pytest.mark.parametrize("layer", ["conv1", "conv2", "fc"])
@pytest.mark.parametrize("method", METHODS)
def test_ascends(net: CaffeNet, generator: Generator, method: str, layer: str) -> None:
    options = RISING.get(method, {})
    solution = run(net, generator, method, layer, [0, 1, 2], **options)
    for row in range(3):
        trace = solution.activations[row]
        assert solution.status[row] == cnnpref.Status.OK
        assert solution.scores_best[row] > trace[0]
        assert solution.scores_best[row] >= solution.scores[row]


@pytest.mark.parametrize("method", METHODS)
def test_shapes_and_scores(net: CaffeNet, generator: Generator, method: str) -> None:
    solution = run(net, generator, method, "fc", [1, 2])
    assert solution.images.shape == solution.images_best.shape == (2, 20, 20, 3)
    assert solution.images.dtype == np.float32
    for images, scores in (
        (solution.images, solution.scores),
        (solution.images_best, solution.scores_best),
    ):
        seen = net.activations(torch.from_numpy(net.space.encode(images)), "fc")
        assert seen[[0, 1], [1, 2]].numpy() == pytest.approx(scores, rel=1e-4, abs=1e-3)
    if method.startswith("dgn"):
        assert solution.latents is not None
        assert solution.latents.shape == (2, 16)
        assert solution.latents.min() >= 0
        assert solution.latents.max() <= 100
    else:
        assert solution.latents is None


def test_lbfgs_stays_within_the_pixels(net: CaffeNet, generator: Generator) -> None:
    solution = run(net, generator, "lbfgs", "fc", [1, 2])
    assert solution.images.min() >= -1e-3
    assert solution.images.max() <= 255 + 1e-3


@pytest.mark.parametrize("method", METHODS)
def test_seeds(net: CaffeNet, generator: Generator, method: str) -> None:
    objective = cnnpref.Objective.units(net, "fc", [3, 3, 3])
    options = resolve(method, "higher", SHORT[method])
    solution = cnnpref.maximise(
        net, objective, method, options, seeds=[1, 2, 1], generator=generator
    )
    assert np.array_equal(solution.images[0], solution.images[2])
    assert not np.array_equal(solution.images[0], solution.images[1])


def test_units_have_streams_of_their_own(net: CaffeNet) -> None:
    """The same seed gives every unit another start."""
    starts = []
    options = resolve("gd", "higher", {"iter_n": 1, "lr_start": 0, "lr_end": 0})
    cnnpref.maximise(
        net,
        cnnpref.Objective.units(net, "fc", [0, 1]),
        "gd",
        options,
        observe=lambda moment: starts.append(moment.variables),
    )
    assert not torch.equal(starts[0][0], starts[0][1])


@pytest.mark.parametrize("method", METHODS)
def test_a_dead_unit_is_told(net: CaffeNet, generator: Generator, method: str) -> None:
    """A unit whose weights are zero has no gradient; the others of its batch are unharmed."""
    weight, bias = list(net.parameters())[-2:]
    kept = weight[2].clone()
    weight[2] = 0
    try:
        others = run(net, generator, method, "fc", [0, 1])
        solution = run(net, generator, method, "fc", [0, 2, 1])
    finally:
        weight[2] = kept
    assert solution.status == ["ok", "zero-gradient", "ok"]
    assert np.array_equal(solution.images[[0, 2]], others.images)
    assert np.isfinite(solution.images).all()
    assert solution.scores[1] == pytest.approx(float(bias[2]))


@pytest.mark.parametrize("method", METHODS)
def test_a_diverging_unit_harms_nobody(net: CaffeNet, generator: Generator, method: str) -> None:
    """The second row's weight is so large that its gradient overflows."""
    masks, weights = np.eye(9)[:3], np.ones((3, 9))
    weights[1, 1] = 3e38
    options = resolve(method, "higher", SHORT[method] | RISING.get(method, {}))
    every, others = (
        cnnpref.maximise(
            net,
            cnnpref.Objective.masks(net, "fc", masks[rows], weights[rows]),
            method,
            options,
            generator=generator,
        )
        for rows in ([0, 1, 2], [0, 2])
    )
    assert every.status == ["ok", "diverged", "ok"]
    assert np.array_equal(every.images[[0, 2]], others.images)
    assert np.isfinite(every.images).all()


def test_any_mask_and_weight(net: CaffeNet) -> None:
    """Several units at once, one of them driven down."""
    mask = np.zeros((2, 12, 4, 4), np.float32)
    mask[0, [1, 5], 2, 2] = 1
    mask[1, 7] = 1
    weights = np.ones((2, 12, 4, 4), np.float32)
    weights[0, 5] = -1
    objective = cnnpref.Objective.masks(net, "conv2", mask, weights)
    solution = cnnpref.maximise(net, objective, "gd", resolve("gd", "higher", {"iter_n": 20}))
    seen = net.activations(torch.from_numpy(net.space.encode(solution.images)), "conv2").numpy()
    assert seen[0, 1, 2, 2] > 0 > seen[0, 5, 2, 2]
    assert solution.scores[0] == pytest.approx(seen[0, 1, 2, 2] + seen[0, 5, 2, 2], rel=1e-3)
    assert solution.scores[1] == pytest.approx(seen[1, 7].sum(), rel=1e-3)


def test_the_observer_sees_what_is_returned(net: CaffeNet, generator: Generator) -> None:
    for method in METHODS:
        moments = []
        options = resolve(method, "higher", {**SHORT[method], "retries": 0})
        solution = cnnpref.maximise(
            net,
            cnnpref.Objective.units(net, "fc", [1, 2]),
            method,
            options,
            generator=generator,
            observe=lambda m, moments=moments: moments.append((m.count, m.images())),
        )
        assert [count for count, _ in moments] == list(range(1, len(moments) + 1))
        assert len(moments) == max(map(len, solution.activations))
        if method == "gd":
            assert np.array_equal(moments[-1][1], solution.images)


@pytest.mark.parametrize("method", ["gd", "lbfgs", "dgn_gd", "dgn_lbfgs"])
def test_the_best_image_of_a_unit_driven_down_is_the_one_of_its_lowest_activation(
    net: CaffeNet, generator: Generator, method: str
) -> None:
    options = resolve(method, "higher", SHORT[method])
    target = cnnpref.Objective.units(net, "fc", [0, 1, 2], weight=-1.0)
    solution = cnnpref.maximise(net, target, method, options, generator=generator)
    assert (solution.scores_best <= solution.scores).all()
    seen = net.activations(torch.from_numpy(net.space.encode(solution.images_best)), "fc")
    assert seen[[0, 1, 2], [0, 1, 2]].numpy() == pytest.approx(solution.scores_best, rel=1e-4)
    if method != "gd":  # whose trace is of images that were shifted
        lowest = [trace.min() for trace in solution.activations]
        assert (solution.scores_best <= np.array(lowest) + 1e-3).all()
