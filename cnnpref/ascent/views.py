"""Random views of images: what is recognised however it is looked at is no accident of pixels.

How all of an ascent's views are taken is planned before it begins, on the host, and brought to the
device once: a GPU that is sent something in every step waits each time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from cnnpref.ascent.noise import STARTS, noise_table, stretch
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


class Look(Protocol):
    """A way to look at images."""

    @property
    def noise(self) -> float:
        """Standard deviation, on the 0..1 scale."""

    def draw(self, draws: Draws) -> npt.NDArray[np.float64]:
        """Random numbers for one view."""

    def looks(self, chance: npt.NDArray[np.float64], seen: Box, size: tuple[int, int]) -> Looks:
        """Where a view of each of B images is taken.

        Args:
            chance: the random numbers of each, (B, ...).
            seen: what the unit sees, in the images.
            size: (h, w) of the images.
        """


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

    def looks(self, chance: npt.NDArray[np.float64], seen: Box, _size: tuple[int, int]) -> Looks:
        """How the box `seen` is looked at in each of B images, as the chance (B, 5) has it."""
        low, high = np.log([self.near, self.far])
        extent = np.exp(low + (chance[:, 0] + 1) / 2 * (high - low))
        # what a view from near by leaves out on each side may be anywhere
        room = self.shift + np.maximum(0, 1 - extent) * max(sides(seen)) / 2
        angle = np.deg2rad(self.rotation) * chance[:, 1]
        return Looks(
            extent, angle, room * chance[:, 2], room * chance[:, 3], (chance[:, 4] + 1) / 2
        )


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

    def looks(self, chance: npt.NDArray[np.float64], seen: Box, size: tuple[int, int]) -> Looks:
        """Crops of B images (h, w), as large as the box `seen`, by the chance (B, 4)."""
        height, width = size
        ratio = max(height, width) / max(sides(seen))
        extent = np.maximum(_SMALLEST, self.extent + self.spread * chance[:, 0]) * ratio
        across, down = self.wander * width * chance[:, 2], self.wander * height * chance[:, 3]
        return Looks(extent, np.zeros_like(extent), across, down, (chance[:, 1] + 1) / 2)


def sides(box: Box) -> tuple[int, int]:
    """The height and the width of a box."""
    return box[2] - box[0], box[3] - box[1]


@dataclass(frozen=True)
class Sight:
    """A view of each of B images, ready on their device.

    Attributes:
        seen: what the unit sees, in the images.
        theta: from what is seen to the image, as `affine_grid` wants it, (B, 2, 3).
        starts: where the noise of each starts in its table, (B,).
        noise: standard deviation, on the 0..1 scale.
    """

    seen: Box
    theta: Tensor
    starts: npt.NDArray[np.int64]
    noise: float

    def see(self, images: Tensor) -> Tensor:
        """Of images (B, C, h, w) on the 0..1 scale; beyond their edges they go on mirrored."""
        size = [len(images), images.shape[1], *sides(self.seen)]
        grid = F.affine_grid(self.theta, size, align_corners=False)
        view = F.grid_sample(images, grid, "bilinear", "reflection", align_corners=False)
        if not self.noise:
            return view
        shape, count, device = view.shape[1:], view[0].numel(), images.device
        rows = [stretch(device, start, count).reshape(shape) for start in self.starts.tolist()]
        return view + self.noise * torch.stack(rows)


def sights(
    looks: Sequence[Look],
    chances: npt.NDArray[np.float64],
    seen: Box,
    size: tuple[int, int],
    device: torch.device,
) -> list[Sight]:
    """Views of B images, one after another.

    Args:
        looks: how each is taken.
        chances: the random numbers of each, (len(looks), B, ...).
        seen: what the unit sees, in the images.
        size: (h, w) of the images.
        device: where they are.
    """
    ways = [each.looks(chance, seen, size) for each, chance in zip(looks, chances, strict=True)]
    thetas = np.stack([_affine(size, seen, way) for way in ways])
    places = ((way.place * (STARTS - 1)).astype(int) for way in ways)
    there, _ = torch.from_numpy(thetas).to(device), noise_table(device)
    parts = zip(looks, there, places, strict=True)
    return [Sight(seen, theta, starts, each.noise) for each, theta, starts in parts]


def _affine(size: tuple[int, int], seen: Box, looks: Looks) -> npt.NDArray[np.float32]:
    """The matrices (B, 2, 3) from what is seen to a canvas of that size."""
    top, left, bottom, right = seen
    # half sizes: of what is seen, and of the canvas
    rows, columns, y, x = (bottom - top) / 2, (right - left) / 2, *(s / 2 for s in size)
    cosine, sine = looks.extent * np.cos(looks.angle), looks.extent * np.sin(looks.angle)
    theta = np.empty((len(looks.extent), 2, 3))
    theta[:, 0, 0] = cosine * columns / x
    theta[:, 0, 1] = -sine * rows / x
    theta[:, 1, 0] = sine * columns / y
    theta[:, 1, 1] = cosine * rows / y
    theta[:, 0, 2] = ((left + right) / 2 + looks.right) / x - 1
    theta[:, 1, 2] = ((top + bottom) / 2 + looks.down) / y - 1
    return theta.astype(np.float32)
