"""The spectrum that natural images have, and limits of other images' in units of it.

Power falls as 1 / f^(2 alpha) in natural images (Field 1987); coefficients of size 1 stand for it.
A cap on the power of every band keeps noise out that a net would answer to but nobody would see.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_MEAN = 0.35  # of the coefficient of frequency 0, in units of root pixels
_BANDS = 13  # of frequencies, log-spaced; the last ends at the corner
_HIGHEST = 0.7072
_FINE = 0.05  # cycles per pixel, from where limits fall


@dataclass(frozen=True)
class Limits:
    """Of the root mean power of an image's coefficients, in units of the natural spectrum.

    Attributes:
        most: of a band of low frequency.
        fine: by this factor less for a frequency ten times as high, from 0.05 cycles per pixel on.
        total: of all bands but frequency 0 together, weighted as they are in the image; 0: none.
    """

    most: float
    fine: float = 1.0
    total: float = 0.0

    def band(self, frequency: float) -> float:
        """Of the band around a frequency."""
        return self.most * self.fine ** max(0.0, math.log10(max(frequency, 1e-9) / _FINE))


def multiplicity(height: int, width: int) -> npt.NDArray[np.float64]:
    """How many coefficients of the full transform each one of `rfft2` stands for, 1 or 2."""
    counts = np.full((height, width // 2 + 1), 2.0)
    counts[:, 0] = 1
    if width % 2 == 0:
        counts[:, -1] = 1
    return counts


class Spectrum:
    """The frequencies of real images (h, w) in the layout of `rfft2`, (h, w // 2 + 1).

    Attributes:
        size: (h, w).
        frequency: in cycles per pixel.
        bands: of frequencies, whose power `cap` limits.
        multiplicity: how many coefficients of the full transform each one stands for, 1 or 2.
        amplitude: what a coefficient of size 1 stands for, (h, w // 2 + 1) or one for each
            component, (C, h, w // 2 + 1).

    Args:
        size: (h, w).
        alpha: the amplitude falls as 1 / frequency^alpha,
        device: where the tensors are.
        measured: unless it is given.
    """

    def __init__(
        self,
        size: tuple[int, int],
        alpha: float,
        device: torch.device,
        measured: npt.NDArray[np.float64] | None = None,
    ) -> None:
        height, width = self.size = size
        rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
        frequency = np.sqrt(rows**2 + columns**2)
        weights = multiplicity(height, width)
        floor = 1 / max(size)
        falling = np.maximum(frequency, floor) ** -alpha
        power = (weights * falling**2)[frequency > 0].sum()
        amplitude = falling * math.sqrt(height * width) / math.sqrt(power or 1.0)  # a single pixel
        amplitude[0, 0] = _MEAN * math.sqrt(height * width)

        self.frequency, self.multiplicity, self.amplitude = (
            torch.tensor(each, device=device, dtype=torch.float32)
            for each in (frequency, weights, amplitude if measured is None else measured)
        )
        self.bands = Bands(frequency.astype(np.float32), weights, max(size), device)
        power_of_one = self.amplitude.flatten(-2).square()
        self._shares = (power_of_one / (height * width))[..., 1:]

    @property
    def shape(self) -> tuple[int, int]:
        """Of the coefficients."""
        return self.size[0], self.size[1] // 2 + 1

    def gate(self, highest: float) -> Tensor:
        """1 for frequencies well below `highest`, 0 well above it, (h, w // 2 + 1)."""
        return torch.sigmoid((highest - self.frequency) / (0.15 * highest))

    def cap(self, x: Tensor, limits: Limits) -> Tensor:
        """Scale coefficients down where their power is above the limits, image by image.

        Args:
            x: real and imaginary parts, (B, C, h, w // 2 + 1, 2).
            limits: of each band, and of all of them together.
        """
        squares = x * x
        power = ((squares[..., 0] + squares[..., 1]) * self.multiplicity).flatten(2)
        factor = self.bands.factors(power, limits)
        if limits.total:
            power = (power * factor.square())[:, :, 1:] * self._shares
            factor *= (limits.total / power.sum(2).sqrt()).clamp(max=1)[:, :, None]
        return x * factor.reshape(x.shape[:-1])[..., None]


class Bands:
    """Coefficients by their frequency, band after band; frequency 0 is alone.

    Attributes:
        middles: of each band its frequency.
        places: of its coefficients, flat.

    Args:
        frequency: in cycles per pixel, (h, w // 2 + 1).
        weights: of each coefficient in a sum, of the same shape.
        side: the longer one of the images, in pixels.
        device: where sums are made.
    """

    def __init__(
        self,
        frequency: npt.NDArray[np.float32],
        weights: npt.NDArray[np.float64],
        side: int,
        device: torch.device,
    ) -> None:
        edges = np.geomspace(min(1.5 / side, _HIGHEST), _HIGHEST, _BANDS - 1)
        middles = np.array([0.0, 1 / side, *np.sqrt(edges[1:] * edges[:-1])])
        number = np.digitize(frequency, [1e-9, *edges[:-1]]).ravel()
        found, places, sizes = np.unique(number, return_inverse=True, return_counts=True)
        order = np.argsort(number, kind="stable")
        counts = torch.tensor(weights, dtype=torch.float32).flatten()[order].split(sizes.tolist())
        self.middles, self._sizes = middles[found].tolist(), sizes.tolist()
        self._order, self._bands = (torch.from_numpy(a).to(device) for a in (order, places))
        self.places = self._order.split(self._sizes)
        self._counts = torch.stack([each.sum() for each in counts]).to(device)

    def factors(self, power: Tensor, limits: Limits) -> Tensor:
        """What each coefficient must be multiplied with, of powers (B, C, n)."""
        parts = power.gather(2, self._order.expand_as(power)).split(self._sizes, 2)
        # one by one: sums must not depend on the batch
        sums = torch.stack([part.sum(2) for part in parts], -1)
        sizes = (sums / self._counts).sqrt()
        most = [limits.band(middle) for middle in self.middles]
        caps = torch.stack([(m / sizes[..., b]).clamp(max=1) for b, m in enumerate(most)], -1)
        return caps.gather(2, self._bands.expand_as(power))
