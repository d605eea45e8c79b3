"""What needs a CUDA GPU: the same images as on a CPU, and what only a GPU does."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import h5py
import numpy as np
import polars
import pytest
import torch
from calling import Config, succeed
from drawings import write_pngs
from fake_gpu import counted_reads
from layers import series_of
from small import GENERATOR, NET, random_net
from torch import nn

import cnnpref
from cnnpref.ascent import recorded
from cnnpref.ascent.solution import Solution
from cnnpref.ascent.task import Moment
from cnnpref.ascent.variables import Generator
from cnnpref.methods import METHODS, resolve
from cnnpref.nets.caffe import CaffeNet, save_caffemodel
from cnnpref.nets.zoo import find
from cnnpref.optim import lbfgsb
from cnnpref.planning.estimate import unit_memory

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU")

SHORT = {"gd": {"iter_n": 5, "jitter_size": 2}, "lbfgs": {"maxiter": 4, "initial_image": None}}
SHORT |= {"dgn_gd": {"iter_n": 5}, "dgn_lbfgs": {"maxiter": 4}, "spectral": {"steps": 8}}
SHORT |= {"maco": {"steps": 8}}
LOOPS = ["gd", "dgn_gd", "spectral", "maco"]  # which neither read nor send
OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("gd", {"canvas": "field", "importance": True}),
    ("gd", {"use_TV_norm_reg": True, "use_p_norm_reg": True, "clip_extreme": True}),
    ("gd", {"gradient_blur": 1.0, "fixed_norm": 25.0, "image_jitter": False}),
    ("spectral", {"objective": "margin", "total": 0.5, "dropout": 0.3, "weight_noise_start": 0.1}),
    ("maco", {"crops": 2, "objective": "lead"}),
]


def on(folder: Path, text: str, device: str) -> CaffeNet:
    """The same random net on a device."""
    net = random_net(folder, text, 0.3 if text is GENERATOR else 0.1)
    save_caffemodel(net, folder / "net.caffemodel")
    files = folder / "net.prototxt", folder / "net.caffemodel"
    return cnnpref.load_caffe(*files, mean=(100, 110, 120), device=device)


def run(folder: Path, device: str, method: str, layer: str, **more: Any) -> Solution:
    observe = more.pop("observe", None)
    net = on(folder, NET, device)
    generator = Generator(on(folder, GENERATOR, device))
    objective = cnnpref.Objective.units(net, layer, [3, 1, 4])
    options = resolve(method, "lower", SHORT[method] | more)
    return cnnpref.maximise(net, objective, method, options, generator=generator, observe=observe)


def alike(ours: Solution, theirs: Solution) -> None:
    assert np.abs(ours.images - theirs.images).max() <= 0.5
    assert np.allclose(ours.scores, theirs.scores, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("layer", ["conv1", "conv2", "fc"])
@pytest.mark.parametrize("method", METHODS)
def test_the_images_are_those_of_a_cpu(tmp_path: Path, method: str, layer: str) -> None:
    if (method, layer) == ("dgn_lbfgs", "conv1"):
        pytest.skip("nearly linear in the features: the curvature that it finds is of rounding")
    alike(*(run(tmp_path, device, method, layer) for device in ("cuda", "cpu")))


@pytest.mark.parametrize(("method", "options"), OPTIONS)
def test_whatever_the_options(tmp_path: Path, method: str, options: dict[str, Any]) -> None:
    alike(*(run(tmp_path, device, method, "conv2", **options) for device in ("cuda", "cpu")))


@pytest.mark.parametrize("method", ["gd", "lbfgs", "spectral", "maco"])
def test_units_of_a_module_are_those_of_a_cpu(method: str) -> None:
    layers = nn.Conv2d(3, 6, 5, 2), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 3)
    torch.manual_seed(0)
    module = nn.Sequential(*layers).eval()
    found = []
    noise = {"weight_noise_start": 0.1, "weight_noise_end": 0.2} if method == "spectral" else {}
    for device in ("cpu", "cuda"):
        net = cnnpref.load_torch(module.to(device), (3, 20, 20), device=device)
        options = resolve(method, "lower", SHORT[method] | noise)
        objective = cnnpref.Objective.units(net, "3", [3, 1, 4])
        found.append(cnnpref.maximise(net, objective, method, options))
    alike(*found)


class Stopwatch:
    """Says at once that recording pays."""

    pays = True


@contextmanager
def stalls_are_errors(last: int) -> Iterator[Any]:
    """From the first iteration to the last, whatever waits for the GPU raises an error.

    Iterations are launched, not recorded: to record them the host waits once.
    """

    def watch(moment: Moment) -> None:
        with warnings.catch_warnings():  # PyTorch calls the mode a prototype
            warnings.simplefilter("ignore")
            torch.cuda.set_sync_debug_mode("default" if moment.count == last else "error")

    try:
        with patch.object(recorded, "_WORTH", 0):
            yield watch
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("layer", ["conv1", "conv2", "fc"])
@pytest.mark.parametrize("method", LOOPS)
def test_the_host_never_waits_in_a_loop(tmp_path: Path, method: str, layer: str) -> None:
    with stalls_are_errors(next(iter(SHORT[method].values()))) as watch:
        run(tmp_path, "cuda", method, layer, observe=watch, retries=0)


@pytest.mark.parametrize(("method", "options"), OPTIONS)
def test_nor_with_options(tmp_path: Path, method: str, options: dict[str, Any]) -> None:
    with stalls_are_errors(next(iter(SHORT[method].values()))) as watch:
        run(tmp_path, "cuda", method, "conv2", observe=watch, retries=0, **options)


@pytest.mark.parametrize("method", ["lbfgs", "dgn_lbfgs"])
def test_lbfgs_reads_twice_in_an_evaluation(tmp_path: Path, method: str) -> None:
    with counted_reads() as told:
        solution = run(tmp_path, "cuda", method, "fc", maxiter=20, retries=0)
    within = [each for each in told.reads if f"optim/lbfgsb.py:{lbfgsb.minimise.__name__}" in each]
    assert 10 < len(within) <= 4 + 2 * max(map(len, solution.activations))


@pytest.mark.parametrize(
    ("method", "layer", "options"),
    [(method, layer, {}) for method in METHODS for layer in ("conv1", "fc")]
    + [(method, "conv2", options) for method, options in OPTIONS],
)
def test_recorded_passes_give_the_same(
    tmp_path: Path,
    method: str,
    layer: str,
    options: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A net as small as this is launched more slowly than it is computed."""
    graphs = []

    def count(*given: Any) -> recorded.Function:
        graphs.append(recorded.cuda_graph(*given))
        return graphs[-1]

    options = options | {"retries": 0, next(iter(SHORT[method])): 12}
    monkeypatch.setattr(recorded, "_WORTH", 0)
    launched = run(tmp_path, "cuda", method, layer, **options)
    monkeypatch.undo()
    monkeypatch.setattr(recorded.Recording, "on", lambda _: recorded.Recording(count, Stopwatch()))
    replayed = run(tmp_path, "cuda", method, layer, **options)
    assert graphs
    if (method, layer) != ("dgn_lbfgs", "conv1"):
        alike(replayed, launched)


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
@pytest.mark.parametrize("method", METHODS)
def test_factors_are_rounded_where_that_is_asked_for(
    tmp_path: Path, method: str, precision: str
) -> None:
    """By so much that the first pass shows it, and no more. Later ones go other ways."""
    if "lbfgs" in method and precision == "bf16":
        pytest.skip("L-BFGS takes no bfloat16")
    if torch.cuda.get_device_capability() < (8, 0):
        pytest.skip("this GPU has no circuits for rounded products")
    rounded, exact = (
        np.array(
            [trace[0] for trace in run(tmp_path, "cuda", method, "fc", precision=p).activations]
        )
        for p in (precision, "float32")
    )
    apart = np.abs(rounded - exact).max() / np.abs(exact).max()
    assert 1e-6 < apart < {"tf32": 1e-2, "bf16": 5e-2}[precision]


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


@pytest.mark.usefixtures("in_tmp_path")
def test_references_and_scores_are_those_of_a_cpu(tiny_config: Config) -> None:
    """Of the same pictures; which of the photographs excite a unit most, and by how much."""
    noise = np.random.default_rng(0).integers(0, 256, (30, 3, 4, 3)).astype(np.uint8)
    write_pngs(Path("photos"), noise.repeat(5, 1).repeat(4, 2))  # 15 x 16, of coarse grain
    config = {**tiny_config, "references": str(Path("photos").resolve())}
    found = []
    for device in ("cpu", "cuda"):
        run = {**config, "results": device}
        succeed("references", run, "--device", device)
        succeed("generate", run, "--device", "cpu")
        succeed("collect", run)
        succeed("scores", run, "--device", device)
        found.append(Path(device, "tiny"))
    numbers = [
        polars.read_csv(folder / "scores.csv").select(polars.selectors.numeric())
        for folder in found
    ]
    np.testing.assert_allclose(*(each.to_numpy() for each in numbers), rtol=1e-3, atol=1e-3)
    for path in found[0].glob("references/*.h5"):
        with h5py.File(path) as ours, h5py.File(found[1] / "references" / path.name) as theirs:
            assert set(ours) == set(theirs)
            for name in ours:
                if isinstance(ours[name], h5py.Dataset) and ours[name].dtype.kind == "f":
                    np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-3, atol=1e-3)
