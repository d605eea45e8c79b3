"""Units computed from the part of the image that they see, compared with passes of the whole."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from prototxts import INPUT, layer, load
from random_nets import RELAXED, declared, positive, prototxts
from small import random_net
from torch import Tensor

import cnnpref
from cnnpref.geometry import crop
from cnnpref.nets.caffe import CaffeNet
from cnnpref.nets.kernels import fast_kernels
from cnnpref.nets.net import FullReadout, full_part
from cnnpref.nets.readout import Readout

DILATED_POINT = "convolution_param { num_output: 2 kernel_size: 1 dilation: 2 pad_h: 1 pad_w: 0 }"
NOISE = 2e-6  # of the largest value: other regions are summed by other kernels, in another order


def images(net: CaffeNet, count: int) -> Tensor:
    random = torch.Generator().manual_seed(1)
    return torch.rand(count, *net.input_shape, generator=random).add(0.5).requires_grad_()


def compare(net: CaffeNet, name: str, index: npt.NDArray[np.int64]) -> None:
    """Values and gradients of a readout, with either kernels, to those of a full pass."""
    x, readout = images(net, len(index)), net.readout(name, index)
    expected = values_and_gradient(FullReadout.of(net, name, index), x)
    for kernels in (nullcontext(), fast_kernels()):
        with kernels:
            found = values_and_gradient(readout, x)
        assert found[0].shape == index.shape
        for one, other in zip(found, expected, strict=True):
            assert (one - other).abs().max() <= NOISE * other.abs().max()


def values_and_gradient(readout: Readout, x: Tensor) -> tuple[Tensor, Tensor]:
    values = readout(crop(x, readout.box))
    (gradient,) = torch.autograd.grad(values.sum(), x, allow_unused=True)
    return values.detach(), torch.zeros_like(x) if gradient is None else gradient


@settings(RELAXED)
@given(prototxts(), st.integers(0, 10_000), st.integers(1, 3))
@example(declared(3, 3) + layer("x", "Convolution", "data", DILATED_POINT), 8, 1)
def test_a_readout_is_what_a_full_pass_gives(text: str, seed: int, width: int) -> None:
    net, name = positive(text)
    shape = net.layers[name]
    random = np.random.default_rng(seed)
    index = random.integers(np.prod(shape), size=(3, width))
    compare(net, name, index)


@settings(RELAXED)
@given(prototxts(), st.integers(0, 10_000))
def test_units_of_one_position_are_what_a_full_pass_gives(text: str, seed: int) -> None:
    """One channel an image: the last layer computes no others."""
    net, name = positive(text)
    channels, height, width = net.layers[name]
    random = np.random.default_rng(seed)
    position = random.integers(height * width)
    index = random.integers(channels, size=(3, 1)) * height * width + position
    compare(net, name, index)


@settings(RELAXED, max_examples=50)
@given(prototxts(), st.data())
def test_a_part_of_a_blob_is_cut_out_of_the_whole(text: str, data: st.DataObject) -> None:
    net, name = positive(text)
    _, height, width = net.blobs[name]
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    bottom = data.draw(st.integers(top + 1, height))
    box = (top, left, bottom, data.draw(st.integers(left + 1, width)))
    x = images(net, 2)
    found = net.part("data", name, box)(x)
    wanted = full_part(net, "data", name, box)(x)
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() <= NOISE * wanted.abs().max()
    assume(wanted.requires_grad)
    gradients = [torch.autograd.grad(part.sum(), x)[0] for part in (found, wanted)]
    assert (gradients[0] - gradients[1]).abs().max() <= NOISE * gradients[1].abs().max()


CONVOLUTION = "convolution_param {{ num_output: 6 {} }}"


@pytest.mark.parametrize(
    "parameters",
    [
        "kernel_size: 1",
        "kernel_size: 1 stride: 2",
        "kernel_size: 3 group: 3",
        "kernel_size: 3 pad: 2 dilation: 2",
        "kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 3 pad_h: 1 pad_w: 0",
        "kernel_size: 5 pad: 2 bias_term: false group: 3",
    ],
)
@pytest.mark.parametrize("positions", ["all", "center", (0, 0)])
def test_one_channel_of_a_convolution(
    parameters: str, positions: str | tuple[int, int], tmp_path: Path
) -> None:
    given = CONVOLUTION.format(parameters)
    net = random_net(tmp_path, INPUT + layer("c", "Convolution", "data", given))
    compare(net, "c", cnnpref.Objective.units(net, "c", [5, 0, 3, 3], positions).index)


@pytest.mark.parametrize(
    "parameters",
    ["", "local_size: 3 alpha: 2 beta: 0.5 k: 2", "local_size: 7 alpha: 0.5 beta: 1.5", "k: 0.1"],
)
def test_normalisation_across_channels(parameters: str, tmp_path: Path) -> None:
    text = INPUT + layer("c", "Convolution", "data", CONVOLUTION.format("kernel_size: 3"))
    net = random_net(tmp_path, text + layer("n", "LRN", "c", f"lrn_param {{ {parameters} }}"))
    compare(net, "n", cnnpref.Objective.units(net, "n", [5, 0, 3], "all").index)


@pytest.mark.parametrize("parameters", ["", "transpose: true", "bias_term: false", "axis: 2"])
def test_one_unit_of_an_inner_product(parameters: str, tmp_path: Path) -> None:
    given = f"inner_product_param {{ num_output: 5 {parameters} }}"
    net = random_net(tmp_path, INPUT + layer("fc", "InnerProduct", "data", given))
    index = torch.tensor([[4], [0], [2]])
    compare(net, "fc", index)


def test_rows_of_a_readout(tmp_path: Path) -> None:
    net = random_net(tmp_path)
    x = images(net, 4)
    for name, position in (
        ("conv1", "center"),
        ("conv2", "all"),
        ("pool1", "center"),
        ("fc", "all"),
    ):
        index = cnnpref.Objective.units(net, name, [3, 1, 4, 1], position).index
        readout = net.readout(name, index)
        part = crop(x, readout.box)
        chosen = [2, 0, 2]
        expected = readout(part)[chosen]
        assert torch.allclose(readout.rows(chosen)(part[chosen]), expected, rtol=1e-5)


def boxes(net: CaffeNet, layers: Sequence[str]) -> list[tuple[int, ...]]:
    return [net.readout(n, cnnpref.Objective.units(net, n, [0]).index).box for n in layers]


def test_the_box_is_the_receptive_field(tmp_path: Path) -> None:
    net = random_net(tmp_path)
    names = ["conv1", "norm1", "pool1", "conv2"]
    assert boxes(net, names) == [net.receptive_field(name) for name in names]
    assert boxes(net, ["fc"]) == [(0, 0, 20, 20)]


def test_layers_that_mix_all_positions_need_the_whole_image() -> None:
    text = declared(9, 7) + layer("c", "Convolution", "data", CONVOLUTION.format("kernel_size: 3"))
    for kind, told in (("MVN", ""), ("Softmax", "softmax_param { axis: 2 }"), ("Flatten", "")):
        net = load(text + layer("out", kind, "c", told) + layer("end", "Power", "out"))
        assert boxes(net, ["c", "end"]) == [(3, 2, 6, 5), (0, 0, 9, 7)]


def test_a_unit_that_sees_nothing_but_padding(tmp_path: Path) -> None:
    given = CONVOLUTION.format("kernel_size: 1 pad: 2")
    net = random_net(tmp_path, INPUT + layer("c", "Convolution", "data", given))
    compare(net, "c", cnnpref.Objective.units(net, "c", [1, 2], (0, 0)).index)
