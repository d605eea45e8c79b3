"""The peer of `pictures.py`: lucid's method at its own defaults, on any of our nets.

Fourier coefficients over frequency, decorrelated colours, Adam, and its transforms: grey padding,
jitter, scale, rotation, jitter. Each image has views of its own, so images are independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from cnnpref.input_space import InputSpace
from cnnpref.nets.kernels import fast_kernels
from cnnpref.nets.net import Net

COLOURS = ((0.26, 0.09, 0.02), (0.27, 0.0, -0.05), (0.27, -0.09, 0.03))
PAD, JITTERS = 12, (8, 4)
SCALES = 1 + (np.arange(11) - 5) / 50
ANGLES = (*range(-10, 11), 0, 0, 0, 0, 0)
RGB = InputSpace(order=(0, 1, 2), scale=(1 / 255,) * 3)


@dataclass(frozen=True)
class Lucid:
    """Makes pictures of units.

    Attributes:
        net: the network.
        summed: layers whose target is the sum over the map, not the unit in its middle.
        steps: lucid's default.
    """

    net: Net
    summed: Sequence[str]
    steps: int = 512

    def __call__(
        self, layer: str, units: Sequence[int], seeds: Sequence[int]
    ) -> npt.NDArray[np.uint8]:
        """Pictures (N, H, W, 3)."""
        height, width = self.net.input_shape[1:]
        draws = [
            np.random.default_rng([seed, unit]) for seed, unit in zip(seeds, units, strict=True)
        ]
        shape = (3, height, width // 2 + 1, 2)
        start = 0.01 * np.stack([draw.standard_normal(shape) for draw in draws])
        z = torch.tensor(start, dtype=torch.float32, device=self.net.device, requires_grad=True)
        adam = torch.optim.Adam([z], lr=0.05)
        own = torch.as_tensor(list(units), device=z.device)
        for _ in range(self.steps):
            x = view(F.pad(picture(z, (height, width)), (PAD,) * 4, value=0.5), draws)
            with fast_kernels():
                a = self.net.activations(self.net.space.convert(x, RGB), layer)
                adam.zero_grad()
                (-self._targets(a, own, layer).sum()).backward()
            adam.step()
        rgb = picture(z.detach(), (height, width))
        return np.moveaxis((255 * rgb).round().byte().cpu().numpy(), 1, 3)

    def _targets(self, a: Tensor, units: Tensor, layer: str) -> Tensor:
        a = a.reshape(*a.shape[:2], *(a.shape[2:] or (1, 1)))
        own = a[torch.arange(len(a), device=a.device), units]
        if layer in self.summed:
            return own.mean((1, 2))
        return own[:, own.shape[1] // 2, own.shape[2] // 2]


def picture(z: Tensor, size: tuple[int, int]) -> Tensor:
    """RGB in 0..1 of the coefficients (N, 3, H, W // 2 + 1, 2)."""
    height, width = size
    f = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    scale = torch.tensor(1 / f.clip(1 / max(size)), dtype=torch.float32, device=z.device)
    x = torch.fft.irfft2(torch.view_as_complex(z) * scale, s=size, norm="ortho") / 4
    rows = np.array(COLOURS)
    rows = rows / np.linalg.norm(rows, axis=0).max()
    colours = torch.tensor(rows, dtype=torch.float32, device=z.device)
    return torch.sigmoid(torch.einsum("ck,nkhw->nchw", colours, x))


def view(padded: Tensor, draws: Sequence[np.random.Generator]) -> Tensor:
    """What the net sees of padded pictures: each jittered, scaled and turned in its own way."""
    height, width = (side - 2 * PAD for side in padded.shape[2:])
    thetas = []
    for draw in draws:
        jitter = sum(draw.integers(0, most + 1, 2) - most / 2 for most in JITTERS)
        scale, angle = draw.choice(SCALES), np.radians(draw.choice(ANGLES))
        cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
        across, down = width / padded.shape[3], height / padded.shape[2]
        x, y = 2 * jitter / np.array(padded.shape[:1:-1])
        thetas.append([[cos * across, -sin * across, x], [sin * down, cos * down, y]])
    theta = torch.tensor(np.array(thetas), dtype=torch.float32, device=padded.device)
    grid = F.affine_grid(theta, [len(padded), 3, height, width], align_corners=False)
    return F.grid_sample(padded, grid, padding_mode="border", align_corners=False)
