"""Files as they were before: V0 and V1, HDF5 weights, fillers in place of weights, stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from fork_layers import close, images
from google.protobuf.message import Message
from prototxts import INPUT, layer, load, refusal

from cnnpref.nets.caffe import load_caffe, read_graph
from cnnpref.nets.caffe.files.schema import SCHEMA

V0_NET = (
    INPUT
    + """
layers { layer { name: "pad1" type: "padding" pad: 2 } bottom: "data" top: "pad1" }
layers { layer { name: "conv1" type: "conv" num_output: 4 kernelsize: 3 stride: 2 group: 1
    weight_filler { type: "gaussian" std: 0.01 } bias_filler { type: "constant" value: 0.5 }
    blobs_lr: 1. blobs_lr: 2. weight_decay: 1. } bottom: "pad1" top: "conv1" }
layers { layer { name: "relu1" type: "relu" } bottom: "conv1" top: "conv1" }
layers { layer { name: "pool1" type: "pool" pool: AVE kernelsize: 3 stride: 2 } bottom: "conv1"
    top: "pool1" }
layers { layer { name: "norm1" type: "lrn" local_size: 3 alpha: 0.1 beta: 0.5 } bottom: "pool1"
    top: "norm1" }
layers { layer { name: "drop1" type: "dropout" dropout_ratio: 0.7 } bottom: "norm1" top: "norm1" }
layers { layer { name: "both" type: "concat" concat_dim: 1 } bottom: "norm1" bottom: "pool1"
    top: "both" }
layers { layer { name: "fc" type: "innerproduct" num_output: 2 biasterm: false } bottom: "both"
    top: "fc" }
layers { layer { name: "prob" type: "softmax" } bottom: "fc" top: "prob" }
"""
)
V2_NET = (
    INPUT
    + layer(
        "conv1",
        "Convolution",
        "data",
        "convolution_param { num_output: 4 kernel_size: 3 stride: 2 pad: 2"
        " bias_filler { value: 0.5 } }",
    )
    + layer("relu1", "ReLU", "conv1")
    + layer("pool1", "Pooling", "relu1", "pooling_param { pool: AVE kernel_size: 3 stride: 2 }")
    + layer("norm1", "LRN", "pool1", "lrn_param { local_size: 3 alpha: 0.1 beta: 0.5 }")
    + layer("drop1", "Dropout", "norm1")
    + layer("both", "Concat", ["drop1", "pool1"])
    + layer("fc", "InnerProduct", "both", "inner_product_param { num_output: 2 bias_term: false }")
    + layer("prob", "Softmax", "fc")
)


def blob(array: Any) -> Message:
    """With four dimensions, as blobs had then."""
    values = np.asarray(array, "<f4")
    shape = (1,) * (4 - values.ndim) + values.shape
    sizes = dict(zip(("num", "channels", "height", "width"), shape, strict=True))
    found: Message = SCHEMA["BlobProto"](data=[values.tobytes()], **sizes)
    return found


def v0_weights(path: Path, **layers: list[Any]) -> Path:
    net = SCHEMA["NetParameter"]()
    for name, arrays in layers.items():
        net.layers.add().layer.CopyFrom(
            SCHEMA["V0LayerParameter"](name=name, blobs=[blob(array) for array in arrays])
        )
    path.write_bytes(net.SerializeToString())
    return path


def test_a_v0_net_is_that_of_its_present_form(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    weights = [random.normal(size=(4, 3, 3, 3)), random.normal(size=4)]
    fc = random.normal(size=(2, np.prod(load(V2_NET).layers["both"])))
    model = v0_weights(tmp_path / "v0.caffemodel", conv1=weights, fc=[fc])
    old, new = (load(text, caffemodel=model) for text in (V0_NET, V2_NET))
    assert dict(old.layers) == dict(new.layers)
    assert old.refused == {}
    for name in old.layers:
        assert torch.equal(old.activations(images(), name), new.activations(images(), name))


def test_fillers_of_v0_are_read() -> None:
    kernel, bias, *_ = load(V0_NET).parameters()
    assert (kernel.abs().sum(), bias.tolist()) == (0, [0.5] * 4)


def test_an_unknown_field_or_type_of_v0() -> None:
    text = 'layers { layer { name: "%s" %s } bottom: "data" top: "%s" }\n'
    odd = text % ("b", 'type: "whitening"', "b") + text % ("c", 'type: "relu" slope: 2', "c")
    net = load(INPUT + text % ("a", 'type: "tanh"', "a") + odd)
    assert list(net.layers) == ["a"]
    assert net.refused["b"] == "unknown type 'Whitening'"
    assert "layer slope (line 6)" in net.refused["c"]


def fcn(crop: str) -> str:
    """FCN-32s without its channels: padding of 100, five poolings, a deconvolution by 32."""
    param = "num_output: 1 kernel_size: %d %s"
    text = 'input: "data" input_dim: 1 input_dim: 3 input_dim: 64 input_dim: 80\n'
    conv = (
        'layers {{ name: "{0}" type: {3} bottom: "{1}" top: "{0}" convolution_param {{ {2} }} }}\n'
    )
    pool = (
        'layers {{ name: "{0}" type: POOLING bottom: "{1}" top: "{0}"'
        " pooling_param {{ kernel_size: 2 stride: 2 }} }}\n"
    )
    text += conv.format("conv1", "data", param % (3, "pad: 100"), "CONVOLUTION")
    for number in range(1, 6):
        text += pool.format(f"pool{number}", f"pool{number - 1}" if number > 1 else "conv1")
    text += conv.format("fc6", "pool5", param % (7, ""), "CONVOLUTION")
    text += conv.format("up", "fc6", param % (64, "stride: 32"), "DECONVOLUTION")
    return text + crop


def test_a_v1_crop_is_aligned_as_by_fcn() -> None:
    net = load(fcn('layers { name: "score" type: CROP bottom: "up" bottom: "data" top: "score" }'))
    kernel = list(net.parameters())
    for weight in kernel:
        weight.uniform_(0.1, 1, generator=torch.Generator().manual_seed(0))
    x = torch.rand(1, 3, 64, 80, generator=torch.Generator().manual_seed(1))
    up, score = net.activations(x, "up"), net.activations(x, "score")
    assert torch.equal(score, up[:, :, 19:83, 19:99])  # the offset in its published prototxts


def test_a_crop_without_parameters_warns_where_forks_would_align_it() -> None:
    text = fcn("").replace("layers {", "layer {").replace("CONVOLUTION", '"Convolution"')
    text = text.replace('DE"Convolution"', '"Deconvolution"').replace("POOLING", '"Pooling"')
    crop = layer("score", "Crop", ["up", "data"])
    with pytest.warns(UserWarning, match="'score' .* add crop_param { offset: 19 offset: 19 }"):
        load(text + crop)
    load(text + layer("score", "Crop", ["up", "data"], "crop_param { offset: 19 }"))


def write_hdf5(path: Path, layers: dict[str, list[Any]], dtype: str = "f4") -> Path:
    with h5py.File(path, "w") as file:
        for name, arrays in layers.items():
            group = file.require_group(f"data/{name}")
            for index, array in enumerate(arrays):
                group.create_dataset(str(index), data=np.asarray(array, dtype))
    return path


FC = "inner_product_param { num_output: 2 }"
SLASHES = INPUT + layer("a/b", "InnerProduct", "data", FC) + layer("a", "Bias", "a/b")


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_hdf5_weights(tmp_path: Path, dtype: str) -> None:
    random = np.random.default_rng(1)
    kernel, bias, other = (random.normal(size=s).astype("f4") for s in ((2, 216), 2, 2))
    layers = {"a/b": [kernel, bias], "a": [other], "none": []}
    path = write_hdf5(tmp_path / "net.caffemodel.h5", layers, dtype)
    for got, want in zip(
        load(SLASHES, caffemodel=path).parameters(), (kernel, bias, other), strict=True
    ):
        np.testing.assert_array_equal(got, want)


def test_hdf5_weights_that_do_not_fit(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "net.h5", {"a/b": [np.ones((2, 215)), np.ones(2)]})
    assert "weight blob 0 has shape [2, 215]" in refusal(SLASHES, caffemodel=path)
    path = write_hdf5(tmp_path / "none.h5", {"a/b": []})
    assert "holds no layers; a .caffemodel.h5 of Caffe" in refusal(SLASHES, caffemodel=path)
    whole = write_hdf5(tmp_path / "whole.h5", {"a/b": [np.ones((2, 216)), np.ones(2)]}).read_bytes()
    for size in (9, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        assert "fetch the file again" in refusal(SLASHES, caffemodel=path)


@pytest.mark.parametrize("size", [2, 3, 4, 5, 8])
def test_the_bilinear_filler_is_that_of_caffe(size: int) -> None:
    param = f"num_output: 3 group: 3 kernel_size: {size} bias_term: false"
    filler = 'weight_filler { type: "bilinear" }'
    text = layer("up", "Deconvolution", "data", f"convolution_param {{ {param} {filler} }}")
    (kernel,) = load(INPUT + text).parameters()
    factor = int(np.ceil(size / 2))
    centre = (size - 1) / (2 * factor)
    for y, x in np.ndindex(size, size):
        want = (1 - abs(x / factor - centre)) * (1 - abs(y / factor - centre))
        close(kernel[:, 0, y, x].numpy(), [want] * 3)


def test_a_bilinear_kernel_is_square() -> None:
    param = 'num_output: 1 kernel_h: 3 kernel_w: 4 weight_filler { type: "bilinear" }'
    text = layer("up", "Deconvolution", "data", f"convolution_param {{ {param} }}")
    assert "the bilinear filler is for square kernels" in refusal(INPUT + text)


def test_what_is_said_of_missing_weights_is_true(tmp_path: Path) -> None:
    fillers = {"one": "constant", "two": "xavier", "up": "bilinear"}
    param = "num_output: 3 kernel_size: 4 bias_term: false weight_filler {{ value: 2 type: {!r} }}"
    text = "".join(
        layer(name, "Deconvolution", "data", f"convolution_param {{ {param.format(kind)} }}")
        for name, kind in fillers.items()
    )
    text += layer("here", "Bias", "up")
    model = write_hdf5(tmp_path / "net.h5", {"here": [np.ones(3)]})
    told = "has no weights for one, two, up: they keep their fillers' values, but 0 where these are"
    with pytest.warns(UserWarning, match=rf"{told} random: two \(xavier\)$"):
        net = load(INPUT + text, caffemodel=model)
    one, two, up, _ = (weight.sum().item() for weight in net.parameters())
    assert (one, two, up) == (3 * 3 * 16 * 2, 0, 3 * 3 * 4)


def test_level_and_stages_choose_layers() -> None:
    rules = {
        "a": 'include { stage: "deploy" }',
        "b": 'include { stage: "deploy" stage: "other" }',
        "c": 'exclude { not_stage: "deploy" }',
        "d": "include { min_level: 1 max_level: 1 }",
        "e": "include { max_level: 0 }",
        "f": 'exclude { stage: "deploy" phase: TRAIN }',
    }
    text = INPUT + "".join(layer(name, "ReLU", "data", rule) for name, rule in rules.items())
    assert list(load(text).layers) == ["e", "f"]
    assert list(load('state { stage: "deploy" level: 1 }' + text).layers) == ["a", "c", "d", "f"]
    assert list(load('state { stage: "other" stage: "deploy" }' + text).layers) == [*"abcef"]


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_bytes(b"\xef\xbb\xbf" + (INPUT + layer("r", "ReLU", "data")).encode())
    assert list(read_graph(path).layers) == ["r"]
    assert list(load_caffe(path).layers) == ["r"]


def test_padding_of_nothing_is_refused() -> None:
    text = V0_NET.replace('pad: 2 } bottom: "data"', "pad: 2 }")
    assert text != V0_NET
    assert refusal(text) == "layer 'pad1': padding needs 1 bottom, got 0; add it"
