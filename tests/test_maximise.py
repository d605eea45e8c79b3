"""Activation maximisation through its public function, on small nets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import cnnpref
from cnnpref.nets.caffe import CaffeNet
from cnnpref.options import METHODS, resolve
from cnnpref.param import Generator
from cnnpref.solution import Solution

NET = """
name: "small"
input: "data" input_shape { dim: 1 dim: 3 dim: 20 dim: 20 }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 10 kernel_size: 5 stride: 2 } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "norm1" type: "LRN" bottom: "conv1" top: "norm1" lrn_param { alpha: 0.01 } }
layer { name: "pool1" type: "Pooling" bottom: "norm1" top: "pool1"
  pooling_param { kernel_size: 3 stride: 2 } }
layer { name: "conv2" type: "Convolution" bottom: "pool1" top: "conv2"
  convolution_param { num_output: 12 kernel_size: 3 pad: 1 group: 2 } }
layer { name: "relu2" type: "ReLU" bottom: "conv2" top: "conv2" }
layer { name: "fc" type: "InnerProduct" bottom: "conv2" top: "fc"
  inner_product_param { num_output: 9 } }
"""
GENERATOR = """
name: "maker"
input: "feat" input_shape { dim: 1 dim: 16 }
layer { name: "up" type: "InnerProduct" bottom: "feat" top: "up"
  inner_product_param { num_output: 363 } }
layer { name: "map" type: "Reshape" bottom: "up" top: "map"
  reshape_param { shape { dim: 1 dim: 3 dim: 11 dim: 11 } } }
layer { name: "grow" type: "Deconvolution" bottom: "map" top: "made"
  convolution_param { num_output: 3 kernel_size: 4 stride: 2 pad: 1 } }
"""
SHORT = {"gd": {"iter_n": 8, "jitter_size": 2}, "lbfgs": {"maxiter": 4, "initial_image": None}}
SHORT |= {"dgn_gd": {"iter_n": 8}, "dgn_lbfgs": {"maxiter": 4}}


def random_net(tmp_path_factory: pytest.TempPathFactory, text: str, scale: float) -> CaffeNet:
    path = tmp_path_factory.mktemp("net") / "net.prototxt"
    path.write_text(text)
    net = cnnpref.load_caffe(path, mean=(100, 110, 120))
    noise = torch.Generator().manual_seed(1)
    for weight in net.parameters():
        weight.normal_(std=scale, generator=noise)
    return net


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> CaffeNet:
    return random_net(tmp_path_factory, NET, 0.1)


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Generator:
    return Generator(random_net(tmp_path_factory, GENERATOR, 0.3))


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
    options = {"iter_n": 40, "image_jitter": False} if method == "gd" else {}
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
    before = run(net, generator, method, "fc", [0, 1])
    weight[2] = 0
    try:
        solution = run(net, generator, method, "fc", [0, 2, 1])
    finally:
        weight[2] = kept
    assert solution.status == ["ok", "zero-gradient", "ok"]
    assert np.array_equal(solution.images[[0, 2]], before.images)
    assert np.isfinite(solution.images).all()
    assert solution.scores[1] == pytest.approx(float(bias[2]))


@pytest.mark.parametrize("method", METHODS)
def test_a_diverging_unit_harms_nobody(net: CaffeNet, generator: Generator, method: str) -> None:
    """The second row's weight is so large that its gradient overflows."""
    masks, weights = np.eye(9)[:3], np.ones((3, 9))
    weights[1, 1] = 3e38
    options = resolve(method, "higher", SHORT[method])
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


WRONG = {
    "layer": ("unknown layer 'cnv2' (did you mean 'conv2'", {"layer": "cnv2"}),
    "shape": ("must have shape (12, 4, 4), got (4, 4)", {"mask": np.ones((1, 4, 4))}),
    "empty": ("no 1 in it", {"mask": np.zeros((1, 12, 4, 4))}),
    "weight": ("must be finite", {"weight": np.nan}),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_masks(net: CaffeNet, case: str) -> None:
    message, wrong = WRONG[case]
    given = {"layer": "conv2", "mask": np.ones((1, 12, 4, 4)), "weight": 1.0} | wrong
    with pytest.raises(cnnpref.UserError) as error:
        cnnpref.Objective.masks(net, given["layer"], given["mask"], given["weight"])
    assert message in str(error.value)


BOUNDS = {
    "length": ("needs 1 or 16 numbers, got 5", {"upper": np.ones(5)}),
    "crossed": ("above its upper bound", {"lower": 3.0, "upper": 2.0}),
    "nan": ("NaN", {"upper": np.full(16, np.nan)}),
    "blob": ("no blob 'image'; it has: feat, up, map, made", {"output": "image"}),
    "small": ("at least that large", {"output": "map"}),
}


@pytest.mark.parametrize("case", BOUNDS)
def test_wrong_generators(net: CaffeNet, generator: Generator, case: str) -> None:
    message, wrong = BOUNDS[case]
    objective = cnnpref.Objective.units(net, "fc", [0])
    with pytest.raises(cnnpref.UserError) as error:
        cnnpref.maximise(net, objective, "dgn_gd", generator=Generator(generator.net, **wrong))
    assert message in str(error.value)


def test_a_generator_is_needed(net: CaffeNet) -> None:
    objective = cnnpref.Objective.units(net, "fc", [0])
    with pytest.raises(cnnpref.UserError, match="needs a generator"):
        cnnpref.maximise(net, objective, "dgn_lbfgs")


def test_a_layer_out_of_reach_of_the_image(tmp_path_factory: pytest.TempPathFactory) -> None:
    text = NET + (
        'layer { name: "step" type: "Threshold" bottom: "fc" top: "step" }\n'
        'layer { name: "after" type: "InnerProduct" bottom: "step" top: "after"'
        " inner_product_param { num_output: 2 } }"
    )
    net = random_net(tmp_path_factory, text, 0.1)
    with pytest.raises(cnnpref.UserError, match="cannot influence layer 'after'"):
        cnnpref.maximise(net, cnnpref.Objective.units(net, "after", [0]))


def test_the_observer_sees_what_is_returned(net: CaffeNet, generator: Generator) -> None:
    for method in METHODS:
        moments = []
        options = resolve(method, "higher", SHORT[method])
        solution = cnnpref.maximise(
            net,
            cnnpref.Objective.units(net, "fc", [1, 2]),
            method,
            options,
            generator=generator,
            observe=lambda m, moments=moments: moments.append((m.count, m.pictures())),
        )
        assert [count for count, _ in moments] == list(range(1, len(moments) + 1))
        assert len(moments) == max(map(len, solution.activations))
        if method == "gd":
            assert np.array_equal(moments[-1][1], solution.images)


def test_a_dead_unit_starts_anew_when_told(net: CaffeNet) -> None:
    """Every unit of relu1 is dead on a black image; noise wakes it."""
    bias = list(net.parameters())[1]
    kept = bias.clone()
    bias -= 1000  # mean-subtracted black is about -110, times weights of 0.1
    objective = cnnpref.Objective.units(net, "relu1", [0, 1])
    try:
        first, again = (
            cnnpref.maximise(
                net,
                objective,
                "lbfgs",
                resolve("lbfgs", "lower", {"maxiter": 3, "retries": retries}),
            )
            for retries in (0, 3)
        )
    finally:
        bias.copy_(kept)
    assert first.status == ["zero-gradient"] * 2
    assert again.status == ["zero-gradient"] * 2  # this bias is beyond any image
    assert np.ptp(first.images) < 1e-3
    assert np.ptp(again.images) > 100


def test_retries_leave_living_units_alone(net: CaffeNet) -> None:
    objective = cnnpref.Objective.units(net, "relu1", list(range(10)))
    plain, retried = (
        cnnpref.maximise(
            net, objective, "lbfgs", resolve("lbfgs", "lower", {"maxiter": 3, "retries": retries})
        )
        for retries in (0, 2)
    )
    dead = [row for row, status in enumerate(plain.status) if status == "zero-gradient"]
    assert dead
    assert len(dead) < 10
    assert "ok" in {str(retried.status[row]) for row in dead}
    for row in set(range(10)) - set(dead):
        assert np.array_equal(plain.images[row], retried.images[row])


def test_a_unit_that_rises_no_more_stops(net: CaffeNet) -> None:
    """Alone and in a batch, at the same iteration."""
    options = resolve("gd", "higher", {"iter_n": 60, "patience": 5, "image_jitter": False})
    solution = cnnpref.maximise(net, cnnpref.Objective.units(net, "fc", [0, 1, 2]), "gd", options)
    alone = cnnpref.maximise(net, cnnpref.Objective.units(net, "fc", [1]), "gd", options)
    trace = solution.activations[1]
    assert len(trace) < 60
    assert len(trace) - 1 - int(trace.argmax()) == 5
    assert np.array_equal(alone.activations[0], trace)
    assert np.array_equal(alone.images[0], solution.images[1])


def test_momentum_can_move_back_with_the_image(net: CaffeNet) -> None:
    """One switch changes the run with jitter, and nothing without."""
    for jitter, same in ((True, False), (False, True)):
        images = [
            cnnpref.maximise(
                net,
                cnnpref.Objective.units(net, "fc", [0]),
                "gd",
                resolve("gd", "reference", given | {"iter_n": 5, "image_jitter": jitter}),
            ).images
            for given in ({}, {"unshift_momentum": True})
        ]
        assert np.array_equal(*images) == same
