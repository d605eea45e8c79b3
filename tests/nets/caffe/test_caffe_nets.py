"""Nets read from prototxts: what layers and blobs are called, and which files are refused how."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from basics import noise
from places import SHARED
from prototxts import INPUT, caffemodel, layer, load, refusal
from torch import Tensor

from cnnpref.nets.caffe import CaffeNet, load_caffe

NETS = SHARED / "nets"

CONV = "convolution_param { num_output: 2 kernel_size: 3 weight_filler { value: 0.1 } }"
FC = "inner_product_param { num_output: 2 weight_filler { value: 0.1 } }"


def images(number: int) -> Tensor:
    return noise(number, 3, 8, 9, seed=number)


def in_place(name: str, kind: str, parameters: str = "") -> str:
    return layer(name, kind, "conv", parameters).replace(f'top: "{name}"', 'top: "conv"')


@pytest.fixture(scope="module")
def chain() -> CaffeNet:
    """A conv -> relu -> power, both in place, -> fc."""
    power = in_place("power", "Power", "power_param { shift: 1 }")
    conv, fc = layer("conv", "Convolution", "data", CONV), layer("fc", "InnerProduct", "conv", FC)
    return load(INPUT + conv + in_place("relu", "ReLU") + power + fc)


def test_layers_and_blobs_of_a_chain_in_place(chain: CaffeNet) -> None:
    assert dict(chain.layers) == {
        **dict.fromkeys(["conv", "relu", "power"], (2, 6, 7)),
        "fc": (2,),
    }
    assert dict(chain.blobs) == {"data": (3, 8, 9), "conv": (2, 6, 7), "fc": (2,)}


def test_a_layer_is_what_it_gives_itself_and_a_blob_what_is_left_of_it(chain: CaffeNet) -> None:
    x = images(2)
    conv = chain.activations(x, "conv")
    assert conv.min() < 0
    torch.testing.assert_close(chain.activations(x, "relu"), conv.relu())
    torch.testing.assert_close(chain.activations(x, "power"), conv.relu() + 1)
    blobs = chain.forward({"data": x}, ["conv", "fc"])
    torch.testing.assert_close(blobs["conv"], conv.relu() + 1)
    torch.testing.assert_close(blobs["fc"], chain.activations(x, "fc"))


def test_an_input_that_a_layer_changes_in_place() -> None:
    net = load(INPUT + layer("relu", "ReLU", "data").replace('top: "relu"', 'top: "data"'))
    x = images(1)
    torch.testing.assert_close(net.activations(x, "relu"), x.relu())
    torch.testing.assert_close(net.forward({"data": x}, ["data"])["data"], x.relu())


def test_of_layers_with_one_name_the_first_is_meant() -> None:
    again = layer("same", "Power", "same", "power_param { scale: 2 }")
    net = load(INPUT + layer("same", "ReLU", "data") + again.replace('top: "same"', 'top: "b"'))
    torch.testing.assert_close(net.activations(images(1), "same"), images(1).relu())
    torch.testing.assert_close(net.forward({"data": images(1)}, ["b"])["b"], 2 * images(1).relu())


@pytest.mark.parametrize("declared", [1, 10])
@pytest.mark.parametrize("dims", ["dim: {} dim: -1", "dim: 0 dim: -1", "dim: -1 dim: 84"])
def test_any_batch_fits_whatever_the_prototxt_declares(declared: int, dims: str) -> None:
    shape = f"reshape_param {{ shape {{ {dims.format(declared)} }} }}"
    text = (
        INPUT.replace("dim: 1", f"dim: {declared}")
        + layer("conv", "Convolution", "data", CONV)
        + layer("flat", "Reshape", "conv", shape)
        + layer("fc", "InnerProduct", "flat", FC)
    )
    net = load(text)
    assert dict(net.layers) == {"conv": (2, 6, 7), "flat": (84,), "fc": (2,)}
    together = net.activations(images(5), "fc")
    assert together.shape == (5, 2)
    for alone, row in zip(images(5).split(1), together.split(1), strict=True):
        torch.testing.assert_close(net.activations(alone, "fc"), row)


def test_old_and_new_declarations_of_the_input_agree() -> None:
    tail = layer("conv", "Convolution", "data", CONV)
    old = 'input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 9 '
    new = (
        'layer { name: "data" type: "Input" top: "data" '
        "input_param { shape { dim: 1 dim: 3 dim: 8 dim: 9 } } }"
    )
    for start in (INPUT, old, new):
        net = load(start + tail)
        assert net.input_shape == (3, 8, 9)
        assert dict(net.layers) == {"conv": (2, 6, 7)}


def test_a_net_without_a_name_has_that_of_its_file() -> None:
    assert load(INPUT + layer("r", "ReLU", "data")).name == "made"
    assert load(INPUT.replace('name: "made"', "") + layer("r", "ReLU", "data")).name == "net"


@pytest.mark.skipif(not NETS.exists(), reason=f"there is no folder {NETS}")
def test_squeezenet_is_the_same_with_and_without_layers_in_place() -> None:
    weights = NETS / "squeezenet_v1.0.caffemodel"
    plain = load_caffe(NETS / "squeezenet_v1.0.prototxt", weights)
    inside = load_caffe(NETS / "squeezenet_v1.0_inplace.prototxt", weights)
    assert dict(plain.layers) == dict(inside.layers)
    x = torch.randn(1, 3, 227, 227, generator=torch.Generator().manual_seed(0)) * 50
    for name in ("conv1", "relu_conv1", "fire3/concat", "fire5/expand3x3", "conv10"):
        torch.testing.assert_close(plain.activations(x, name), inside.activations(x, name))


def mean_of(mean: object) -> tuple[float, ...]:
    return load(INPUT + layer("r", "ReLU", "data"), mean=mean).space.mean


def test_a_mean_is_three_values_or_none() -> None:
    assert mean_of(None) == (0, 0, 0)
    assert mean_of([104, 117, 123.5]) == mean_of(np.array([104, 117, 123.5])) == (104, 117, 123.5)


@pytest.mark.parametrize("shape", [(3,), (3, 1, 1), (3, 4, 5), (1, 3, 4, 5)])
def test_a_mean_image_is_averaged_over_its_pixels(tmp_path: Path, shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).uniform(90, 130, shape)
    np.save(tmp_path / "mean.npy", image)
    blob = caffemodel().layer.add().blobs.add(data=image.ravel().tolist())
    blob.shape.dim.extend(shape)
    (tmp_path / "mean.binaryproto").write_bytes(blob.SerializeToString())
    wanted = image.reshape(3, -1).mean(1)
    assert mean_of(tmp_path / "mean.npy") == pytest.approx(wanted)
    assert mean_of(str(tmp_path / "mean.binaryproto")) == pytest.approx(wanted, rel=1e-6)


def test_a_mean_with_legacy_dimensions_is_read(tmp_path: Path) -> None:
    shape = {"num": 1, "channels": 3, "height": 2, "width": 1}
    blob = caffemodel().layer.add().blobs.add(data=[1, 3, 5, 5, 0, 1], **shape)
    (tmp_path / "mean.binaryproto").write_bytes(blob.SerializeToString())
    assert mean_of(tmp_path / "mean.binaryproto") == (2, 5, 0.5)


def refused_mean(mean: object) -> str:
    return refusal(INPUT + layer("r", "ReLU", "data"), mean=mean)


@pytest.mark.parametrize(
    ("mean", "told"),
    [
        ([1, 2], "mean: 3 values or channels (BGR) wanted, got shape (2,)"),
        ([], "got shape (0,)"),
        (7, "got shape ()"),
        (np.zeros((8, 9, 3)), "got shape (8, 9, 3)"),
        (np.zeros((3, 0, 0)), "got shape (3, 0, 0)"),
        ([1, np.nan, 3], "mean: finite values wanted, got [1.0, nan, 3.0]"),
        ([1, 2, np.inf], "finite values wanted"),
        (["b", "g", "r"], "mean: cannot be read as numbers"),
        ([[1, 2], [3]], "mean: cannot be read as numbers"),
        ("absent.npy", "absent.npy: cannot be read: No such file or directory"),
        ("absent.binaryproto", "absent.binaryproto: cannot be read: No such file or directory"),
    ],
)
def test_a_wrong_mean_is_refused(mean: object, told: str) -> None:
    assert told in refused_mean(mean)


@pytest.mark.parametrize("name", ["mean.npy", "mean.binaryproto"])
def test_no_cut_of_a_mean_file_goes_unnoticed(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "mean.npy":
        np.save(path, np.ones((3, 2, 2), np.float32))
    else:
        blob = caffemodel().layer.add().blobs.add(data=[1.0] * 12)
        blob.shape.dim.extend([3, 2, 2])
        path.write_bytes(blob.SerializeToString())
    content = path.read_bytes()
    for size in range(len(content)):
        path.write_bytes(content[:size])
        assert str(path) in refused_mean(path)


@pytest.mark.parametrize("array", [np.array([None, 1, 2]), np.zeros(3, "f4,f4"), ["a", "b", "c"]])
def test_an_npy_file_of_anything_but_numbers_is_refused(
    tmp_path: Path, array: npt.ArrayLike
) -> None:
    np.save(tmp_path / "mean.npy", array, allow_pickle=True)
    assert f"{tmp_path}/mean.npy: cannot be read as numbers" in refused_mean(tmp_path / "mean.npy")
