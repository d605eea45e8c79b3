"""Ascents from their first iteration to the last on a GPU that computes nothing.

No operation mixes devices. In the loops of gradient descent, spectral and maco the host neither
reads a value nor sends one: each would stall a GPU. Statuses are made up here: every unit comes out
stuck, so wherever it may start anew it does, from noise that is awakened.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fake_gpu import DEVICE, Told, fake_gpu
from small import GENERATOR, NET, random_net
from torch import nn

import cnnpref
from cnnpref.ascent.solution import Solution
from cnnpref.ascent.variables import Generator
from cnnpref.methods import resolve
from cnnpref.nets import Net
from cnnpref.nets.caffe import CaffeNet, save_caffemodel
from cnnpref.optim import adam, descent
from cnnpref.optim._trace import Trace

pytestmark = pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")

SHORT: dict[str, dict[str, Any]] = {
    "gd": {"iter_n": 3, "jitter_size": 2},
    "dgn_gd": {"iter_n": 3},
    "spectral": {"steps": 3},
    "maco": {"steps": 3},
    "lbfgs": {"maxiter": 4},
    "dgn_lbfgs": {"maxiter": 4},
}
TARGETS = {
    "caffe": [("conv1", "center"), ("conv2", "all"), ("conv2", (0, 1)), ("fc", "center")],
    "torch": [("0", "center"), ("3", "all"), ("5", "center")],
}
OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("gd", {"importance": True}),
    ("gd", {"canvas": "field", "image_blur": False}),
    ("gd", {"use_TV_norm_reg": True, "use_p_norm_reg": True, "clip_extreme": True}),
    ("gd", {"gradient_blur": 1.0, "fixed_norm": 25.0, "fixed_sd": 9.0, "image_jitter": False}),
    ("gd", {"sigma_start": 9.0, "unshift_momentum": True, "grad_normalize": False}),
    ("spectral", {"objective": "margin", "total": 0.5, "dropout": 0.3, "weight_noise_start": 0.1}),
    ("spectral", {"objective": "activation", "coarse": 0.2, "noise": 0.0}),
    ("maco", {"crops": 2, "objective": "lead"}),
]


def module() -> nn.Module:
    layers = nn.Conv2d(3, 6, 5, 2), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 3)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * 36, 7)).eval()


def caffe(folder: Path, text: str) -> CaffeNet:
    """A random net on the GPU; its files are written before."""
    return cnnpref.load_caffe(
        folder / f"{len(text)}.prototxt", folder / f"{len(text)}.caffemodel", device=DEVICE
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the files of both nets."""
    made = tmp_path_factory.mktemp("nets")
    for text in (NET, GENERATOR):
        save_caffemodel(random_net(made, text), made / f"{len(text)}.caffemodel")
        (made / "net.prototxt").rename(made / f"{len(text)}.prototxt")
    return made


def open_net(folder: Path, kind: str) -> Net:
    if kind == "caffe":
        return caffe(folder, NET)
    with torch.device(DEVICE):
        return cnnpref.load_torch(module(), (3, 20, 20), device=DEVICE)


def run(folder: Path, kind: str, layer: str, position: Any, method: str, **more: Any) -> Solution:
    """Inside `fake_gpu`."""
    frames = more.pop("keep_frames", 0)
    net = open_net(folder, kind)
    objective = cnnpref.Objective.units(net, layer, [3, 1, 4], position)
    options = resolve(method, "lower", SHORT[method] | {"retries": 0} | more)
    generator = Generator(caffe(folder, GENERATOR)) if method.startswith("dgn") else None
    given: dict[str, Any] = {"generator": generator, "keep_frames": frames}
    return cnnpref.maximise(net, objective, method, options, **given)


def in_loops(told: Told) -> list[str]:
    """Where the host read or sent something, but for the statuses at the end."""
    return told.within(descent.descend, adam.minimise, but=Trace.optimum)


@pytest.mark.parametrize("method", ["gd", "dgn_gd", "spectral", "maco"])
@pytest.mark.parametrize(
    ("kind", "layer", "position"), [(kind, *each) for kind in TARGETS for each in TARGETS[kind]]
)
def test_the_host_reads_and_sends_nothing_in_a_loop(
    folder: Path, kind: str, layer: str, position: Any, method: str
) -> None:
    with fake_gpu() as told:
        solution = run(folder, kind, layer, position, method)
    assert in_loops(told) == []
    assert len(told.reads) > 5  # before and after: they are seen
    assert solution.images.shape == (3, 20, 20, 3)


@pytest.mark.parametrize("method", ["gd", "dgn_gd", "spectral", "maco"])
def test_nor_when_units_start_anew(folder: Path, method: str) -> None:
    with fake_gpu() as told:
        solution = run(folder, "caffe", "conv2", "center", method, retries=1)
    assert in_loops(told) == []
    assert [len(statuses) for statuses in solution.earlier] == [1] * 3


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize(("method", "options"), OPTIONS)
def test_whatever_the_options(
    folder: Path, kind: str, method: str, options: dict[str, Any]
) -> None:
    with fake_gpu() as told:
        run(folder, kind, *TARGETS[kind][0], method, **options)
    assert in_loops(told) == []


def test_frames_are_read_when_they_are_taken_and_no_value_else(folder: Path) -> None:
    with fake_gpu() as told:
        solution = run(folder, "caffe", "conv1", "center", "gd", keep_frames=3)
    assert solution.frame_steps is not None
    assert solution.frame_steps[0].tolist() == [1, 2, 3]
    assert len(in_loops(told)) == 3


def falling() -> Callable[[Sequence[int]], Any]:
    """Answers to L-BFGS: ways lead downhill, and what they lead to is lower each time."""
    numbers = count(1)

    def answer(shape: Sequence[int]) -> Any:
        if len(shape) != 2:
            return np.ones(shape)
        value = next(numbers)
        told = {4: (-1.0, 1.0, 7.0, 7.0), 5: (value, value, -value, -1.0, 1.0)}
        told[6] = (*told[5], 1.0)
        return np.broadcast_to(np.array(told.get(shape[0], [1.0] * shape[0]))[:, None], shape)

    return answer


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("method", ["lbfgs", "dgn_lbfgs"])
def test_lbfgs_mixes_no_devices(folder: Path, kind: str, method: str) -> None:
    with fake_gpu(falling()):
        solution = run(folder, kind, *TARGETS[kind][1], method)
    assert [len(trace) for trace in solution.activations] == [5] * 3
