"""What a net is given: data layers as inputs, several inputs, other sizes, mean and scale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from basics import noise
from fork_layers import close
from prototxts import INPUT, layer, load, refusal
from torch import Tensor

from cnnpref.nets.caffe import CaffeNet, load_caffe
from cnnpref.nets.caffe.files.schema import SCHEMA

CONV = layer("conv", "Convolution", "data", "convolution_param { num_output: 4 kernel_size: 3 }")
RELU = layer("relu", "ReLU", "data")


def data(kind: str, parameters: str, tops: tuple[str, ...] = ("data", "label")) -> str:
    names = " ".join(f'top: "{top}"' for top in tops)
    return f'layer {{ name: "d" type: "{kind}" {names} {parameters} }}\n'


@pytest.mark.parametrize(
    ("kind", "parameters", "shape"),
    [
        (
            "MemoryData",
            "memory_data_param { batch_size: 2 channels: 3 height: 16 width: 9 }",
            (3, 16, 9),
        ),
        ("DummyData", "dummy_data_param { shape { dim: 2 dim: 3 dim: 16 dim: 9 } }", (3, 16, 9)),
        ("DummyData", "dummy_data_param { num: 5 channels: 2 height: 4 width: 7 }", (2, 4, 7)),
        ("Data", "transform_param { crop_size: 11 } data_param { batch_size: 5 }", (3, 11, 11)),
        ("Data", "data_param { crop_size: 11 batch_size: 5 }", (3, 11, 11)),
        ("Data", "transform_param { crop_size: 11 force_gray: true }", (1, 11, 11)),
        ("ImageData", "image_data_param { new_height: 6 new_width: 8 }", (3, 6, 8)),
        (
            "ImageData",
            "image_data_param { new_height: 6 new_width: 8 is_color: false }",
            (1, 6, 8),
        ),
        ("WindowData", "window_data_param { crop_size: 11 }", (3, 11, 11)),
    ],
)
def test_data_layers_that_state_a_size_are_inputs(
    kind: str, parameters: str, shape: tuple[int, ...]
) -> None:
    tops = ("data",) if kind == "DummyData" else ("data", "label")
    net = load(data(kind, parameters, tops) + CONV)
    assert net.input_shape == shape
    assert dict(net.layers) == {"conv": (4, shape[1] - 2, shape[2] - 2)}
    assert net.refused == {}


UNSIZED = [
    data("Data", 'data_param { source: "train_lmdb" }'),
    data("HDF5Data", "hdf5_data_param { batch_size: 3 }"),
    data("DenseImageData", 'dense_image_data_param { source: "x.txt" }'),
    'input: "data"\n',
]


@pytest.mark.parametrize("text", UNSIZED)
def test_a_size_that_no_layer_states_can_be_given(text: str) -> None:
    assert load(text + CONV, input_shape=(3, 8, 7)).layers == {"conv": (4, 6, 5)}
    told = refusal(text + CONV)
    asks = "input_shape: channels, height and width" in told
    assert asks != ("DenseImageData" in text)


def test_data_layers_without_a_size_beside_an_input_cost_what_needs_them() -> None:
    text = INPUT + data("Data", "", ("more", "label")) + CONV + layer("both", "Eltwise", "more")
    net = load(text)
    assert list(net.layers) == ["conv"]
    assert net.refused == {"both": "it depends on layer 'd', which states no size"}


def test_input_without_a_shape_beside_an_input_layer_does_not_count() -> None:
    given = layer("data", "Input", [], "input_param { shape { dim: 1 dim: 3 dim: 8 dim: 9 } }")
    for text in ('input: "data"\n' + given, given + 'input: "data"\ninput: "other"\n'):
        net = load(text + CONV)
        assert (net.input_shape, list(net.blobs)) == ((3, 8, 9), ["data", "conv"])


def two(second: str = "dim: 1 dim: 3", **arguments: Any) -> CaffeNet:
    """A net with an image and three numbers, which scale the two channels of a convolution."""
    param = "inner_product_param { num_output: 2 bias_filler { value: 0.5 } }"
    text = INPUT + f'input: "info" input_shape {{ {second} }}\n'
    text += CONV.replace("num_output: 4", "num_output: 2")
    text += layer("fi", "InnerProduct", "info", param)
    text += layer("sc", "Scale", ["conv", "fi"], "scale_param { axis: 0 }")
    net = load(text, **arguments)
    for weight in list(net.parameters())[::2]:
        weight.normal_(generator=torch.Generator().manual_seed(2))
    return net


def images(number: int = 3) -> Tensor:
    return noise(number, 3, 8, 9, seed=4)


def test_inputs_beside_the_image_are_zeros_or_given() -> None:
    net, told = two(), two(inputs={"info": [1.0, -2.0, 3.0]})
    _, _, matrix, bias = net.parameters()
    conv = net.activations(images(), "conv").numpy()
    assert list(net.layers) == ["conv", "fi", "sc"]
    for each, info in ((net, np.zeros(3)), (told, np.array([1, -2, 3.0]))):
        factors = matrix.numpy() @ info + bias.numpy()
        close(each.activations(images(), "sc").numpy(), conv * factors[:, None, None])
        readout = each.readout("sc", torch.tensor([[31]] * 3))
        top, left, bottom, right = readout.box
        part = readout(images()[:, :, top:bottom, left:right])
        close(part.numpy(), (conv * factors[:, None, None]).reshape(3, -1)[:, 31:32])
    other = torch.tensor([[0.0, 1, 0]] * 3)
    got = net.forward({"data": images(), "info": other}, ["sc"])["sc"].numpy()
    close(got, conv * (matrix.numpy()[:, 1] + bias.numpy())[:, None, None])


def test_an_input_with_a_batch_of_its_own_is_for_no_single_image() -> None:
    rois = 'input: "rois" input_shape { dim: 30 dim: 5 }\n' + layer("r", "ReLU", "rois")
    net = load(INPUT + rois + CONV)
    assert list(net.layers) == ["conv"]
    told = "it depends on input 'rois', with a batch of 30 where the images have 1"
    assert net.refused == {"r": told}
    assert net.forward({}, ["r"])["r"].shape == (30, 5)


def test_dummy_data_beside_an_input_holds_what_its_filler_gives() -> None:
    dummy = data("DummyData", "dummy_data_param { shape { dim: 1 dim: 3 } %s }", ("ones",))
    times = layer("x", "Scale", ["data", "ones"], "scale_param { axis: 0 }")
    fill = "data_filler { value: 2.5 }"
    for text in (dummy % fill + INPUT + times, INPUT + dummy % fill + times):
        net = load(text)
        assert net.input_shape == (3, 8, 9)
        close(net.activations(images(), "x").numpy(), 2.5 * images().numpy())
        assert net.input_blob == "data"
    random = load(INPUT + CONV + dummy % 'data_filler { type: "gaussian" }' + times)
    assert random.refused == {"x": "it depends on layer 'd', which draws random numbers"}


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ({"inf": 1}, "has no input 'inf' (did you mean 'info'?) beside its image 'data'"),
        ({"data": 1}, "has no input 'data' beside its image 'data'; it has: info"),
        ({"info": [1, 2]}, "inputs: 'info' has the shape [3], got (2,)"),
    ],
)
def test_inputs_that_there_are_not(inputs: dict[str, Any], told: str) -> None:
    text = INPUT + 'input: "info" input_shape { dim: 1 dim: 3 }\n' + RELU
    assert told in refusal(text, inputs=inputs)


def test_another_size_of_the_images() -> None:
    net = load(INPUT + CONV, input_shape=[3, 20, 30])
    assert (net.input_shape, dict(net.layers)) == ((3, 20, 30), {"conv": (4, 18, 28)})


def test_images_of_a_single_pixel_are_warned_of() -> None:
    text = 'input: "data" input_dim: 1 input_dim: 3 input_dim: 1 input_dim: 1\n'
    text += CONV.replace("kernel_size: 3", "kernel_size: 3 pad: 1")
    with pytest.warns(UserWarning, match="images are of 1 x 1, .* any size: give input_shape"):
        load(text)
    assert load(text, input_shape=(3, 8, 8)).layers == {"conv": (4, 8, 8)}


def with_transform(parameters: str, channels: int = 3) -> str:
    shape = f"shape {{ dim: 1 dim: {channels} dim: 8 dim: 9 }}"
    given = f"input_param {{ {shape} }} transform_param {{ {parameters} }}"
    return layer("data", "Input", [], given) + RELU


STATED = "scale: 0.017 mean_value: 103.94 mean_value: 116.78 mean_value: 123.68"


def test_a_transform_param_is_used_and_said() -> None:
    said = "its transform_param is used: mean 103.94 116.78 123.68, scale 0.017;"
    with pytest.warns(UserWarning, match=said):
        net = load(with_transform(STATED))
    picture = np.random.default_rng(0).uniform(0, 255, (8, 9, 3)).astype(np.float32)
    blue, green, red = (picture[..., channel] for channel in (2, 1, 0))
    want = [(blue - 103.94) * 0.017, (green - 116.78) * 0.017, (red - 123.68) * 0.017]
    close(net.space.encode(picture), want)
    np.testing.assert_allclose(net.space.decode(net.space.encode(picture)), picture, rtol=1e-5)


def test_what_is_given_goes_before_a_transform_param() -> None:
    space = load(with_transform(STATED), mean=[1, 2, 3], scale=2).space
    assert (space.mean, space.scale) == ((1, 2, 3), (2, 2, 2))
    with pytest.warns(UserWarning, match="is used: scale 0.017; give mean and scale"):
        assert load(with_transform(STATED), mean=[0, 0, 0]).space.mean == (0, 0, 0)
    with pytest.warns(UserWarning, match="is used: mean 7.0 7.0 7.0; give mean and scale"):
        assert load(with_transform("mean_value: 7")).space.mean == (7, 7, 7)


def test_the_mean_file_of_a_transform_param(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(with_transform('mean_file: "somewhere/mean.binaryproto"'))
    with pytest.warns(UserWarning, match="mean_file somewhere/mean.binaryproto is not here"):
        assert load_caffe(path).space.mean == (0, 0, 0)
    values = np.arange(3, dtype="<f4").tobytes()
    mean = SCHEMA["BlobProto"](data=[values], num=1, channels=3, height=1, width=1)
    (tmp_path / "mean.binaryproto").write_bytes(mean.SerializeToString())
    with pytest.warns(UserWarning, match=f"is used: mean {tmp_path}/mean.binaryproto"):
        assert load_caffe(path).space.mean == (0, 1, 2)


@pytest.mark.parametrize("channels", [1, 2, 4, 7])
def test_any_number_of_channels(channels: int, tmp_path: Path) -> None:
    text = INPUT.replace("dim: 3", f"dim: {channels}") + RELU
    mean = [10.0 + channel for channel in range(channels)]
    np.save(tmp_path / "mean.npy", np.full((channels, 2, 2), np.array(mean)[:, None, None]))
    for given in (mean, tmp_path / "mean.npy"):
        space = load(text, mean=given, scale=0.5).space
        assert (space.order, space.mean) == (tuple(range(channels)), tuple(mean))
        picture = np.random.default_rng(0).uniform(0, 255, (2, 8, 9, channels)).astype(np.float32)
        encoded = space.encode(picture)
        close(encoded, ((picture - np.array(mean)) * 0.5).transpose(0, 3, 1, 2))
        np.testing.assert_allclose(space.decode(encoded), picture, rtol=1e-5, atol=1e-4)
        low, high = space.bounds()
        close(low, -np.array(mean) / 2)
        close(high, (255 - np.array(mean)) / 2)
    assert load(text).space.mean == (0,) * channels
    told = refusal(text, mean=[1.0] * (channels + 1))
    assert f"{channels} values or channels wanted, got shape ({channels + 1},)" in told


@pytest.mark.parametrize("scale", [0, [1, 2], [1, 0, 1], float("nan")])
def test_a_wrong_scale_is_refused(scale: Any) -> None:
    assert "allowed: a number other than 0, or 3 of them" in refusal(INPUT + RELU, scale=scale)


def test_the_mean_of_a_generator_is_that_of_the_images_it_makes() -> None:
    param = "convolution_param { num_output: 3 kernel_size: 8 }"
    for size in ("dim: 1 dim: 7 dim: 1 dim: 1", "dim: 1 dim: 2 dim: 3 dim: 3"):
        text = f'input: "z" input_shape {{ {size} }}\n' + layer("g", "Deconvolution", "z", param)
        assert load(text, mean=[1, 2, 3]).space.mean == (1, 2, 3)
