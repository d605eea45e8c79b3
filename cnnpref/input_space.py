"""The space that a network reads its images in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:  # images are drawn without PyTorch
    from torch import Tensor

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class InputSpace:
    """How a network wants its images: `x[c] = (image[order[c]] - mean[c]) * scale[c]`.

    Images have as many channels as the net's input: 3 are RGB, 1 is grey, n are what they are.

    Args:
        order: for each input channel of the net, the channel of an image; (2, 1, 0) is BGR, of
            other numbers of channels none changes its place: (0, 1, ... n - 1).
        mean: per input channel, on the 0..255 scale.
        scale: per input channel; 1 for most Caffe nets, 1 / (255 * std) for most PyTorch nets.

    Raises:
        ValueError: they are not all for the same channels.
    """

    order: tuple[int, ...] = (2, 1, 0)
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    scale: tuple[float, ...] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        channels = len(self.order)
        if sorted(self.order) != list(range(channels)) or {channels} != {
            len(self.mean),
            len(self.scale),
        }:
            raise ValueError(f"order, mean and scale of different channels: {self}")

    def encode(self, rgb: npt.ArrayLike) -> Array:
        """Images (..., H, W, C), 0..255, to the net's input (..., C, H, W)."""
        x = np.asarray(rgb, np.float32)[..., list(self.order)]
        x = (x - np.array(self.mean, np.float32)) * np.array(self.scale, np.float32)
        return np.ascontiguousarray(np.moveaxis(x, -1, -3))

    def decode(self, x: npt.ArrayLike) -> Array:
        """The net's input (..., C, H, W) to images (..., H, W, C), 0..255, not clipped."""
        channels_last = np.moveaxis(np.asarray(x, np.float32), -3, -1)
        rgb = channels_last / np.array(self.scale, np.float32) + np.array(self.mean, np.float32)
        return np.ascontiguousarray(rgb[..., list(np.argsort(self.order))])

    def convert(self, x: Tensor, source: InputSpace) -> Tensor:
        """Images (..., C, H, W) of another space in this one; differentiable."""
        places = [source.order.index(channel) for channel in self.order]
        given, shift, mean, scale = (
            x.new_tensor(values)[:, None, None]
            for values in (source.scale, source.mean, self.mean, self.scale)
        )
        return ((x / given + shift)[..., places, :, :] - mean) * scale

    def bounds(self) -> tuple[Array, Array]:
        """The lowest and the highest value of each channel, (C,) each: 0 and 255 as encoded."""
        mean, scale = np.array(self.mean, np.float32), np.array(self.scale, np.float32)
        return (0 - mean) * scale, (255 - mean) * scale
