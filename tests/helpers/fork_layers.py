"""What tests of layers share: nets with random weights, images, and comparisons."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from basics import noise
from prototxts import INPUT, load
from torch import Tensor

from cnnpref.nets.caffe import CaffeNet

Array = npt.NDArray[np.float32]


def made(text: str, height: int = 8, width: int = 9) -> tuple[CaffeNet, list[Array]]:
    """A net with random weights above 0, and these."""
    size = INPUT.replace("dim: 8 dim: 9", f"dim: {height} dim: {width}")
    net, random = load(size + text), torch.Generator().manual_seed(3)
    weights = [weight.uniform_(0.5, 2, generator=random).numpy() for weight in net.parameters()]
    return net, weights


def images(height: int = 8, width: int = 9, number: int = 2) -> Tensor:
    return noise(number, 3, height, width, seed=5)


def values(text: str, name: str = "x", **size: int) -> tuple[Array, Array, list[Array]]:
    """What a layer gives for random images, these, and the net's weights."""
    net, weights = made(text, **size)
    given = images(**size)
    return net.activations(given, name).numpy(), given.numpy(), weights


def close(got: Array, want: npt.ArrayLike) -> None:
    assert got.shape == np.shape(want)
    np.testing.assert_allclose(got, want, rtol=2e-6, atol=2e-6)
