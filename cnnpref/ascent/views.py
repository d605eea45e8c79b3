"""Random views of images: what is recognised however it is looked at is no accident of pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from cnnpref.ascent.noise import STARTS, stretch
from cnnpref.ascent.variables import Draws
from cnnpref.geometry import Box

_SMALLEST = 0.02  # a crop's side, as a share of the canvas's


class Looks(NamedTuple):
    """How each of B images is looked at, (B,) each.

    Attributes:
        extent: side of what is looked at, over that of what the unit sees.
        angle: by which it is turned, in radians.
        right, down: where its middle is, in pixels from that of what the unit sees.
        place: of the noise, 0..1.
    """

    extent: npt.NDArray[np.float64]
    angle: npt.NDArray[np.float64]
    right: npt.NDArray[np.float64]
    down: npt.NDArray[np.float64]
    place: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Views:
    """How images are looked at: scaled, turned and shifted at random, with noise.

    Attributes:
        near, far: the net sees the picture by 1 / near as large, and as small as 1 / far.
        rotation: most degrees to each side.
        shift: most pixels to each side.
        noise: standard deviation, on the 0..1 scale.
    """

    near: float
    far: float
    rotation: float
    shift: float
    noise: float

    def draw(self, draws: Draws) -> npt.NDArray[np.float64]:
        """Numbers in -1..1 for one view, and a place in the table of noise, 0..1."""
        return draws.randint(-(2**30), 2**30 + 1, 5) / 2.0**30

    def see(self, images: Tensor, seen: Box, chance: npt.NDArray[np.float64]) -> Tensor:
        """What is seen of images (B, C, h, w): the box `seen`, as the chance (B, 5) has it."""
        low, high = np.log([self.near, self.far])
        extent = np.exp(low + (chance[:, 0] + 1) / 2 * (high - low))
        # what a view from near by leaves out on each side may be anywhere
        room = self.shift + np.maximum(0, 1 - extent) * max(sides(seen)) / 2
        angle = np.deg2rad(self.rotation) * chance[:, 1]
        looks = Looks(
            extent, angle, room * chance[:, 2], room * chance[:, 3], (chance[:, 4] + 1) / 2
        )
        return look(images, seen, looks, self.noise)


@dataclass(frozen=True)
class Crops:
    """How images are looked at: square crops around their middle, stretched, with noise.

    Attributes:
        extent: side of a crop, as a share of the canvas's, in the mean.
        spread: by how much more or less, at most.
        wander: standard deviation of its middle, as a share of the canvas's side.
        noise: standard deviation, on the 0..1 scale.
    """

    extent: float
    spread: float
    wander: float
    noise: float

    @staticmethod
    def draw(draws: Draws) -> npt.NDArray[np.float64]:
        """For one crop: two numbers in -1..1, its size and the place of its noise; two normal."""
        uniform = draws.randint(-(2**30), 2**30 + 1, 2) / 2.0**30
        return np.concatenate([uniform, draws.standard_normal(2)])

    def see(self, images: Tensor, seen: Box, chance: npt.NDArray[np.float64]) -> Tensor:
        """Crops of images (B, C, h, w), as large as the box `seen`, by the chance (B, 4)."""
        height, width = images.shape[-2:]
        ratio = max(height, width) / max(sides(seen))
        extent = np.maximum(_SMALLEST, self.extent + self.spread * chance[:, 0]) * ratio
        across, down = self.wander * width * chance[:, 2], self.wander * height * chance[:, 3]
        looks = Looks(extent, np.zeros_like(extent), across, down, (chance[:, 1] + 1) / 2)
        return look(images, seen, looks, self.noise)


def sides(box: Box) -> tuple[int, int]:
    """The height and the width of a box."""
    return box[2] - box[0], box[3] - box[1]


def look(images: Tensor, seen: Box, looks: Looks, noise: float) -> Tensor:
    """What is seen of images (B, C, h, w): the box `seen`, looked at in these ways.

    Beyond the edges images go on mirrored.

    Args:
        images: on the 0..1 scale.
        seen: what the unit sees, in the images.
        looks: one for each image.
        noise: standard deviation, on the 0..1 scale.
    """
    theta = _affine(images, seen, looks)
    grid = F.affine_grid(theta, [len(images), images.shape[1], *sides(seen)], align_corners=False)
    view = F.grid_sample(images, grid, "bilinear", "reflection", align_corners=False)
    if not noise:
        return view
    starts = (looks.place * (STARTS - 1)).astype(int)
    shape, count = view.shape[1:], view[0].numel()
    rows = [stretch(images.device, start, count).reshape(shape) for start in starts.tolist()]
    return view + noise * torch.stack(rows)


def _affine(images: Tensor, seen: Box, looks: Looks) -> Tensor:
    """The matrices (B, 2, 3) from what is seen to the canvas, as `affine_grid` wants them."""
    top, left, bottom, right = seen
    # half sizes: of what is seen, and of the canvas
    rows, columns, y, x = (
        (bottom - top) / 2,
        (right - left) / 2,
        *(s / 2 for s in images.shape[-2:]),
    )
    cosine, sine = looks.extent * np.cos(looks.angle), looks.extent * np.sin(looks.angle)
    theta = np.empty((len(looks.extent), 2, 3))
    theta[:, 0, 0] = cosine * columns / x
    theta[:, 0, 1] = -sine * rows / x
    theta[:, 1, 0] = sine * columns / y
    theta[:, 1, 1] = cosine * rows / y
    theta[:, 0, 2] = ((left + right) / 2 + looks.right) / x - 1
    theta[:, 1, 2] = ((top + bottom) / 2 + looks.down) / y - 1
    return torch.from_numpy(theta.astype(np.float32)).to(images.device)
