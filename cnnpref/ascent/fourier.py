"""Images as Fourier coefficients in units of the spectrum that natural images have.

Power falls as 1 / f^(2 alpha) in natural images (Field 1987); coefficients of size 1 stand for it.
A cap on the power of every band keeps noise out that a net would answer to but nobody would see.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cnnpref.ascent.variables import Draws, whole_images
from cnnpref.geometry import Box, crop
from cnnpref.input_space import InputSpace
from cnnpref.nets.net import Net

_START = 0.3  # size of the coefficients at the start, in units of the spectrum
_MEAN = 0.35  # of the coefficient of frequency 0, in units of root pixels
_BANDS = 13  # of frequencies, log-spaced; the last ends at the corner
_HIGHEST = 0.7072
_FINE = 0.05  # cycles per pixel, from where limits fall
_EDGE = 1 / 64  # of 0..1: how near to its ends a given image is taken

# Logits of photographs: their mean, and as columns their principal components times the root of
# their variance. Measured on 2,000 crops of 320 photographs.
_PHOTO_MEAN = (0.131, 0.059, -0.228)
_PHOTO_AXES = ((-1.725, -0.898, 0.198), (-1.712, -0.049, -0.407), (-1.918, 0.851, 0.185))


@dataclass(frozen=True)
class Colours:
    """From components to the logits of channels: `axes @ components + mean`.

    Attributes:
        mean: (C,).
        axes: (C, C).
    """

    mean: tuple[float, ...]
    axes: tuple[tuple[float, ...], ...]

    @classmethod
    def of_photographs(cls, channels: int, chroma: float = 1.0) -> Colours:
        """Those of photographs for 3 channels, red, green, blue; else each channel for itself.

        Args:
            channels: of the images.
            chroma: multiplies the components that are not brightness.
        """
        if channels != 3:
            deviation = -_PHOTO_AXES[1][0]
            eye = np.eye(channels) * deviation
            return cls((0.0,) * channels, tuple(map(tuple, eye.tolist())))
        scaled = tuple((a, chroma * b, chroma * c) for a, b, c in _PHOTO_AXES)
        return cls(_PHOTO_MEAN, scaled)


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


class Spectrum:
    """The frequencies of real images (h, w) in the layout of `rfft2`, (h, w // 2 + 1).

    Attributes:
        size: (h, w).
        frequency: in cycles per pixel.
        multiplicity: how many coefficients of the full transform each one stands for, 1 or 2.
        amplitude: what a coefficient of size 1 stands for.
    """

    def __init__(self, size: tuple[int, int], alpha: float, device: torch.device) -> None:
        height, width = self.size = size
        rows, columns = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
        frequency = np.sqrt(rows**2 + columns**2)
        multiplicity = np.full_like(frequency, 2.0)
        multiplicity[:, 0] = 1
        if width % 2 == 0:
            multiplicity[:, -1] = 1
        floor = 1 / max(size)
        falling = np.maximum(frequency, floor) ** -alpha
        power = (multiplicity * falling**2)[frequency > 0].sum()
        amplitude = falling * math.sqrt(height * width) / math.sqrt(power)
        amplitude[0, 0] = _MEAN * math.sqrt(height * width)

        self.frequency, self.multiplicity, self.amplitude = (
            torch.tensor(each, device=device, dtype=torch.float32)
            for each in (frequency, multiplicity, amplitude)
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Of the coefficients."""
        return self.size[0], self.size[1] // 2 + 1

    def gate(self, highest: float) -> Tensor:
        """1 for frequencies well below `highest`, 0 well above it, (h, w // 2 + 1)."""
        return torch.sigmoid((highest - self.frequency) / (0.15 * highest))

    @cached_property
    def _bands(self) -> list[tuple[float, Tensor]]:
        """Of each band its middle and the flat places of its coefficients; frequency 0 is alone."""
        lowest = 1.5 / max(self.size)
        edges = np.geomspace(lowest, _HIGHEST, _BANDS - 1)
        middles = [0.0, 1 / max(self.size), *np.sqrt(edges[1:] * edges[:-1])]
        band = np.digitize(self.frequency.cpu().numpy(), [1e-9, *edges[:-1]]).ravel()
        places = (np.flatnonzero(band == number) for number in range(_BANDS))
        found = ((m, torch.from_numpy(p)) for m, p in zip(middles, places, strict=True) if len(p))
        return [(middle, place.to(self.frequency.device)) for middle, place in found]

    def cap(self, x: Tensor, limits: Limits) -> Tensor:
        """Scale coefficients down where their power is above the limits, image by image.

        Args:
            x: real and imaginary parts, (B, C, h, w // 2 + 1, 2).
            limits: of each band, and of all of them together.
        """
        power = (x.square().sum(-1) * self.multiplicity).flatten(2)
        factor, counts = torch.ones_like(power), self.multiplicity.flatten()
        for middle, places in self._bands:  # one by one: sums must not depend on the batch
            size = (power[:, :, places].sum(2) / counts[places].sum()).sqrt()
            factor[:, :, places] = (limits.band(middle) / size).clamp(max=1)[:, :, None]
        if limits.total:
            shares = (self.amplitude.flatten().square() / (self.size[0] * self.size[1]))[1:]
            power = (power * factor.square())[:, :, 1:] * shares
            factor *= (limits.total / power.sum(2).sqrt()).clamp(max=1)[:, :, None]
        return x * factor.reshape(x.shape[:-1])[..., None]


class FourierImages:
    """Variables (B, C, h, w // 2 + 1, 2): real and imaginary parts of the components' spectra.

    Args:
        net: the network.
        canvas: the part of the image that varies; the rest is the mean that was subtracted.
        box: the part of the image that is looked at.
        alpha: how fast the amplitude falls with the frequency.
        colours: from components to channels.
    """

    def __init__(self, net: Net, canvas: Box, box: Box, alpha: float, colours: Colours) -> None:
        self.net, self.canvas, self.box = net, canvas, box
        top, left, bottom, right = canvas
        device = net.device
        self.spectrum = Spectrum((bottom - top, right - left), alpha, device)
        self.mean = torch.tensor(colours.mean, device=device)[:, None, None]
        self.axes = torch.tensor(colours.axes, device=device)
        channels = net.input_shape[0]
        self.shape = (channels, *self.spectrum.shape, 2)
        self.lower, self.upper = (torch.tensor(end, device=device) for end in (-math.inf, math.inf))
        self._rgb = InputSpace(tuple(range(channels)), (0.0,) * channels, (1.0,) * channels)

    def noise(self, draws: Draws) -> npt.NDArray[np.float64]:
        """Normal numbers of the size of the start."""
        return _START * math.sqrt(0.5) * draws.standard_normal(self.shape)

    def start(self, draws: Sequence[Draws], given: Sequence[npt.ArrayLike] | None = None) -> Tensor:
        """From noise, or from RGB images of the net's size, 0..255.

        Raises:
            UserError: an image has another size than the net's input.
        """
        if given is None:
            noise = np.stack([self.noise(each) for each in draws]).astype(np.float32)
            return torch.from_numpy(noise).to(self.net.device)
        full = whole_images(self.net, given)
        part = crop(np.moveaxis(np.stack(full), -1, -3), self.canvas) / 255
        logits = torch.logit(torch.tensor(part, dtype=torch.float64).clamp(_EDGE, 1 - _EDGE))
        mean, axes = self.mean.cpu().double(), torch.linalg.inv(self.axes.cpu().double())
        components = torch.einsum("kc,bchw->bkhw", axes, logits - mean)
        found = torch.fft.rfft2(components, norm="ortho") / self.spectrum.amplitude.cpu()
        return torch.view_as_real(found).float().to(self.net.device)

    def canvas_images(self, x: Tensor, gate: Tensor | None = None) -> Tensor:
        """The images of the canvas, (B, C, h, w) in 0..1; differentiable.

        Args:
            x: the variables.
            gate: multiplies the coefficients, (h, w // 2 + 1).
        """
        amplitude = self.spectrum.amplitude if gate is None else self.spectrum.amplitude * gate
        coefficients = torch.view_as_complex(x) * amplitude
        components = torch.fft.irfft2(coefficients, s=self.spectrum.size, norm="ortho")
        # one by one: a product of matrices would sum in an order that depends on the batch
        logits = sum(
            self.axes[:, k, None, None] * components[:, k : k + 1] for k in range(len(self.axes))
        )
        # the sigmoid; PyTorch's own rounds the last values of a tensor differently from the others
        return 0.5 + 0.5 * torch.tanh(0.5 * (logits + self.mean))

    def encode(self, images: Tensor) -> Tensor:
        """Images (B, C, h, w) in 0..1 as the net's input; differentiable."""
        return self.net.space.convert(255 * images, self._rgb)

    def net_input(self, x: Tensor) -> Tensor:
        return self.encode(crop(self.canvas_images(x), self.seen))

    @property
    def seen(self) -> Box:
        """The part that is looked at, in the canvas."""
        top, left, bottom, right = self.box
        down, across = self.canvas[:2]
        return top - down, left - across, bottom - down, right - across

    @torch.no_grad()
    def images(self, x: Tensor) -> npt.NDArray[np.float32]:
        whole = np.zeros((len(x), *self.net.input_shape), np.float32)
        crop(whole, self.canvas)[:] = self.encode(self.canvas_images(x)).cpu().numpy()
        return self.net.space.decode(whole)

    def latents(self, x: Tensor) -> None:
        return None
