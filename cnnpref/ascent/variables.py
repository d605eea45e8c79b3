"""What varies, and how the net's input is made of it: pixels, or a generator's features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from cnnpref.errors import UserError
from cnnpref.geometry import Box, Shape, crop
from cnnpref.input_space import InputSpace
from cnnpref.nets.independence import check_part
from cnnpref.nets.net import Net, full_part
from cnnpref.nets.pycaffe import as_net
from cnnpref.nets.readout import Part


class Draws(Protocol):
    """A source of random numbers: a NumPy RandomState, or the module `numpy.random` itself."""

    def randint(self, low: int, high: int, size: Any) -> npt.NDArray[np.int64]:
        """Integers in low .. high - 1."""

    def standard_normal(self, size: Any) -> npt.NDArray[np.float64]:
        """Normal numbers of mean 0 and standard deviation 1."""


class Variables(Protocol):
    """Variables (B, ...), and the images that they stand for."""

    lower: Tensor  # bounds of the variables, broadcast against one row
    upper: Tensor

    def noise(self, draws: Draws) -> npt.NDArray[Any]:
        """Random values for one row, (...)."""

    def start(self, draws: Sequence[Draws], given: Sequence[npt.ArrayLike] | None) -> Tensor:
        """Variables from what is given, one per row, or else random ones."""

    def net_input(self, x: Tensor) -> Tensor:
        """The part of the net's input that is looked at, (B, C, h, w); differentiable."""

    def images(self, x: Tensor) -> npt.NDArray[np.float32]:
        """Images (B, H, W, C), 0..255, not clipped; RGB where C is 3."""

    def latents(self, x: Tensor) -> npt.NDArray[np.float32] | None:
        """What to save of the variables beside the images, (B, ...)."""


def whole_images(net: Net, given: Sequence[npt.ArrayLike]) -> list[npt.NDArray[np.float32]]:
    """Images (H, W, C) of the net's size, from such images or from single colours.

    Args:
        net: the network.
        given: images, or colours (C,); a colour (3,) of three equal numbers is a grey for any C.

    Raises:
        UserError: something else.
    """
    channels, height, width = net.input_shape
    arrays = [np.asarray(each, np.float32) for each in given]
    greys = [
        each[:1] if each.shape == (3,) and len({*each.tolist()}) == 1 else each for each in arrays
    ]
    try:
        return [np.broadcast_to(each, (height, width, channels)) for each in greys]
    except ValueError:
        raise UserError(
            f"the initial image must have shape ({height}, {width}, {channels}), got "
            f"{', '.join(sorted({str(each.shape) for each in arrays}))}"
        ) from None


class Pixels:
    """The image itself, in the net's input space, bounds 0 and 255; or a part of it.

    Variables (B, C, h, w) of the canvas; the rest of the image stays as it was at the start, or is
    the mean that was subtracted.

    Args:
        net: the network.
        canvas: the part of the image that varies; None is all of it.
        box: the part of the image that is looked at, inside the canvas; None is all of it.
        blank: leave the mean outside the canvas.
        ground: the colour [red, green, blue] outside the canvas where noise is the start; None is
            noise there, too.

    Raises:
        UserError: the net does not take images.
    """

    def __init__(
        self,
        net: Net,
        canvas: Box | None = None,
        box: Box | None = None,
        blank: bool = False,
        ground: npt.ArrayLike | None = None,
    ) -> None:
        self.net, self.blank, self.ground = net, blank, ground
        whole = (0, 0, *net.image_size)
        self.canvas, self.box = canvas or whole, box or whole
        bounds = (torch.from_numpy(b)[:, None, None].to(net.device) for b in net.space.bounds())
        self.lower, self.upper = bounds

    def noise(self, draws: Draws) -> npt.NDArray[np.int64]:
        """Uniform integers 0..255, (H, W, C)."""
        channels, height, width = self.net.input_shape
        return draws.randint(0, 256, (height, width, channels))

    def start(self, draws: Sequence[Draws], given: Sequence[npt.ArrayLike] | None = None) -> Tensor:
        """From images (H, W, C), 0..255, or single colours (C,), or else uniform noise.

        Raises:
            UserError: an image has another size than the net's input.
        """
        images = [self.noise(each) for each in draws] if given is None else given
        full = whole_images(self.net, images)
        if given is None and self.ground is not None:
            full = [self._within(self.ground, image) for image in full]
        x = self.net.space.encode(np.stack(full))
        self._surroundings = np.zeros_like(x) if self.blank else x
        return torch.from_numpy(crop(x, self.canvas)).to(self.net.device)

    def _within(
        self, ground: npt.ArrayLike, image: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        """The canvas of an image, on a plain ground."""
        rows, columns = slice(*self.canvas[::2]), slice(*self.canvas[1::2])
        (plain,) = map(np.copy, whole_images(self.net, [ground]))
        plain[rows, columns] = image[rows, columns]
        return plain

    def net_input(self, x: Tensor) -> Tensor:
        top, left, bottom, right = self.box
        down, across = self.canvas[:2]
        return crop(x, (top - down, left - across, bottom - down, right - across))

    def images(self, x: Tensor) -> npt.NDArray[np.float32]:
        whole = self._surroundings[: len(x)].copy()
        crop(whole, self.canvas)[:] = x.detach().cpu().numpy()
        return self.net.space.decode(whole)

    def latents(self, x: Tensor) -> None:
        return None


@dataclass(frozen=True)
class Generator:
    """A network that makes images from features.

    Attributes:
        net: the network; a live pycaffe net is taken, too.
        input: blob of the features; None is the first.
        output: blob of the image; None is the last.
        lower, upper: bounds of the features, numbers or arrays of the features' shape; None is
            no bound.
        space: the space of the images that it makes; None is what its net was loaded with (mean,
            std, scale), or else that of the net that looks at them.
        resize: stretch its images to the size of that net's, bilinearly; otherwise they must be at
            least that large, and are cropped around their centre.
    """

    net: Net
    input: str | None = None
    output: str | None = None
    lower: npt.ArrayLike | None = 0.0
    upper: npt.ArrayLike | None = 100.0
    space: InputSpace | None = None
    resize: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "net", as_net(self.net))
        object.__setattr__(self, "space", self.space or self.net.makes)


class Features:
    """The input of a generator, whose image, cropped around its centre, the net looks at.

    Variables (B, *features).

    Args:
        net: the network.
        generator: makes the images.
        box: the part of the net's image that is looked at; None is all of it.
        whole: make all of the generator's image, whatever is looked at.

    Raises:
        UserError: the generator's image is smaller than the net's input, or no image; bounds of
            another length, or crossed.
    """

    def __init__(
        self, net: Net, generator: Generator, box: Box | None = None, whole: bool = False
    ) -> None:
        self.net, self.generator = net, generator
        blobs = list(generator.net.blobs)
        self.input = generator.input or blobs[0]
        self.output = generator.output or blobs[-1]
        for blob in (self.input, self.output):
            if blob not in blobs:
                raise UserError(f"the generator has no blob {blob!r}; it has: {', '.join(blobs)}")
        self.shape: Shape = self.generator.net.blobs[self.input]
        lower = self._bound("lower", generator.lower, -np.inf)
        upper = self._bound("upper", generator.upper, np.inf)
        if (lower > upper).any():
            raise UserError("a lower bound of the generator's features is above its upper bound")
        self.lower, self.upper = (torch.from_numpy(b).to(net.device) for b in (lower, upper))
        made = self._image_size()
        self._whole = whole
        full = (0, 0, *net.image_size)
        self._part, self._all = (self._maker(made, b) for b in (box or full, full))

    def _maker(self, made: tuple[int, int], box: Box) -> Part:
        """From features to a part of the net's image.

        Args:
            made: (height, width) of the generator's image.
            box: the part.
        """
        maker, (height, width) = self.generator.net, self.net.image_size
        make = partial(full_part, maker) if self._whole else maker.part
        if self.generator.resize and made != (height, width):
            everything = make(self.input, self.output, (0, 0, *made))
            return lambda x: crop(_stretched(everything(x), (height, width)), box)
        down, right = (made[0] - height) // 2, (made[1] - width) // 2
        top, left, bottom, end = box
        shifted = (top + down, left + right, bottom + down, end + right)
        return make(self.input, self.output, shifted)

    def _bound(
        self, name: str, value: npt.ArrayLike | None, absent: float
    ) -> npt.NDArray[np.float32]:
        bound = np.asarray(absent if value is None else value, np.float32)
        count = int(np.prod(self.shape))
        if bound.size not in (1, count) or np.isnan(bound).any():
            raise UserError(
                f"the {name} bound of the generator's features needs 1 or {count} numbers, got "
                f"{bound.size}" + (" with NaN among them" if np.isnan(bound).any() else "")
            )
        return np.resize(bound, self.shape)

    def _image_size(self) -> tuple[int, int]:
        """(height, width) of the generator's images, if they can be made the net's."""
        made, wanted = self.generator.net.blobs[self.output], self.net.input_shape
        resize = self.generator.resize
        images = len(made) == 3 and made[0] == wanted[0]
        if not images or (not resize and (made[1] < wanted[1] or made[2] < wanted[2])):
            need = f"have {wanted[0]} channels" if resize else "be at least that large, or resized"
            raise UserError(
                f"the generator's blob {self.output!r} has shape {list(made)}, the net "
                f"{self.net.name!r} takes {list(wanted)}: the image must {need}"
                + ("" if resize else " (resize: true)")
            )
        return made[1], made[2]

    def noise(self, draws: Draws) -> npt.NDArray[np.float64]:
        """10 * max(0, N(0, 1)) for each feature."""
        return 10 * draws.standard_normal(self.shape).clip(min=0)

    def start(self, draws: Sequence[Draws], given: Sequence[npt.ArrayLike] | None = None) -> Tensor:
        """From features, or else random ones.

        Raises:
            UserError: features of another number; images that depend on each other, or on chance.
        """
        if not self._whole:
            check_part(self.generator.net, self.input, self.output, self._part)
        features = [self.noise(each) for each in draws] if given is None else given
        rows = [np.asarray(row, np.float32) for row in features]
        if any(row.size != np.prod(self.shape) for row in rows):
            raise UserError(
                f"the initial features must have shape {list(self.shape)}, got "
                f"{', '.join(sorted({str(list(row.shape)) for row in rows}))}"
            )
        stacked = np.stack([row.reshape(self.shape) for row in rows])
        return torch.from_numpy(stacked).to(self.net.device)

    def net_input(self, x: Tensor) -> Tensor:
        return self._in_net_space(self._part(x))

    def _in_net_space(self, made: Tensor) -> Tensor:
        space = self.generator.space
        return made if space in (None, self.net.space) else self.net.space.convert(made, space)

    def images(self, x: Tensor) -> npt.NDArray[np.float32]:
        with torch.no_grad():
            return self.net.space.decode(self._in_net_space(self._all(x)).cpu().numpy())

    def latents(self, x: Tensor) -> npt.NDArray[np.float32]:
        return x.cpu().numpy()


def _stretched(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Images (B, C, *) of that height and width, bilinearly, smoothed where they shrink."""
    return F.interpolate(images, size, mode="bilinear", antialias=True)
