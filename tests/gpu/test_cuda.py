"""What needs a CUDA GPU: the same images as on a CPU, and what only a GPU does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from layers import series_of
from small import GENERATOR, NET, random_net

import cnnpref
from cnnpref.ascent.solution import Solution
from cnnpref.ascent.variables import Generator
from cnnpref.methods import METHODS, resolve
from cnnpref.nets.caffe import CaffeNet, save_caffemodel
from cnnpref.nets.zoo import find
from cnnpref.planning.estimate import unit_memory

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU")

SHORT = {"gd": {"iter_n": 5, "jitter_size": 2}, "lbfgs": {"maxiter": 4, "initial_image": None}}
SHORT |= {"dgn_gd": {"iter_n": 5}, "dgn_lbfgs": {"maxiter": 4}, "spectral": {"steps": 8}}
SHORT |= {"maco": {"steps": 8}}


def on(folder: Path, text: str, device: str) -> CaffeNet:
    """The same random net on a device."""
    net = random_net(folder, text, 0.3 if text is GENERATOR else 0.1)
    save_caffemodel(net, folder / "net.caffemodel")
    files = folder / "net.prototxt", folder / "net.caffemodel"
    return cnnpref.load_caffe(*files, mean=(100, 110, 120), device=device)


def run(folder: Path, device: str, method: str, layer: str, **more: str) -> Solution:
    net = on(folder, NET, device)
    generator = Generator(on(folder, GENERATOR, device))
    objective = cnnpref.Objective.units(net, layer, [3, 1, 4])
    options = resolve(method, "lower", SHORT[method] | more)
    return cnnpref.maximise(net, objective, method, options, generator=generator)


@pytest.mark.parametrize("layer", ["conv1", "conv2", "fc"])
@pytest.mark.parametrize("method", METHODS)
def test_the_images_are_those_of_a_cpu(tmp_path: Path, method: str, layer: str) -> None:
    ours, theirs = (run(tmp_path, device, method, layer) for device in ("cuda", "cpu"))
    assert np.abs(ours.images - theirs.images).max() <= 0.5
    assert np.allclose(ours.scores, theirs.scores, rtol=1e-3, atol=1e-3)


def test_rounded_factors_cost_little(tmp_path: Path) -> None:
    rounded, exact = (
        run(tmp_path, "cuda", "gd", "fc", precision=p).scores_best for p in ("tf32", "float32")
    )
    assert np.allclose(rounded, exact, rtol=0.1)


def test_a_canvas_that_is_the_field(tmp_path: Path) -> None:
    ours, theirs = (run(tmp_path, d, "gd", "conv1", canvas="field") for d in ("cuda", "cpu"))
    assert np.abs(ours.images - theirs.images).max() <= 0.5


@pytest.mark.parametrize("method", ["gd", "lbfgs", "spectral", "maco"])
def test_units_take_no_more_than_the_estimate(tmp_path: Path, method: str) -> None:
    """16 units of SqueezeNet's last layer."""
    net = cnnpref.load_caffe(find("squeezenet1.1").prototxt, device="cuda")
    for weight in net.parameters():
        weight.normal_(std=0.1)
    objective = cnnpref.Objective.units(net, "conv10", range(16), "all")
    options = METHODS[method].shortened(resolve(method, "higher"), 12)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    cnnpref.maximise(net, objective, method, options)
    taken = torch.cuda.max_memory_allocated() - before
    assert 1 < 16 * unit_memory(series_of(tmp_path, [0], method, "conv10"), net) / taken < 8
