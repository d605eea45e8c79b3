"""Images as Fourier coefficients in units of the spectrum that natural images have.

Power falls as 1 / f^(2 alpha) in natural images (Field 1987); coefficients of size 1 stand for that.
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
import torch.nn.functional as F
from torch import Tensor

from cnnpref.ascent.variables import Draws
from cnnpref.errors import UserError
from cnnpref.geometry import Box, crop
from cnnpref.input_space import InputSpace
from cnnpref.nets.net import Net

_START = 0.3  # size of the coefficients at the start, in units of the spectrum
_MEAN = 0.35  # of the coefficient of frequency 0, in units of root pixels
_BANDS = 13  # of frequencies, log-spaced; the last ends at the corner
_HIGHEST = 0.7072
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
        to = {"device": device, "dtype": torch.float32}
        self.frequency, self.multiplicity, self.amplitude = (
            torch.tensor(each, **to) for each in (frequency, multiplicity, amplitude)
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Of the coefficients."""
        return self.size[0], self.size[1] // 2 + 1

    def gate(self, highest: float) -> Tensor:
        """1 for frequencies well below `highest`, 0 well above it, (h, w // 2 + 1)."""
        return torch.sigmoid((highest - self.frequency) / (0.15 * highest))

    @cached_property
    def _bands(self) -> list[Tensor]:
        """The flat places of the coefficients of each band, ascending: frequency 0 alone first."""
        lowest = 1.5 / max(self.size)
        edges = np.geomspace(lowest, _HIGHEST, _BANDS - 1)
        band = np.digitize(self.frequency.cpu().numpy(), [1e-9, *edges[:-1]]).ravel()
        places = (np.flatnonzero(band == number) for number in range(_BANDS + 1))
        return [torch.from_numpy(p).to(self.frequency.device) for p in places if len(p)]

    def cap(self, coefficients: Tensor, most: float) -> Tensor:
        """Scale down the bands whose root mean power is above `most`, image by image.

        Args:
            coefficients: real and imaginary parts, (B, C, h, w // 2 + 1, 2).
            most: in units of the spectrum.
        """
        power = coefficients.square().sum(-1) * self.multiplicity
        flat, factor = power.flatten(2), torch.ones_like(power).flatten(2)
        weights = self.multiplicity.flatten()
        for places in self._bands:
            mean = flat[:, :, places].sum(2) / weights[places].sum()
            factor[:, :, places] = (most / mean.sqrt()).clamp(max=1)[:, :, None]
        return coefficients * factor.reshape(power.shape)[..., None]


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

    def start(
        self, draws: Sequence[Draws], given: Sequence[npt.ArrayLike] | None = None
    ) -> Tensor:
        """From noise, or from RGB images of the net's size, 0..255.

        Raises:
            UserError: an image has another size than the net's input.
        """
        if given is None:
            noise = np.stack([self.noise(each) for each in draws]).astype(np.float32)
            return torch.from_numpy(noise).to(self.net.device)
        channels, height, width = self.net.input_shape
        try:
            full = [np.broadcast_to(np.asarray(i, float), (height, width, channels)) for i in given]
        except ValueError:
            raise UserError(
                f"the initial image must have shape ({height}, {width}, {channels}), got "
                f"{', '.join(sorted({str(np.shape(i)) for i in given}))}"
            ) from None
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
        return torch.sigmoid(logits + self.mean)

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


@dataclass(frozen=True)
class Views:
    """How images are looked at: scaled, turned and shifted at random, with noise.

    Attributes:
        scale: the log of the range of sizes: from exp(-scale) to exp(scale) times.
        rotation: most degrees to each side.
        shift: most pixels to each side.
        noise: standard deviation, on the 0..1 scale.
    """

    scale: tuple[float, float]
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
        starts = ((chance[:, 4] + 1) / 2 * _TABLE).astype(int)
        table, count = noise_table(images.device), view[0].numel()
        rows = [table[start : start + count].reshape(view.shape[1:]) for start in starts.tolist()]
        return view + self.noise * torch.stack(rows)

    def _affine(self, images: Tensor, seen: Box, chance: npt.NDArray[np.float64]) -> Tensor:
        """The matrices (B, 2, 3) from what is seen to the canvas, as `affine_grid` wants them."""
        height, width = images.shape[-2:]
        top, left, bottom, right = seen
        low, high = self.scale
        extent = np.exp(low + (chance[:, 0] + 1) / 2 * (high - low))
        angle = np.deg2rad(self.rotation) * chance[:, 1]
        # half sizes: of what is seen, and of the canvas
        rows, columns, y, x = ((bottom - top) / 2, (right - left) / 2, height / 2, width / 2)
        theta = np.empty((len(chance), 2, 3))
        theta[:, 0, 0] = extent * np.cos(angle) * columns / x
        theta[:, 0, 1] = -extent * np.sin(angle) * rows / x
        theta[:, 1, 0] = extent * np.sin(angle) * columns / y
        theta[:, 1, 1] = extent * np.cos(angle) * rows / y
        theta[:, 0, 2] = ((left + right) / 2 + self.shift * chance[:, 2]) / x - 1
        theta[:, 1, 2] = ((top + bottom) / 2 + self.shift * chance[:, 3]) / y - 1
        return torch.from_numpy(theta.astype(np.float32)).to(images.device)


_TABLE = 2**20  # places where a stretch of the table of noise can start
_LONGEST = 2**22  # numbers of an image with noise, at most
_tables: dict[torch.device, Tensor] = {}


def noise_table(device: torch.device) -> Tensor:
    """Normal numbers, always the same: a stretch of them is noise that every device has alike."""
    if device not in _tables:
        numbers = np.random.RandomState(0).standard_normal(_TABLE + _LONGEST)
        _tables[device] = torch.from_numpy(numbers.astype(np.float32)).to(device)
    return _tables[device]
