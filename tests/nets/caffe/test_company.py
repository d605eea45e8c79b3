"""No value of an image depends on the images beside it: every layer type, alone and in company."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from basics import noise
from live_checks import gradient
from prototxts import layer, load
from torch import Tensor

from cnnpref.errors import UserError
from cnnpref.nets.caffe import CaffeNet
from cnnpref.nets.caffe.layers.base import REGISTRY

INPUT = 'name: "made" input: "data" input_shape {{ dim: {} dim: 3 dim: 8 dim: 9 }}\n'
CONV = layer("c", "Convolution", "data", "convolution_param { num_output: 3 kernel_size: 2 }")
MEAN = layer("g", "Pooling", "data", "pooling_param { pool: AVE global_pooling: true }")
MASKED = 'layer { name: "p" type: "Pooling" bottom: "data" top: "p" top: "m" '
MASKED += "pooling_param { kernel_size: 2 stride: 2 } }\n"
KERNEL = "convolution_param { num_output: 6 kernel_size: 3 }"
PARAMETER = 'layer { name: "w" type: "Parameter" top: "w" parameter_param { shape '
PARAMETER += "{ dim: 3 } } }\n"
PLAIN = (
    *("AbsVal", "BNLL", "Dropout", "ELU", "PReLU", "ReLU", "ReLU6", "Sigmoid", "Swish", "TanH"),
    *("Threshold", "Exp", "Power", "LRN", "MVN", "Normalize", "Softmax", "Flatten", "ArgMax"),
    *("Bias", "Scale"),
)


def x(kind: str, given: str = "", bottoms: str = "data", before: str = "") -> str:
    """A net whose last layer is x, of that type."""
    return before + layer("x", kind, bottoms.split(), given)


def two_tops(kind: str, given: str = "") -> str:
    return f'layer {{ name: "x" type: "{kind}" bottom: "data" top: "x" top: "y" {given} }}\n'


SAMPLES = {kind: [x(kind)] for kind in PLAIN} | {
    "ArgMax": [x("ArgMax"), x("ArgMax", "argmax_param { axis: 2 out_max_val: true }")],
    "Axpy": [x("Axpy", bottoms="g data data", before=MEAN)],
    "BN": [
        x("BN", f"bn_param {{ {given} }}")
        for given in ("bn_mode: LEARN", "bn_mode: INFERENCE", "frozen: true")
    ],
    "BatchNorm": [
        x("BatchNorm", f"batch_norm_param {{ use_global_stats: {stored} }}")
        for stored in ("true", "false")
    ],
    "Clip": [x("Clip", "clip_param { min: -1 max: 1 }")],
    "Concat": [x("Concat", bottoms="c c", before=CONV)],
    "Convolution": [x("Convolution", KERNEL), x("Convolution", f"{KERNEL[:-2]} group: 3 }}")],
    "ConvolutionDepthwise": [x("ConvolutionDepthwise", KERNEL.replace("6", "3"))],
    "Crop": [
        x("Crop", f"crop_param {{ {given} }}", "data c", CONV)
        for given in ("axis: 2 offset: 1", "axis: 0 offset: [0, 0, 1, 0]")
    ],
    "Deconvolution": [x("Deconvolution", KERNEL)],
    "DepthwiseConvolution": [x("DepthwiseConvolution", f"{KERNEL[:-2]} group: 3 }}")],
    "Eltwise": [x("Eltwise", "eltwise_param { operation: MAX }", "c c", CONV)],
    "Embed": [x("Embed", "embed_param { input_dim: 9 num_output: 2 }")],
    "HDF5Output": [CONV + 'layer { name: "none" type: "HDF5Output" bottom: "c" }\n'],
    "Im2col": [x("Im2col", KERNEL)],
    "InnerProduct": [x("InnerProduct", "inner_product_param { num_output: 5 }")],
    "Interp": [x("Interp", "interp_param { zoom_factor: 2 }")],
    "LRN": [x("LRN"), x("LRN", "lrn_param { norm_region: WITHIN_CHANNEL }")],
    "Log": [x("Log", "log_param { shift: 9 }")],
    "MVN": [x("MVN"), x("MVN", "mvn_param { across_channels: true }")],
    "Normalize": [x("Normalize"), x("Normalize", "norm_param { across_spatial: false }")],
    "Parameter": [x("Scale", bottoms="data w", before=PARAMETER)],
    "Permute": [x("Permute", "permute_param { order: 0 order: 2 order: 3 order: 1 }")],
    "Pooling": [
        x("Pooling", f"pooling_param {{ {given} }}")
        for given in ("kernel_size: 3 stride: 2", "pool: AVE global_pooling: true")
    ],
    "Reduction": [x("Reduction", f"reduction_param {{ axis: {axis} }}") for axis in (1, 2, -1)],
    "Reshape": [
        x("Reshape", f"reshape_param {{ {given} }}")
        for given in (
            "shape { dim: BATCH dim: -1 dim: 6 }",
            "shape { dim: 0 dim: 9 dim: -1 }",
            "shape { dim: -1 dim: 216 }",
            "axis: 1 num_axes: 2 shape { dim: 24 }",
        )
    ],
    "SPP": [x("SPP", "spp_param { pyramid_height: 2 }")],
    "Scale": [
        x("Scale"),
        x("Scale", "scale_param { axis: 0 }", "data f", MEAN + layer("f", "Flatten", "g")),
        x("Scale", "scale_param { axis: 1 num_axes: 2 bias_term: true }"),
    ],
    "ShuffleChannel": [x("ShuffleChannel", "shuffle_channel_param { group: 3 }", "c", CONV)],
    "Silence": [CONV + 'layer { name: "none" type: "Silence" bottom: "c" }\n'],
    "Slice": [two_tops("Slice", "slice_param { axis: 2 slice_point: 3 }")],
    "Split": [two_tops("Split") + layer("c", "ReLU", "y")],
    "Tile": [x("Tile", "tile_param { axis: 1 tiles: 2 }")],
    "Unpooling": [
        x("Unpooling", "unpooling_param { unpool: MAX kernel_size: 2 stride: 2 }", "p m", MASKED)
    ],
    "Upsample": [
        x("Upsample", "upsample_param { scale: 2 }", *more) for more in ((), ("p m", MASKED))
    ],
}

TEXTS = [pytest.param(t, id=f"{k}{n or ''}") for k in SAMPLES for n, t in enumerate(SAMPLES[k])]
ALWAYS_REFUSED = {"BatchReindex"}


def test_no_layer_type_is_left_out() -> None:
    assert {*SAMPLES, *ALWAYS_REFUSED} == set(REGISTRY)


def made(text: str, images: int = 1) -> CaffeNet:
    """With a batch of so many in the prototxt, and weights that are not zero."""
    text = INPUT.format(images) + text.replace("BATCH", str(images))
    net, random = load(text), torch.Generator().manual_seed(0)
    for weight in net.parameters():
        weight.uniform_(0.2, 1, generator=random)
    return net


def first(net: CaffeNet, images: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """Of the first image: its activations and their gradient, of 0 where there is none."""
    images = images.clone().requires_grad_()
    found = net.activations(images, name)[:1]
    linked = found.requires_grad
    return found.detach(), (gradient(found, images) if linked else torch.zeros_like(images))[:1]


@pytest.mark.filterwarnings("ignore:.* has no weights")
@pytest.mark.parametrize("declared", [1, 2])
@pytest.mark.parametrize("text", TEXTS)
def test_an_image_has_the_same_values_alone_in_company_and_twice(text: str, declared: int) -> None:
    net, images = made(text, declared), 2 * noise(3, 3, 8, 9).clip(-2, 2)
    images = images.abs() if '"Embed"' in text else images
    assert net.layers
    assert not net.refused
    for name in net.layers:
        alone = first(net, images[:1], name)
        assert alone[0].any()
        for company in (images, images[[0, 2]], images[:1]):
            for found, wanted in zip(first(net, company, name), alone, strict=True):
                torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_batch_statistics_are_those_of_each_image() -> None:
    """As in a batch of 1; Caffe's are those of the images that are there."""
    net, images = (
        made(x("BatchNorm", "batch_norm_param { use_global_stats: false }")),
        noise(3, 3, 8, 9),
    )
    got = net.activations(images, "x").numpy()
    mean, variance = (f(images.numpy(), (2, 3), keepdims=True) for f in (np.mean, np.var))
    np.testing.assert_allclose(got, (images.numpy() - mean) / np.sqrt(variance + 1e-5), atol=1e-5)
    flat = x("BatchNorm", "batch_norm_param { use_global_stats: false }", "f")
    net = made(MEAN + layer("f", "Flatten", "g") + flat)
    assert not net.activations(images, "x").any()  # each is its own mean


OVER_IMAGES = {
    "Slice": two_tops("Slice", "slice_param { axis: 0 }"),
    "Concat": x("Concat", "concat_param { axis: 0 }", "c c", CONV),
    "Softmax": x("Softmax", "softmax_param { axis: -4 }"),
    "Reshape": x("Reshape", "reshape_param { shape { dim: -1 dim: 72 } }"),
    "Reshape before": x("Reshape", "reshape_param { axis: 0 num_axes: 0 shape { dim: 1 } }"),
    "Reduction": x("Reduction"),
    "Flatten": x("Flatten", "flatten_param { axis: 0 end_axis: 1 }"),
    "InnerProduct": x("InnerProduct", "inner_product_param { axis: 0 num_output: 5 }"),
    "ArgMax": x("ArgMax", "argmax_param { axis: 0 }"),
    "Tile": x("Tile", "tile_param { axis: 0 tiles: 2 }"),
    "Permute": x("Permute", "permute_param { order: 1 order: 0 }"),
    "Scale": x("Scale", "scale_param { axis: 0 }"),
    "Bias": x("Bias", "bias_param { axis: 0 num_axes: 2 }"),
}


@pytest.mark.parametrize("text", OVER_IMAGES.values(), ids=OVER_IMAGES)
def test_layers_above_one_that_mixes_images_are_refused(text: str) -> None:
    net = made(CONV.replace('"c"', '"conv"') + text + layer("above", "ReLU", "x"), images=2)
    assert set(net.layers) - {"c"} == {"conv"}
    assert "image" in net.refused["x"]
    assert net.refused["above"] == "it depends on layer 'x', which mixes the images of a batch"
    with pytest.raises(UserError, match="layer 'above' of the net 'made' cannot be computed: it"):
        net.layer_shape("above")
    assert net.activations(noise(5, 3, 8, 9), "conv").shape == (5, 3, 7, 8)


@pytest.mark.parametrize("kind", ["Scale", "Bias"])
def test_weights_along_a_batch_of_one_are_those_of_every_image(kind: str) -> None:
    net = made(x(kind, f"{kind.lower()}_param {{ axis: 0 num_axes: 2 }}"))
    weight, images = next(net.parameters()), noise(2, 3, 8, 9)
    weights = weight.reshape(1, 3, 1, 1)
    wanted = images * weights if kind == "Scale" else images + weights
    torch.testing.assert_close(net.activations(images, "x"), wanted)
