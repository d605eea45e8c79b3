"""Images as Fourier coefficients in units of the spectrum that natural images have.

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

from cnnpref.ascent.canvas import CanvasImages, Colours
from cnnpref.ascent.variables import Draws
from cnnpref.geometry import Box
from cnnpref.nets.net import Net

_START = 0.3  # size of the coefficients at the start, in units of the spectrum
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
        bands = _bands(frequency.astype(np.float32), max(size))
        self._bands = [(m, torch.from_numpy(places).to(device)) for m, places in bands]

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
        real, imaginary = x.unbind(-1)
        power = ((real * real + imaginary * imaginary) * self.multiplicity).flatten(2)
        factor, counts = torch.ones_like(power), self.multiplicity.flatten()
        for middle, places in self._bands:  # one by one: sums must not depend on the batch
            size = (power[:, :, places].sum(2) / counts[places].sum()).sqrt()
            factor[:, :, places] = (limits.band(middle) / size).clamp(max=1)[:, :, None]
        if limits.total:
            power_of_one = self.amplitude.flatten(-2).square()
            shares = (power_of_one / (self.size[0] * self.size[1]))[..., 1:]
            power = (power * factor.square())[:, :, 1:] * shares
            factor *= (limits.total / power.sum(2).sqrt()).clamp(max=1)[:, :, None]
        return x * factor.reshape(x.shape[:-1])[..., None]


def _bands(
    frequency: npt.NDArray[np.float32], side: int
) -> list[tuple[float, npt.NDArray[np.int64]]]:
    """Of each band its middle and the flat places of its coefficients; frequency 0 is alone.

    Args:
        frequency: in cycles per pixel, (h, w // 2 + 1).
        side: the longer one of the images, in pixels.
    """
    edges = np.geomspace(min(1.5 / side, _HIGHEST), _HIGHEST, _BANDS - 1)
    middles = [0.0, 1 / side, *np.sqrt(edges[1:] * edges[:-1])]
    band = np.digitize(frequency, [1e-9, *edges[:-1]]).ravel()
    places = (np.flatnonzero(band == number) for number in range(_BANDS))
    return [(middle, at) for middle, at in zip(middles, places, strict=True) if len(at)]


class FourierImages(CanvasImages):
    """Variables (B, C, h, w // 2 + 1, 2): real and imaginary parts of the components' spectra.

    Args:
        net: the network.
        canvas: the part of the image that varies.
        box: the part of the image that is looked at.
        spectrum: in whose units the variables are.
        colours: from components to channels.
    """

    def __init__(
        self, net: Net, canvas: Box, box: Box, spectrum: Spectrum, colours: Colours
    ) -> None:
        super().__init__(net, canvas, box, colours)
        self.spectrum = spectrum
        self.shape = (net.input_shape[0], *self.spectrum.shape, 2)

    def noise(self, draws: Draws) -> npt.NDArray[np.float64]:
        return _START * math.sqrt(0.5) * draws.standard_normal(self.shape)

    def components(self, x: Tensor, gate: Tensor | None = None) -> Tensor:
        amplitude = self.spectrum.amplitude if gate is None else self.spectrum.amplitude * gate
        both = torch.stack([amplitude, amplitude], -1)  # times real numbers, not complex ones
        coefficients = torch.view_as_complex(x * both)
        return torch.fft.irfft2(coefficients, s=self.spectrum.size, norm="ortho")

    def from_components(self, components: Tensor) -> Tensor:
        found = torch.fft.rfft2(components, norm="ortho") / self.spectrum.amplitude.cpu()
        return torch.view_as_real(found)
