"""Layers of Caffe's forks and its rarer own ones, against loops over NumPy arrays."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fork_layers import Array, close, images, made, values
from prototxts import INPUT, layer, load


def test_relu6() -> None:
    got, given, _ = values(
        layer("big", "Power", "data", "power_param { scale: 5 }") + layer("x", "ReLU6", "big")
    )
    close(got, np.minimum(np.maximum(5 * given, 0), 6))
    assert (got == 6).any()


@pytest.mark.parametrize("pool", ["MAX", "AVE"])
@pytest.mark.parametrize("pad", [0, 1])
def test_ceil_mode(pool: str, pad: int) -> None:
    param = f"pooling_param {{ pool: {pool} kernel_size: 3 stride: 2 pad: {pad} %s }}"
    floor, _, _ = values(layer("x", "Pooling", "data", param % "ceil_mode: false"))
    same, _, _ = values(layer("x", "Pooling", "data", param % "round_mode: FLOOR"))
    ceil, _, _ = values(layer("x", "Pooling", "data", param % "ceil_mode: true"))
    default, _, _ = values(layer("x", "Pooling", "data", param % ""))
    assert floor.shape[2:] == ((8 + 2 * pad - 3) // 2 + 1, (9 + 2 * pad - 3) // 2 + 1)
    close(floor, same)
    close(ceil, default)


@pytest.mark.parametrize("hole", ["hole: 2", "hole_h: 2 hole_w: 3"])
@pytest.mark.parametrize("kind", ["Convolution", "Deconvolution", "Im2col"])
def test_holes_are_dilation(hole: str, kind: str) -> None:
    param = "convolution_param {{ num_output: 2 kernel_size: 2 pad: 1 {} }}"
    dilated = "dilation: 2" if hole == "hole: 2" else "dilation: 2 dilation: 3"
    got, want = (values(layer("x", kind, "data", param.format(d)))[0] for d in (hole, dilated))
    assert got.shape != values(layer("x", kind, "data", param.format("")))[0].shape
    np.testing.assert_array_equal(got, want)


def test_dropout_whose_training_did_not_scale() -> None:
    param = "dropout_param { dropout_ratio: 0.75 %s }"
    got, x, _ = values(layer("x", "Dropout", "data", param % "scale_train: false"))
    close(got, 0.25 * x)
    got, x, _ = values(layer("x", "Dropout", "data", param % ""))
    np.testing.assert_array_equal(got, x)


@pytest.mark.parametrize(
    ("kind", "given"), [("DepthwiseConvolution", "group: 3"), ("ConvolutionDepthwise", "")]
)
def test_depthwise_convolutions(kind: str, given: str) -> None:
    param = f"convolution_param {{ num_output: 3 kernel_size: 3 stride: 2 pad: 1 {given} }}"
    got, x, (kernel, bias) = values(layer("x", kind, "data", param))
    padded, want = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))), np.zeros((2, 3, 4, 5))
    assert kernel.shape == (3, 1, 3, 3)
    for channel, i, j in np.ndindex(3, 4, 5):
        window = padded[:, channel, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
        want[:, channel, i, j] = (window * kernel[channel, 0]).sum((1, 2)) + bias[channel]
    close(got, want)


def test_axpy() -> None:
    mean = layer("a", "Pooling", "data", "pooling_param { pool: AVE global_pooling: true }")
    twice = layer("y", "Power", "data", "power_param { scale: 2 shift: 1 }")
    for flat in ("", layer("flat", "Flatten", "a")):
        bottoms = ["flat" if flat else "a", "data", "y"]
        got, x, _ = values(mean + twice + flat + layer("x", "Axpy", bottoms))
        close(got, x.mean((2, 3), keepdims=True) * x + 2 * x + 1)


def test_an_eltwise_of_one() -> None:
    one = "eltwise_param { operation: %s %s }"
    for operation, factor in (("SUM", 1), ("SUM coeff: -2.5", -2.5), ("PROD", 1), ("MAX", 1)):
        name, _, coeff = operation.partition(" ")
        got, x, _ = values(layer("x", "Eltwise", "data", one % (name, coeff)))
        close(got, factor * x)


@pytest.mark.parametrize("spatial", ["true", "false"])
@pytest.mark.parametrize("shared", ["true", "false"])
def test_normalize(spatial: str, shared: str) -> None:
    param = f"norm_param {{ across_spatial: {spatial} channel_shared: {shared} eps: 0.5 }}"
    got, x, (scale,) = values(layer("x", "Normalize", "data", param))
    want = np.zeros_like(x)
    for image in range(2):
        whole = np.sqrt((x[image] ** 2).sum() + 0.5)
        for i, j in np.ndindex(8, 9):
            norm = whole if spatial == "true" else np.sqrt((x[image, :, i, j] ** 2).sum() + 0.5)
            want[image, :, i, j] = x[image, :, i, j] / norm * scale
    assert scale.shape == (() if shared == "true" else (3,))
    close(got, want)


@pytest.mark.parametrize("order", [(0, 2, 3, 1), (0, 3), (0, 3, 2, 1), ()])
def test_permute(order: tuple[int, ...]) -> None:
    param = "permute_param { " + " ".join(f"order: {axis}" for axis in order) + " }"
    got, x, _ = values(layer("x", "Permute", "data", param))
    whole = [*order, *(axis for axis in range(4) if axis not in order)]
    want = np.zeros([x.shape[axis] for axis in whole])
    for place in np.ndindex(*x.shape):
        want[tuple(place[axis] for axis in whole)] = x[place]
    close(got, want)


def test_permute_of_the_batch_is_no_layer_of_single_images() -> None:
    net, _ = made(
        layer("x", "Permute", "data", "permute_param { order: 1 }") + layer("y", "ReLU", "x")
    )
    assert (dict(net.layers), "axis of the images" in net.refused["x"]) == ({}, True)
    got = net.forward({"data": images()}, ["y"])["y"]
    close(got.numpy(), images().numpy().transpose(1, 0, 2, 3).clip(0))


@pytest.mark.parametrize("group", [2, 3])
def test_shuffle_channel(group: int) -> None:
    wide = "convolution_param { num_output: 6 kernel_size: 1 }"
    text = layer("conv", "Convolution", "data", wide)
    text += layer("x", "ShuffleChannel", "conv", f"shuffle_channel_param {{ group: {group} }}")
    net, _ = made(text)
    before, got = (net.activations(images(), name).numpy() for name in ("conv", "x"))
    want, columns = np.zeros_like(before), 6 // group
    for i in range(group):
        for j in range(columns):
            want[:, j * group + i] = before[:, i * columns + j]
    close(got, want)


@pytest.mark.parametrize(
    ("param", "size", "cut"),
    [
        ("height: 15 width: 11", (15, 11), (0, 0)),
        ("height: 4 width: 1", (4, 1), (0, 0)),
        ("zoom_factor: 2", (15, 17), (0, 0)),
        ("shrink_factor: 2", (4, 5), (0, 0)),
        ("shrink_factor: 2 zoom_factor: 3", (10, 13), (0, 0)),
        ("zoom_factor: 3 pad_beg: -1 pad_end: -2", (13, 16), (1, 2)),
    ],
)
def test_interp(param: str, size: tuple[int, int], cut: tuple[int, int]) -> None:
    got, x, _ = values(layer("x", "Interp", "data", f"interp_param {{ {param} }}"))
    x = x[:, :, cut[0] : 8 - cut[1], cut[0] : 9 - cut[1]]
    want = np.zeros((2, 3, *size))
    for i, j in np.ndindex(*size):
        rows, columns = (
            _neighbours(k, n, outputs)
            for k, n, outputs in zip((i, j), x.shape[2:], size, strict=True)
        )
        for (row, a), (column, b) in ((r, c) for r in rows for c in columns):
            want[:, :, i, j] += a * b * x[:, :, row, column]
    close(got, want)


def _neighbours(place: int, inputs: int, outputs: int) -> list[tuple[int, float]]:
    """The two pixels that a point lies between, and their parts."""
    at = place * (inputs - 1) / (outputs - 1) if outputs > 1 else 0.0
    low = min(int(at + 1e-9), inputs - 1)
    return [(low, 1 - (at - low)), (min(low + 1, inputs - 1), at - low)]


def test_upsample_without_a_mask() -> None:
    got, x, _ = values(layer("x", "Upsample", "data", "upsample_param { scale: 3 }"))
    close(got, x.repeat(3, 2).repeat(3, 3))


def per_channel(weight: Array) -> Array:
    assert weight.shape == (1, 3, 1, 1)
    return weight


def test_bn_of_segnet_in_inference() -> None:
    param = "bn_param { bn_mode: INFERENCE scale_filler { value: 1 } shift_filler { value: 0 } }"
    got, x, (scale, shift) = values(layer("x", "BN", "data", param))
    close(got, x * per_channel(scale) + per_channel(shift))


def test_bn_of_segnet_in_learning_uses_statistics_of_each_image() -> None:
    got, x, (scale, shift) = values(layer("x", "BN", "data", "bn_param { bn_mode: LEARN }"))
    for image, want in zip(x, got, strict=True):
        mean, variance = image.mean((1, 2)), (image**2).mean((1, 2)) - image.mean((1, 2)) ** 2
        one = (image - mean[:, None, None]) / np.sqrt(variance + 1e-9)[:, None, None]
        close(want, one * scale[0] + shift[0])


@pytest.mark.parametrize("field", ["frozen: true", "eps: 0.125", "slope_filler { value: 1 }"])
def test_bn_of_pspnet(field: str) -> None:
    got, x, weights = values(layer("x", "BN", "data", f"bn_param {{ {field} }}"))
    slope, bias, mean, variance = map(per_channel, weights)
    eps = 0.125 if "eps" in field else 1e-5
    close(got, (x - mean) / np.sqrt(variance + eps) * slope + bias)


@pytest.mark.parametrize("param", ["", "bn_param { scale_filler { value: 1 } }"])
def test_bn_of_no_fork_that_can_be_told_asks(param: str) -> None:
    net, _ = made(layer("r", "ReLU", "data") + layer("x", "BN", "data", param))
    assert "does not tell which fork of Caffe it is of: add bn_mode: INFERENCE" in net.refused["x"]


@pytest.mark.parametrize("pool", ["MAX", "AVE"])
@pytest.mark.parametrize(("height", "width"), [(8, 9), (7, 12)])
def test_spp(pool: str, height: int, width: int) -> None:
    param = f"spp_param {{ pyramid_height: 3 pool: {pool} }}"
    got, x, _ = values(layer("x", "SPP", "data", param), height=height, width=width)
    levels = [_bins(x, 2**level, pool).reshape(2, -1) for level in range(3)]
    assert got.shape == (2, 3 * 21)
    close(got, np.concatenate(levels, 1))


def _bins(x: Array, bins: int, pool: str) -> Array:
    kernel = [-(-n // bins) for n in x.shape[2:]]
    pads = [(k * bins - n + 1) // 2 for k, n in zip(kernel, x.shape[2:], strict=True)]
    top = np.zeros((*x.shape[:2], bins, bins), np.float32)
    for i, j in np.ndindex(bins, bins):
        spans = []
        count = 1
        for place, k, pad, n in zip((i, j), kernel, pads, x.shape[2:], strict=True):
            start = place * k - pad
            end = min(start + k, n + pad)
            count *= end - start
            spans.append(slice(max(start, 0), min(end, n)))
        window = x[:, :, spans[0], spans[1]]
        top[:, :, i, j] = window.max((2, 3)) if pool == "MAX" else window.sum((2, 3)) / count
    return top


def test_spp_of_one_level_stays_a_map() -> None:
    got, x, _ = values(layer("x", "SPP", "data", "spp_param { pyramid_height: 1 }"))
    close(got, x.max((2, 3), keepdims=True))


def test_im2col() -> None:
    param = "convolution_param { kernel_h: 2 kernel_w: 3 stride: 2 pad: 1 dilation: 2 }"
    got, x, _ = values(layer("x", "Im2col", "data", param))
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    want = np.zeros((2, 3 * 2 * 3, 4, 4))
    for channel, a, b, i, j in np.ndindex(3, 2, 3, 4, 4):
        value = padded[:, channel, 2 * i + 2 * a, 2 * j + 2 * b]
        want[:, channel * 6 + a * 3 + b, i, j] = value
    close(got, want)


@pytest.mark.parametrize("bias", ["true", "false"])
def test_embed(bias: str) -> None:
    text = 'name: "e" input: "words" input_shape { dim: 1 dim: 4 }\n' + layer(
        "x", "Embed", "words", f"embed_param {{ input_dim: 5 num_output: 3 bias_term: {bias} }}"
    )
    net = load(text)
    weight, *rest = (
        w.normal_(generator=torch.Generator().manual_seed(1)) for w in net.parameters()
    )
    words = torch.tensor([[0.0, 4, 2, 4], [1, 1, 3, 0]])
    got = net.activations(words, "x").numpy()
    want = [[weight[int(word)].numpy() for word in row] for row in words]
    close(got, np.array(want) + (rest[0].numpy() if rest else 0))


def test_batch_reindex_computes_blobs_but_no_units() -> None:
    index = 'input: "index" input_shape { dim: 4 }\n'
    net = load(
        INPUT + index + layer("x", "BatchReindex", ["data", "index"]) + layer("y", "ReLU", "x")
    )
    assert "it picks images of the batch" in net.refused["x"]
    assert dict(net.layers) == {}
    given = {"data": images(number=3), "index": torch.tensor([2.0, 0, 0, 1])}
    got = net.forward(given, ["y"])["y"].numpy()
    close(got, np.stack([images(number=3).numpy()[i].clip(0) for i in (2, 0, 0, 1)]))
