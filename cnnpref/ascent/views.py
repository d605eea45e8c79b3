"""Random views of images: what is recognised however it is looked at is no accident of pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from cnnpref.ascent.noise import STARTS, noise_table
from cnnpref.ascent.variables import Draws
from cnnpref.geometry import Box


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
        """What is seen of images (B, C, h, w): the box `seen`, as the chance (B, 5) has it.

        Beyond the edges images go on mirrored.
        """
        theta = self._affine(images, seen, chance)
        size = (len(images), images.shape[1], seen[2] - seen[0], seen[3] - seen[1])
        grid = F.affine_grid(theta, list(size), align_corners=False)
        view = F.grid_sample(images, grid, "bilinear", "reflection", align_corners=False)
        if not self.noise:
            return view
        starts = ((chance[:, 4] + 1) / 2 * (STARTS - 1)).astype(int)
        table, count = noise_table(images.device), view[0].numel()
        rows = [table[start : start + count].reshape(view.shape[1:]) for start in starts.tolist()]
        return view + self.noise * torch.stack(rows)

    def _affine(self, images: Tensor, seen: Box, chance: npt.NDArray[np.float64]) -> Tensor:
        """The matrices (B, 2, 3) from what is seen to the canvas, as `affine_grid` wants them."""
        height, width = images.shape[-2:]
        top, left, bottom, right = seen
        low, high = np.log([self.near, self.far])
        extent = np.exp(low + (chance[:, 0] + 1) / 2 * (high - low))
        # what a view from near by leaves out on each side may be anywhere
        room = self.shift + np.maximum(0, 1 - extent) * max(bottom - top, right - left) / 2
        angle = np.deg2rad(self.rotation) * chance[:, 1]
        # half sizes: of what is seen, and of the canvas
        rows, columns, y, x = ((bottom - top) / 2, (right - left) / 2, height / 2, width / 2)
        theta = np.empty((len(chance), 2, 3))
        theta[:, 0, 0] = extent * np.cos(angle) * columns / x
        theta[:, 0, 1] = -extent * np.sin(angle) * rows / x
        theta[:, 1, 0] = extent * np.sin(angle) * columns / y
        theta[:, 1, 1] = extent * np.cos(angle) * rows / y
        theta[:, 0, 2] = ((left + right) / 2 + room * chance[:, 2]) / x - 1
        theta[:, 1, 2] = ((top + bottom) / 2 + room * chance[:, 3]) / y - 1
        return torch.from_numpy(theta.astype(np.float32)).to(images.device)
