"""What natural images are like, as far as the methods use it: their colours and their spectrum."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import map_coordinates

from cnnpref.ascent.canvas import Colours
from cnnpref.ascent.spectrum import multiplicity
from cnnpref.errors import UserError

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class NaturalStatistics:
    """Of images (H, W, C), in logits of value / 255, which are clipped to 1/64 .. 63/64.

    Attributes:
        mean: of each channel, (C,).
        components: as columns the principal components of the covariance times the root of their
            variance, largest first, (C, C): logits = components @ z + mean has z of variance 1.
        magnitude: root mean of |rfft2(z)|^2 of each component, in any unit, (C, H, W // 2 + 1).
        width: W, of which `magnitude` has but the half.
    """

    mean: Doubles
    components: Doubles
    magnitude: Doubles
    width: int

    def __post_init__(self) -> None:
        channels, height, half = self.magnitude.shape if self.magnitude.ndim == 3 else (0, 0, 0)
        fit = self.mean.shape == (channels,) and self.components.shape == (channels, channels)
        if not channels or not fit or half != self.width // 2 + 1 or height * self.width < 2:
            raise UserError(
                f"natural statistics: mean {self.mean.shape}, components {self.components.shape},"
                f" magnitude {self.magnitude.shape} and width {self.width} do not fit; wanted are"
                " (C,), (C, C) and (C, H, W // 2 + 1)"
            )

    @classmethod
    def of_images(cls, images: npt.ArrayLike) -> NaturalStatistics:
        """Measured on images (N, H, W, C), 0..255; at least 2.

        Raises:
            UserError: they are no such images.
        """
        given = np.asarray(images)
        if given.ndim != 4 or len(given) < 2:
            raise UserError(f"natural statistics need images (N, H, W, C), got {given.shape}")
        share = (given / 255.0).clip(1 / 64, 63 / 64)
        logits = np.log(share / (1 - share))
        mean = logits.mean((0, 1, 2))
        flat = (logits - mean).reshape(-1, len(mean))
        values, vectors = np.linalg.eigh(flat.T @ flat / len(flat))
        components = (vectors * np.sqrt(values.clip(1e-12)))[:, ::-1]
        apart = (logits - mean) @ np.linalg.inv(components).T
        spectrum = np.fft.rfft2(np.moveaxis(apart, -1, 1), norm="ortho")
        magnitude = np.sqrt((np.abs(spectrum) ** 2).mean(0))
        return cls(mean, components, magnitude, given.shape[2])

    @property
    def colours(self) -> Colours:
        """From components to channels."""
        axes = tuple(map(tuple, self.components.tolist()))
        return Colours(tuple(self.mean.tolist()), axes)

    def amplitude(self, size: tuple[int, int]) -> Doubles:
        """What a coefficient of size 1 stands for in images (h, w), (C, h, w // 2 + 1).

        As `Spectrum` has it: with coefficients of size 1 a component has the standard deviation 1
        without its mean, whose share of it is that of the images that were measured.
        """
        height, width = size
        amplitude = np.stack([_at_frequencies(m, self.width, size) for m in self.magnitude])
        amplitude *= math.sqrt(height * width) / _deviation(amplitude, width)
        share = self.magnitude[:, 0, 0] / _deviation(self.magnitude, self.width)[:, 0, 0]
        amplitude[:, 0, 0] = share * math.sqrt(height * width)
        return amplitude


def _deviation(magnitude: Doubles, width: int) -> Doubles:
    """The root of the power of all frequencies but 0, (C, 1, 1)."""
    power = magnitude**2 * multiplicity(magnitude.shape[1], width)
    power[:, 0, 0] = 0
    return np.sqrt(power.sum((1, 2), keepdims=True))


def _at_frequencies(magnitude: Doubles, width: int, size: tuple[int, int]) -> Doubles:
    """Magnitudes (H, W // 2 + 1) at the frequencies of another size, by interpolation."""
    height, known = len(magnitude), magnitude.copy()
    known[0, 0] = max(known[1 % height, 0], known[0, 1 % known.shape[1]])  # not the mean's
    known = np.log(np.maximum(known, 1e-6 * known.max()))
    known = np.concatenate([known[(height + 1) // 2 :], known[: height // 2 + 1]])
    rows = np.fft.fftfreq(size[0]) * height + height // 2
    columns = np.fft.rfftfreq(size[1]) * width
    places = np.stack(np.meshgrid(rows, columns, indexing="ij"))
    return np.exp(map_coordinates(known, places, order=1, mode="nearest"))
