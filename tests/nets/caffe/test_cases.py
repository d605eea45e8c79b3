"""Small files of kinds that people meet, where they lie beside the project; and real ones."""

from __future__ import annotations

import warnings
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
import torch
from fork_layers import close
from places import SHARED
from wild import survey

from cnnpref.nets.caffe import CaffeNet, load_caffe

CASES = SHARED / "cases" / "caffe"
WILD = SHARED / "wild"
here = pytest.mark.skipif(not CASES.exists(), reason=f"there is no folder {CASES}")


def case(name: str, **arguments: Any) -> CaffeNet:
    path = CASES / f"{name}.prototxt"
    weights = [path.with_suffix(suffix) for suffix in (".caffemodel", ".caffemodel.h5")]
    return load_caffe(path, next(filter(Path.exists, weights), None), **arguments)


CONV = ("conv1", (4, 14, 14))
KINDS: dict[str, tuple[dict[str, tuple[int, ...]], list[str]]] = {
    "01_unknown_layer_last": (dict([CONV]), ["det"]),
    "02_unknown_layer_last_own_field": (dict([CONV, ("norm", (4, 14, 14))]), []),
    "03_python_last": (dict([CONV]), ["p"]),
    "04_ceil_mode": (dict([CONV, ("p", (4, 6, 6))]), []),
    "05_engine_on_layer": (dict([CONV]), []),
    "07_v0": (
        dict([CONV, ("relu1", (4, 14, 14)), ("pool1", (4, 7, 7)), ("fc", (2,))]),
        [],
    ),
    "08_loss_last": (dict([CONV, ("fc", (2,))]), ["loss"]),
    "10_memory_data": (dict([CONV]), []),
    "11_dummy_data": (dict([CONV]), []),
    "14_depthwise": (dict([CONV, ("r", (4, 12, 12))]), []),
    "15_bn": (dict([CONV, ("b", (4, 14, 14))]), []),
    "16_axpy": (dict([CONV, ("g", (4, 1, 1)), ("r", (4, 14, 14))]), []),
    "18_relu6": (dict([CONV, ("r", (4, 14, 14))]), []),
    "22_grey": (dict([CONV]), []),
    "28_bilinear": ({"up": (1, 8, 8)}, []),
    "30_interp": (dict([CONV, ("up", (4, 28, 28))]), []),
    "grey_lenet": ({"conv1": (4, 24, 24), "pool1": (4, 12, 12), "ip": (10,)}, []),
    "hdf5_weights": ({"conv1": (2, 6, 6)}, []),
    "input_beside_input_layer": ({"conv1": (2, 6, 6)}, []),
    "stages": (
        {"conv1": (2, 6, 6), "relu1": (2, 6, 6), "scale": (2, 6, 6), "fc": (2,)},
        [],
    ),
    "two_inputs": ({"conv1": (2, 6, 6), "fi": (2,), "sc": (2, 6, 6)}, []),
}


@here
@pytest.mark.parametrize("name", KINDS)
def test_layers_of_each_kind(name: str) -> None:
    net, (layers, refused) = case(name), KINDS[name]
    assert (dict(net.layers), list(net.refused)) == (layers, refused)


@here
def test_weights_of_v0() -> None:
    random = np.random.RandomState(0)
    kernel, bias, matrix, shift = (random.randn(*s) for s in ((4, 3, 3, 3), (4,), (5, 144), (5,)))
    x = np.linspace(-1, 1, 192).reshape(3, 8, 8)
    conv = np.array(
        [
            [[(x[:, i : i + 3, j : j + 3] * k).sum() + b for j in range(6)] for i in range(6)]
            for k, b in zip(kernel, bias, strict=True)
        ]
    )
    want = matrix @ conv.ravel() + shift
    np.testing.assert_allclose(want, [11.3384, 53.2419, 48.3664, 77.7129, 1.3062], atol=1e-4)
    given = torch.from_numpy(x.astype(np.float32))[None]
    got = case("v0_weights_v1_prototxt").activations(given, "fc")
    np.testing.assert_allclose(got[0], want, rtol=1e-5, atol=1e-4)


@here
def test_a_bilinear_deconvolution_keeps_a_constant() -> None:
    net = case("28_bilinear")
    up = net.activations(torch.ones(1, 1, 4, 4), "up")[0, 0]
    close(up[2:-2, 2:-2].numpy(), np.ones((4, 4)))
    with pytest.warns(UserWarning, match="for up: they keep their fillers' values$"):
        *_, kernel = case("bilinear_deconv").parameters()
    close(kernel[0, 0, 0].numpy(), np.array([1, 3, 3, 1]) / 16)


@here
def test_an_input_of_a_single_pixel() -> None:
    with pytest.warns(UserWarning, match="its images are of 1 x 1"):
        case("27_tiny_input")
    assert case("27_tiny_input", input_shape=(3, 40, 50)).layers == {"conv1": (4, 40, 50)}


@here
def test_mean_and_scale_of_a_transform_param() -> None:
    with pytest.warns(UserWarning, match=r"mean 103\.94 116\.78 123\.68, scale 0\.017"):
        space = case("transform_param_scale").space
    close(
        space.encode(np.full((1, 1, 3), 200.0)).ravel(),
        [96.06 * 0.017, 83.22 * 0.017, 76.32 * 0.017],
    )


@pytest.mark.slow
@pytest.mark.skipif(not WILD.exists(), reason=f"there is no folder {WILD}")
def test_real_files_load_with_the_shapes_that_are_expected() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = survey(WILD, load_only=True)
    loaded = [each for each in found if not each.error]
    assert len(loaded) >= 0.95 * len(found)
    assert [each.differing for each in loaded if each.differing] == []
    assert median(each.usable for each in loaded) >= 0.95
