"""Images as Fourier coefficients in units of the spectrum that natural images have."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cnnpref.ascent.canvas import CanvasImages
from cnnpref.ascent.variables import Draws
from cnnpref.geometry import Shape

_START = 0.3  # size of the coefficients at the start, in units of the spectrum


class FourierImages(CanvasImages):
    """Variables (B, C, h, w // 2 + 1, 2): the components' spectra, in units of the natural one.

    The last axis is of real and imaginary parts.
    """

    @property
    def shape(self) -> Shape:
        return *self.coefficients, 2

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
