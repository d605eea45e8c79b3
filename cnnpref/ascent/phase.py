"""Images whose spectrum has a given magnitude: only its phase varies (Fel et al. 2023, MACO)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cnnpref.ascent.canvas import CanvasImages, Colours
from cnnpref.ascent.variables import Draws
from cnnpref.errors import UserError
from cnnpref.geometry import Shape

# Columns: its components as red, green and blue; transposed from the authors' code (xplique).
_MACO_AXES = ((0.563, 0.195, 0.043), (0.584, 0.0, -0.108), (0.584, -0.195, 0.065))
_LEAST = 1e-5  # added to standard deviations


def maco_colours(channels: int) -> Colours:
    """The authors' for 3 channels, red, green, blue; else each channel for itself."""
    if channels == 3:
        return Colours((0.0, 0.0, 0.0), _MACO_AXES)
    return Colours.separate(channels)


class PhaseImages(CanvasImages):
    """Variables (B, C, h, w // 2 + 1): the phases of the components, which have its amplitudes."""

    @property
    def shape(self) -> Shape:
        return self.coefficients

    def noise(self, draws: Draws) -> npt.NDArray[np.float64]:
        return draws.standard_normal(self.shape)

    def components(self, x: Tensor, gate: Tensor | None = None) -> Tensor:
        amplitude = self.spectrum.amplitude if gate is None else self.spectrum.amplitude * gate
        phase = _standardised(x)
        # not `polar`: its gradient rounds the last values of a tensor differently from the others
        coefficients = torch.complex(amplitude * torch.cos(phase), amplitude * torch.sin(phase))
        return _standardised(torch.fft.irfft2(coefficients, s=self.spectrum.size, norm="ortho"))

    def from_components(self, components: Tensor) -> Tensor:
        raise UserError(
            "an image whose magnitudes are given cannot start from another image: leave `initial`"
            " out, or take the method spectral"
        )


def _standardised(x: Tensor) -> Tensor:
    """Each row less its mean and over its standard deviation, whatever the other rows are."""
    rows = x.flatten(1)
    rows = rows - rows.mean(1, keepdim=True)
    deviation = rows.square().mean(1, keepdim=True).sqrt()
    return (rows / (deviation + _LEAST)).reshape(x.shape)
