"""Parity with runs of the original on real Caffe (in the shared folder beside the checkout).

`python tests/test_golden.py` prints the table: run, iteration, our error, noise floor.
Errors are relative L2 distances of the image; the noise floor is what the same Caffe differs by
when its BLAS uses another kernel, from the README of the recordings. Images of iterations 10 and
50 are stored in half precision, which alone makes a difference of 2e-4.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import cnnpref
from cnnpref.nets.caffe import CaffeNet
from cnnpref.options import resolve
from cnnpref.prefer_img_gd import generate_image

SHARED = Path(__file__).resolve().parents[2] / "shared"
GOLDEN, NETS = SHARED / "golden", SHARED / "nets"
pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason="the recorded runs are not here")

HALF = 4e-4  # of a value stored in half precision
# Per layer: tolerance after iterations 1, 2, 5, 10, 50. A float error of 1e-7 stays what it is
# until it flips a ReLU or a maximum; from then on it grows. conv1 has nothing to flip. For fire5 a
# flip comes after iteration 10 at the earliest, for conv10 before iteration 2 (noise floor: 1e-4
# there, 0.02 at iteration 5, 1 at iteration 50).
TOLERANCE = {
    "conv1": (1e-6, 1e-6, 2e-6, HALF, HALF),
    "fire5/expand3x3": (1e-6, 1e-6, 2e-6, HALF, 0.5),
    "conv10": (5e-5, 5e-4, 0.1, 1.0, 2.0),
}
FLOOR = {
    "conv1": ("0", "0", "0", "0", "0"),
    "fire5/expand3x3": ("7e-8", "1e-7", "7e-7", "2e-5", "1e-5 (exlow 0.3)"),
    "conv10": ("1e-5", "1e-4", "0.02", "0.3", "1"),
}
ITERATIONS = (1, 2, 5, 10, 50)
GD_RUNS = sorted(path.stem for path in GOLDEN.glob("sq_gd_*.npz"))


@cache
def squeezenet() -> CaffeNet:
    name = NETS / "squeezenet_v1.0"
    mean = (104, 117, 123)
    return cnnpref.load_caffe(f"{name}.prototxt", f"{name}.caffemodel", mean=mean)


def target(layer: str) -> np.ndarray:
    """The mask of the recorded runs."""
    shape = squeezenet().layers[layer]
    mask = np.zeros(shape, np.float32)
    if layer == "conv10":
        mask[281] = 1
    else:
        channel = 10 if layer == "conv1" else 20
        mask[channel, shape[1] // 2, shape[2] // 2] = 1
    return mask


def distance(found: np.ndarray, recorded: np.ndarray) -> float:
    recorded = recorded.astype(np.float32)
    return float(np.linalg.norm(found - recorded) / np.linalg.norm(recorded))


def recording(name: str) -> dict[str, Any]:
    return dict(np.load(GOLDEN / f"{name}.npz"))


@cache
def gd_errors(name: str, rows: int = 1) -> tuple[list[list[float]], np.ndarray]:
    """Errors of each row at ITERATIONS, and activations (iterations, rows)."""
    recorded = recording(name)
    meta = json.loads(str(recorded["meta"]))
    net, layer = squeezenet(), meta["layer"]
    options = resolve("gd", "reference", {**meta["options"], "iter_n": meta["iter_n"]})
    masks = np.stack([target(layer)] * rows)
    errors, activations = [], []

    def observe(i: int, x: Tensor, values: Tensor) -> None:
        activations.append(values.numpy())
        if i in ITERATIONS:
            errors.append([distance(row.numpy(), recorded[f"img{i}"]) for row in x])

    cnnpref.maximise(
        net,
        cnnpref.Objective.masks(net, layer, masks, meta["feature_weight"]),
        "gd",
        options,
        draws=[np.random.RandomState(meta["numpy_seed"]) for _ in masks],
        initial=[recorded["init_image"]] * rows,
        observe=observe,
        faithful=True,
    )
    return [list(row) for row in zip(*errors, strict=True)], np.array(activations)


@pytest.mark.parametrize("name", GD_RUNS)
def test_gd(name: str) -> None:
    check_gd(name, *gd_errors(name))


def test_gd_in_a_batch() -> None:
    check_gd("sq_gd_conv1_exlow", *gd_errors("sq_gd_conv1_exlow", rows=2))


def check_gd(name: str, errors: list[list[float]], activations: np.ndarray) -> None:
    recorded = recording(name)
    layer = json.loads(str(recorded["meta"]))["layer"]
    for row in errors:
        for i, error, allowed in zip(ITERATIONS, row, TOLERANCE[layer], strict=True):
            assert error <= allowed, f"iteration {i}"
    expected = recorded["act_sum"][:, None]
    scale = np.abs(expected).max()
    assert activations.shape[0] == len(expected)
    assert np.abs(activations[:2] - expected[:2]).max() <= 1e-5 * scale
    assert np.abs(activations[-1] - expected[-1]).max() <= 0.15 * scale


def test_gd_by_its_original_name() -> None:
    """`np.random.seed` alone makes `generate_image` draw the original's noise and jitter."""
    recorded = recording("sq_gd_conv1_default")
    seen = {}
    np.random.seed(1234)  # noqa: NPY002  (the point of this test)
    generate_image(
        squeezenet(),
        "conv1",
        target("conv1"),
        initial_image=recorded["init_image"],
        iter_n=50,
        disp_every=50,
        callback=lambda i, image, activation: seen.update({i: (image, activation)}),
    )
    assert sorted(seen) == list(range(1, 51))
    for i in (1, 2, 5):
        image, activation = seen[i]
        assert distance(squeezenet().space.encode(image), recorded[f"img{i}"]) <= 2e-6
        assert activation == pytest.approx(recorded["act_sum"][i - 1], rel=1e-5)


SINGLE = {"squeezenet_random": ("squeezenet_v1.0", (104, 117, 123)), "mtcnn_det1": ("det1", None)}


@pytest.mark.parametrize("name", SINGLE)
def test_single_pass(name: str) -> None:
    recorded = recording(f"single_{name}")
    files, mean = SINGLE[name]
    net = cnnpref.load_caffe(NETS / f"{files}.prototxt", NETS / f"{files}.caffemodel", mean=mean)
    image = torch.from_numpy(recorded["x"]).reshape(tuple(recorded["shape/data"]))
    image.requires_grad_()
    # the recordings were made with out-of-place layers, whose blobs have the layers' names
    blobs = [str(blob) for blob in recorded["blob_names"][1:]]
    values = {blob: net.activations(image, blob) for blob in blobs}
    for blob in blobs:
        found = values[blob].detach().numpy()
        assert found.shape == tuple(recorded[f"shape/{blob}"]), blob
        error = np.abs(found.ravel()[recorded[f"idx/{blob}"]] - recorded[f"val/{blob}"]).max()
        assert error <= 5e-6 * np.abs(found).max(), blob
    for row, blob in enumerate(recorded["grad_blob"]):
        check_gradient(recorded, row, values[str(blob)], image)


def check_gradient(recorded: dict[str, Any], row: int, blob: Tensor, image: Tensor) -> None:
    channel, y, x = recorded["grad_unit"][row]
    (gradient,) = torch.autograd.grad(blob[0, channel, y, x], image, retain_graph=True)
    _, norm, largest, _ = recorded["grad_stats"][row]
    # measured: 5e-7; a flipped maximum in the late layers would make it 1.5e-3 (noise floor)
    name, found = str(recorded["grad_blob"][row]), gradient.numpy().ravel()
    assert np.linalg.norm(found) == pytest.approx(norm, rel=2e-6), name
    at = found[recorded["grad_idx"]]
    assert np.abs(at - recorded["grad_val"][row]).max() <= 2e-6 * largest, name


def main() -> None:
    print(f"{'run':42}{'it 1':>9}{'it 2':>9}{'it 5':>9}{'it 10':>9}{'it 50':>9}   activation at 50")
    for name in GD_RUNS:
        (errors,), activations = gd_errors(name)
        recorded = recording(name)
        layer = json.loads(str(recorded["meta"]))["layer"]
        ours, theirs = activations[-1, 0], recorded["act_sum"][-1]
        print(f"{name:42}" + "".join(f"{e:9.0e}" for e in errors) + f"   {ours:.6g} ({theirs:.6g})")
        print(f"{'  noise floor':42}" + "".join(f"{f:>9}" for f in FLOOR[layer]))


if __name__ == "__main__":
    main()
