"""Images of a canvas, made of components that are mixed to colours and squeezed into 0..1."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cnnpref.ascent.fused import Encoded, Painted
from cnnpref.ascent.importance import in_image
from cnnpref.ascent.spectrum import Spectrum
from cnnpref.ascent.variables import Draws, whole_images
from cnnpref.geometry import Box, Shape, crop, relative
from cnnpref.nets.net import Net

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
    def of_photographs(cls, channels: int) -> Colours:
        """Those of photographs for 3 channels, red, green, blue; else each channel for itself."""
        if channels == 3:
            return cls(_PHOTO_MEAN, _PHOTO_AXES)
        return cls.separate(channels, -_PHOTO_AXES[1][0])

    @classmethod
    def separate(cls, channels: int, deviation: float = 1.0) -> Colours:
        """Each channel for itself, with logits of that standard deviation."""
        eye = np.eye(channels) * deviation
        return cls((0.0,) * channels, tuple(map(tuple, eye.tolist())))

    def with_chroma(self, chroma: float) -> Colours:
        """All components but the first, which is brightness, times that; of 3 channels alone."""
        if len(self.mean) != 3:
            return self
        return Colours(self.mean, tuple((a, chroma * b, chroma * c) for a, b, c in self.axes))


class CanvasImages(ABC):
    """Variables (B, *shape) that stand for components (B, C, h, w) of the images of a canvas.

    Args:
        net: the network.
        canvas: the part that varies, which may reach beyond the image; the rest of the image is the
            mean that was subtracted.
        box: the part of the image that is looked at, inside the canvas.
        spectrum: of the components.
        colours: from components to channels.
    """

    def __init__(
        self, net: Net, canvas: Box, box: Box, spectrum: Spectrum, colours: Colours
    ) -> None:
        self.net, self.canvas, self.box, self.spectrum = net, canvas, box, spectrum
        # as the numbers that tensors of single precision would hold
        self._mean = np.array(colours.mean, np.float32).tolist()
        self._axes = np.array(colours.axes, np.float32).tolist()
        bounds = (torch.tensor(end, device=net.device) for end in (-math.inf, math.inf))
        self.lower, self.upper = bounds

    @property
    def coefficients(self) -> Shape:
        """The shape of the components' spectra, (C, h, w // 2 + 1)."""
        return self.net.input_shape[0], *self.spectrum.shape

    @property
    @abstractmethod
    def shape(self) -> Shape:
        """Of the variables of a row."""

    @abstractmethod
    def noise(self, draws: Draws) -> npt.NDArray[np.float64]:
        """The start of a row, (*shape)."""

    @abstractmethod
    def components(self, x: Tensor, gate: Tensor | None = None) -> Tensor:
        """The components (B, C, h, w) of standard deviation about 1; differentiable.

        Args:
            x: the variables.
            gate: multiplies the coefficients of their spectrum, (h, w // 2 + 1).
        """

    @abstractmethod
    def from_components(self, components: Tensor) -> Tensor:
        """The variables that have these components, in double precision.

        Raises:
            UserError: there are none.
        """

    def start(self, draws: Sequence[Draws], given: Sequence[npt.ArrayLike] | None = None) -> Tensor:
        """From noise, or from RGB images of the net's size, 0..255, mirrored beyond their edges.

        Raises:
            UserError: an image has another size than the net's input; there are no variables for
                images that are given.
        """
        if given is None:
            noise = np.stack([self.noise(each) for each in draws]).astype(np.float32)
            return torch.from_numpy(noise).to(self.net.device)
        full = np.moveaxis(np.stack(whole_images(self.net, given)), -1, -3)
        part = torch.tensor(_mirrored(full, self.canvas) / 255, dtype=torch.float64)
        logits = torch.logit(part.clamp(_EDGE, 1 - _EDGE))
        mean = torch.tensor(self._mean, dtype=torch.float64)[:, None, None]
        axes = torch.linalg.inv(torch.tensor(self._axes, dtype=torch.float64))
        components = torch.einsum("kc,bchw->bkhw", axes, logits - mean)
        return self.from_components(components).float().to(self.net.device)

    def canvas_images(self, x: Tensor, gate: Tensor | None = None) -> Tensor:
        """The images of the canvas, (B, C, h, w) in 0..1; differentiable."""
        painted: Tensor = Painted.apply(self.components(x, gate), self._axes, self._mean)
        return painted

    def encode(self, images: Tensor) -> Tensor:
        """Images (B, C, h, w) in 0..1 as the net's input; differentiable."""
        space = self.net.space
        encoded: Tensor = Encoded.apply(images, space.order, space.mean, space.scale)
        return encoded

    def net_input(self, x: Tensor) -> Tensor:
        return self.encode(crop(self.canvas_images(x), self.seen))

    @property
    def seen(self) -> Box:
        """The part that is looked at, in the canvas."""
        return relative(self.box, self.canvas)

    @torch.no_grad()
    def images(self, x: Tensor) -> npt.NDArray[np.float32]:
        whole = in_image(self.encode(self.canvas_images(x)), self.canvas, self.net.image_size)
        return self.net.space.decode(whole.cpu().numpy())

    def latents(self, x: Tensor) -> None:
        return None


def _mirrored(images: npt.NDArray[np.float32], canvas: Box) -> npt.NDArray[np.float32]:
    """The canvas's part of images (..., H, W), which go on mirrored beyond their edges."""
    height, width = images.shape[-2:]
    top, left, bottom, right = canvas
    rows, columns = np.arange(top, bottom), np.arange(left, right)
    rows, columns = (
        np.minimum(at % (2 * size), 2 * size - 1 - at % (2 * size))
        for at, size in ((rows, height), (columns, width))
    )
    return images[..., rows[:, None], columns]
