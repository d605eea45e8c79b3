"""Layers that undo a pooling, and which pixels the units of layers of forks see."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fork_layers import close, images, made
from prototxts import layer

from cnnpref.nets.caffe import CaffeNet

TEXTS: dict[str, str] = {
    "axpy": layer("a", "Pooling", "data", "pooling_param { pool: AVE kernel_h: 8 kernel_w: 9 }")
    + layer("x", "Axpy", ["a", "data", "data"]),
    "depthwise": layer(
        "x", "ConvolutionDepthwise", "data", "convolution_param { num_output: 3 kernel_size: 3 }"
    ),
    "shuffle": layer(
        "c", "Convolution", "data", "convolution_param { num_output: 6 group: 3 kernel_size: 3 }"
    )
    + layer("x", "ShuffleChannel", "c", "shuffle_channel_param { group: 3 }"),
    "permute": layer("x", "Permute", "data", "permute_param { order: 0 order: 3 order: 1 }"),
    "normalize": layer("x", "Normalize", "data", "norm_param { across_spatial: false }"),
    "interp": layer("x", "Interp", "data", "interp_param { height: 15 width: 13 }"),
    "shrunk": layer("x", "Interp", "data", "interp_param { shrink_factor: 2 pad_beg: -1 }"),
    "nearest": layer("x", "Upsample", "data", "upsample_param { scale: 2 }"),
    "spp": layer("x", "SPP", "data", "spp_param { pyramid_height: 3 pool: AVE }"),
    "im2col": layer("x", "Im2col", "data", "convolution_param { kernel_size: 3 stride: 2 }"),
    "bn": layer("x", "BN", "data", "bn_param { frozen: true }"),
    "own statistics": layer("x", "BN", "data", "bn_param { bn_mode: LEARN }"),
}


def units(net: CaffeNet) -> list[int]:
    size = int(np.prod(net.layers["x"]))
    return sorted({0, size // 3, size // 2, size - 1})


@pytest.mark.parametrize("name", TEXTS)
def test_receptive_fields_are_where_gradients_are(name: str) -> None:
    net, _ = made(TEXTS[name])
    x = images(number=1).requires_grad_()
    flat = net.activations(x, "x").flatten()
    for unit in units(net):
        (gradient,) = torch.autograd.grad(flat[unit], x, retain_graph=True)
        mask = (np.arange(len(flat)) == unit).reshape(net.layers["x"])
        found = net.support("x", mask)
        np.testing.assert_array_equal(found, gradient[0].abs().sum(0).numpy() > 0)


@pytest.mark.parametrize("name", TEXTS)
def test_parts_are_what_the_whole_gives(name: str) -> None:
    after = layer("z", "Power", "x", "power_param { scale: 3 shift: 1 }")
    net, _ = made(TEXTS[name] + after)
    x = images()
    for unit in units(net):
        readout = net.readout("z", torch.tensor([[unit], [unit]]))
        top, left, bottom, right = readout.box
        got = readout(x[:, :, top:bottom, left:right])
        want = net.activations(x, "z").flatten(1)[:, [unit]]
        torch.testing.assert_close(got, want)


POOL = 'layer {{ name: "p" type: "Pooling" bottom: "data" top: "p" top: "mask" ' + (
    "pooling_param {{ kernel_size: {} stride: 2 }} }}\n"
)
TWICE = layer("y", "Power", "p", "power_param { scale: 2 shift: 1 }")


@pytest.mark.parametrize(
    ("kernel", "kind", "param"),
    [
        (2, "Upsample", "upsample_param { scale: 2 pad_out_h: true pad_out_w: true }"),
        (3, "Upsample", "upsample_param { upsample_h: 9 upsample_w: 9 }"),
        (3, "Unpooling", "unpooling_param { kernel_size: 2 stride: 2 unpool_size: 9 }"),
        (3, "Unpooling", "unpooling_param { kernel_size: 3 stride: 2 }"),
        (3, "Unpooling", "pooling_param { kernel_size: 3 stride: 2 }"),
    ],
)
def test_unpooling_with_a_mask(kernel: int, kind: str, param: str) -> None:
    text = POOL.format(kernel) + TWICE + layer("x", kind, ["y", "mask"], param)
    net, _ = made(text, 9, 9)
    blobs = net.forward({"data": images(9, 9)}, ["y", "mask", "x"])
    y, mask, got = (blobs[name].numpy() for name in ("y", "mask", "x"))
    want = np.zeros((2, 3, *got.shape[2:]))
    for image, channel in np.ndindex(2, 3):
        flat = want[image, channel].ravel()
        for place, value in zip(
            mask[image, channel].ravel(), y[image, channel].ravel(), strict=True
        ):
            flat[int(place)] = value
        want[image, channel] = flat.reshape(want.shape[2:])
    assert got.shape[2:] == (9, 9)
    close(got, want)


def test_unpooling_to_the_size_of_another_blob() -> None:
    text = POOL.format(2) + TWICE
    text += layer("x", "Unpooling", ["y", "mask", "data"], "unpooling_param { kernel_size: 2 }")
    net, _ = made(text)
    x = images()
    p = net.activations(x, "p")
    want, found = torch.nn.functional.max_pool2d(x, 2, 2, ceil_mode=True, return_indices=True)
    close(p.numpy(), want.numpy())
    want = torch.zeros(2, 3, 72).scatter(2, found.flatten(2), (2 * want + 1).flatten(2))
    close(net.activations(x, "x").numpy(), want.reshape(2, 3, 8, 9).numpy())


def test_the_field_of_an_unpooled_unit_is_the_window_of_its_pooling() -> None:
    text = POOL.format(2) + TWICE
    text += layer("x", "Upsample", ["y", "mask"], "upsample_param { scale: 2 pad_out_w: true }")
    net, _ = made(text)
    for y, x in np.ndindex(8, 9):
        mask = np.zeros((3, 8, 9), bool)
        mask[1, y, x] = True
        box = 2 * (y // 2), 2 * (x // 2), 2 * (y // 2) + 2, min(2 * (x // 2) + 2, 9)
        assert net.receptive_field("x", mask) == box
