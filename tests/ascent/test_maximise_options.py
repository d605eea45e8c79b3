"""What maximisation refuses, and what its options beyond the original do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from basics import refusal
from small import NET, random_net

import cnnpref
from cnnpref.ascent.variables import Generator
from cnnpref.methods import resolve
from cnnpref.nets.caffe import CaffeNet
from cnnpref.nets.kernels import _has_bf16

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
    wanted = given["layer"], given["mask"], given["weight"]
    assert message in refusal(cnnpref.Objective.masks, net, *wanted)


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

    def maximise() -> None:
        cnnpref.maximise(net, objective, "dgn_gd", generator=Generator(generator.net, **wrong))

    assert message in refusal(maximise)


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
    net = random_net(tmp_path_factory.mktemp("net"), text)
    with pytest.raises(cnnpref.UserError, match="cannot influence layer 'after'"):
        cnnpref.maximise(net, cnnpref.Objective.units(net, "after", [0]))


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


def test_a_generator_may_take_maps(tmp_path: Path, net: CaffeNet) -> None:
    """Features of 4 x 11 x 11, as a generator that inverts a convolution layer has them."""
    text = (
        'name: "maps" input: "feat" input_shape { dim: 1 dim: 4 dim: 11 dim: 11 }\n'
        'layer { name: "grow" type: "Deconvolution" bottom: "feat" top: "made"\n'
        "  convolution_param { num_output: 3 kernel_size: 4 stride: 2 pad: 1 } }"
    )
    maker = Generator(random_net(tmp_path, text), upper=np.full((4, 11, 11), 20.0))
    solution = cnnpref.maximise(
        net,
        cnnpref.Objective.units(net, "fc", [0, 1]),
        "dgn_gd",
        resolve("dgn_gd", "higher", {"iter_n": 30}),
        generator=maker,
    )
    assert solution.latents is not None
    assert solution.latents.shape == (2, 4, 11, 11)
    assert solution.latents.max() <= 20
    assert all(solution.scores_best > [trace[0] for trace in solution.activations])


def inside(box: tuple[int, ...], margin: int) -> np.ndarray:
    """The pixels of an image of 20 x 20 in a box and its margin."""
    rows, columns = np.mgrid[:20, :20]
    top, left, bottom, right = box
    near_rows = (rows >= top - margin) & (rows < bottom + margin)
    return near_rows & (columns >= left - margin) & (columns < right + margin)


def test_a_canvas_that_is_the_field(net: CaffeNet) -> None:
    """What the unit sees, and 2 pixels of jitter around it, are all that is not blank."""
    objective = cnnpref.Objective.units(net, "conv1", [1, 4, 7])
    chosen = {"iter_n": 30, "jitter_size": 2, "canvas": "field"}
    solution = cnnpref.maximise(net, objective, "gd", resolve("gd", "lower", chosen))
    canvas = inside(net.receptive_field("conv1"), 2)
    for image, trace, best in zip(
        solution.images, solution.activations, solution.scores_best, strict=True
    ):
        assert np.ptp(image[canvas]) > 10
        assert np.allclose(image[~canvas], [120, 110, 100])
        assert best > trace[0]


@pytest.mark.parametrize("options", [{}, {"canvas": "field"}, {"patience": 3, "iter_n": 60}])
def test_gd_keeps_how_much_each_pixel_mattered_on_request(
    net: CaffeNet, options: dict[str, Any]
) -> None:
    """Pictures are the same; what no unit sees, jitter included, does not matter."""
    objective = cnnpref.Objective.units(net, "conv1", [1, 4])
    chosen = {"iter_n": 12, "jitter_size": 2, **options}
    plain, sensed = (
        cnnpref.maximise(net, objective, "gd", resolve("gd", "lower", {**chosen, **more}))
        for more in ({}, {"importance": True})
    )
    assert plain.importance is None
    assert np.array_equal(plain.images, sensed.images)
    assert sensed.importance is not None
    assert sensed.importance.shape == (2, 20, 20)
    assert sensed.importance.max() == 255
    near = inside(net.receptive_field("conv1"), 2 + 10)  # shifts, and the blur of the plane
    assert not sensed.importance[:, ~near].any()
    middle = inside(net.receptive_field("conv1"), 0)
    assert sensed.importance[:, middle].mean() > 3 * sensed.importance[:, ~middle].mean()


@pytest.mark.skipif(not _has_bf16(torch.device("cpu")), reason="the processor has no bfloat16")
@pytest.mark.parametrize("layer", ["conv1", "conv2", "fc"])
@pytest.mark.parametrize("method", ["gd", "spectral", "maco"])
def test_passes_in_bfloat16_are_near_and_do_not_depend_on_the_batch(
    net: CaffeNet, method: str, layer: str
) -> None:
    count = {"iter_n": 8, "jitter_size": 2} if method == "gd" else {"steps": 8}
    count["retries"] = 0  # rounding decides whether so short a run is stuck
    options, exact = (
        resolve(method, "higher", {**count, "precision": p}) for p in ("bf16", "float32")
    )
    units = [4, 0, 7, 2, 5]
    batch, alone, wanted = (
        cnnpref.maximise(net, cnnpref.Objective.units(net, layer, some), method, chosen)
        for some, chosen in ((units, options), ([7], options), (units, exact))
    )
    assert np.array_equal(batch.images[2], alone.images[0])
    assert np.array_equal(batch.activations[2], alone.activations[0])
    if layer != "conv1":  # a few dot products, which are not rounded
        assert not np.array_equal(batch.images, wanted.images)
    first, other = (np.array([trace[0] for trace in each.activations]) for each in (batch, wanted))
    np.testing.assert_allclose(first, other, atol=0.03 * np.abs(other).max())
    pixels = torch.from_numpy(net.space.encode(batch.images)).float()
    seen = net.activations(pixels, layer)[range(5), units]
    if layer != "fc":
        seen = seen[..., seen.shape[-2] // 2, seen.shape[-1] // 2]
    np.testing.assert_allclose(batch.scores, seen.flatten(), rtol=1e-4, atol=1e-4)  # not rounded


def test_a_device_without_bfloat16_refuses_it(
    net: CaffeNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cnnpref.nets.kernels._has_bf16", lambda _device: False)
    objective = cnnpref.Objective.units(net, "fc", [0])
    options = resolve("gd", "higher", {"precision": "bf16"})
    told = refusal(cnnpref.maximise, net, objective, "gd", options)
    assert told.startswith("precision bf16: cpu has no circuits for it")


def test_lbfgs_leaves_what_the_unit_does_not_see(net: CaffeNet) -> None:
    start = np.random.default_rng(0).integers(0, 256, (20, 20, 3))
    objective = cnnpref.Objective.units(net, "conv1", [2])
    options = resolve("lbfgs", "lower", {"maxiter": 5})
    solution = cnnpref.maximise(net, objective, "lbfgs", options, initial=[start])
    seen = inside(net.receptive_field("conv1"), 0)
    assert np.allclose(solution.images[0][~seen], start[~seen], atol=1e-4)
    assert np.abs(solution.images[0][seen] - start[seen]).max() > 10


@pytest.mark.parametrize("solver", ["batched", "scipy"])
def test_lbfgs_on_the_field_takes_the_steps_of_lbfgs_on_the_image(
    net: CaffeNet, solver: str
) -> None:
    """Faithful runs compute the whole net and vary the whole image."""
    objective = cnnpref.Objective.units(net, "conv2", [3, 5], "center")
    options = resolve("lbfgs", "lower", {"maxiter": 6, "initial_image": None, "solver": solver})
    field, image = (
        cnnpref.maximise(net, objective, "lbfgs", options, seeds=2, faithful=faithful)
        for faithful in (False, True)
    )
    for one, other in zip(field.activations, image.activations, strict=True):
        assert np.allclose(one[:5], other[:5], rtol=1e-4)
    assert np.allclose(field.images, image.images, atol=2)
