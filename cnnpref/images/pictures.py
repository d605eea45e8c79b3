"""Pictures of any kind as a net is shown them: 8 bits, its channels, its size."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from cnnpref.errors import UserError

Bytes = npt.NDArray[np.uint8]
Content = bytes | npt.NDArray[Any]
"""A file of an image, or the pixels (H, W) or (H, W, C) of one."""

MOST = 110_000_000  # pixels, of which 20 bytes each are needed in between; cameras have fewer
_BACKGROUND = "white"  # behind what is transparent
_SMOOTH = Image.Resampling.BILINEAR  # Pillow's averages over all pixels of what it shrinks


class UnreadableError(Exception):
    """An image that cannot be read; says why, in a few words."""


@dataclass(frozen=True)
class Frame:
    """How pictures of any size become those of a net.

    A picture is scaled until its shorter side is `resize` pixels long, or to `resize` (height,
    width), or, where that is None, just so that it covers the net's image; then its middle counts.

    Attributes:
        size: (H, W) of the net's image.
        channels: of the net's image: 3 are RGB, 1 is grey, others are only had from arrays.
        resize: pixels.

    Raises:
        UserError: pictures would not cover the net's image.
    """

    size: tuple[int, int]
    channels: int = 3
    resize: int | tuple[int, int] | None = None

    def __post_init__(self) -> None:
        given = self.resize
        if given is None:
            return
        rows, columns = (given, given) if isinstance(given, int) else given
        if rows < self.size[0] or columns < self.size[1]:
            raise UserError(
                f"references: resize: got {self.resize}; pictures must cover the net's image of "
                f"{self.size[0]} x {self.size[1]}: give no less, or leave it out"
            )

    def show(self, content: Content) -> Bytes:
        """What the net sees of an image, (H, W, C).

        Raises:
            UnreadableError: it is damaged, or its pixels or channels mean nothing to the net.
        """
        if isinstance(content, bytes):
            image = _decoded(content, 2 * self._shorter)
        else:
            pixels = _eight_bits(content)
            if pixels.shape[2] == self.channels not in (1, 3):
                planes = (Image.fromarray(pixels[..., c].copy()) for c in range(self.channels))
                return np.stack([np.asarray(self._scaled(plane)) for plane in planes], axis=-1)
            image = _image(pixels)
        if self.channels not in (1, 3):
            raise UnreadableError(f"it has other channels than the net's {self.channels}")
        shown = np.asarray(self._scaled(image.convert("RGB" if self.channels == 3 else "L")))
        return shown.reshape(*self.size, self.channels)

    @property
    def _shorter(self) -> int:
        """Pixels of the shorter side, at least."""
        given = self.resize or max(self.size)
        return given if isinstance(given, int) else max(given)

    def _scaled(self, image: Image.Image) -> Image.Image:
        """The middle of an image, scaled to the net's size, in one step."""
        (height, width), (rows, columns) = self.size, image.size[::-1]
        down, across = self._scale(rows, columns)
        top, left = (rows - height / down) / 2, (columns - width / across) / 2
        box = (max(0.0, left), max(0.0, top), min(columns, columns - left), min(rows, rows - top))
        return image.resize((width, height), _SMOOTH, box)

    def _scale(self, rows: int, columns: int) -> tuple[float, float]:
        if self.resize is None:
            scale = max(self.size[0] / rows, self.size[1] / columns)
        elif isinstance(self.resize, int):
            scale = self.resize / min(rows, columns)
        else:
            return self.resize[0] / rows, self.resize[1] / columns
        return scale, scale


def _decoded(data: bytes, side: int) -> Image.Image:
    """An image file, upright, in RGB or grey.

    Args:
        data: the file.
        side: a JPEG may be decoded smaller, with no side shorter than so many pixels.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large images, odd metadata
            with Image.open(BytesIO(data)) as image:
                image.draft(None, (side, side))
                demand_size(image)
                image.load()
                return _opaque(_of_eight_bits(ImageOps.exif_transpose(image)))
    except UnreadableError:
        raise
    except Exception as error:  # Pillow's readers raise almost anything for damaged files
        raise UnreadableError(_reason(error)) from None


def demand_size(image: Image.Image) -> None:
    """Raise UnreadableError before more pixels are decoded than there is memory for."""
    if image.width * image.height > MOST:
        raise UnreadableError(f"{image.width} x {image.height} pixels, more than {MOST:,}")


def _reason(error: Exception) -> str:
    if "cannot identify image file" in str(error):
        return "no image, or of a kind that is not known"
    return " ".join(str(error).split()) or type(error).__name__


def _of_eight_bits(image: Image.Image) -> Image.Image:
    """An image of 16 bits per pixel as one of 8; others as they are."""
    if image.mode[0] not in "IF":
        return image
    values = np.asarray(image)
    low, high = values.min(), values.max()
    if image.mode == "F" or low < 0 or high > 65535:
        raise UnreadableError(f"its values are {low:g} to {high:g}, not of 8 or 16 bits")
    scaled = values.astype(np.uint32)
    scaled *= 255
    scaled //= 65535
    return Image.fromarray(scaled.astype(np.uint8))


def _opaque(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image if image.mode == "L" else image.convert("RGB")
    layer = image.convert("RGBA")
    whole = Image.new("RGBA", layer.size, _BACKGROUND)
    return Image.alpha_composite(whole, layer).convert("RGB")


def _eight_bits(pixels: npt.NDArray[Any]) -> Bytes:
    """Pixels (H, W) or (H, W, C) of any numbers within 0..255 as bytes (H, W, C)."""
    x = pixels[..., None] if pixels.ndim == 2 else pixels
    if x.ndim != 3 or not x.size or x.dtype.kind not in "uif":
        raise UnreadableError(f"numbers (H, W, C) wanted, got {pixels.shape} of {pixels.dtype}")
    if x.dtype == np.uint8:
        return x
    low, high = x.min(), x.max()
    if not (low >= 0 and high <= 255):
        raise UnreadableError(f"its values are {low:g} to {high:g}, not within 0 to 255")
    return x.round().astype(np.uint8)


def _image(pixels: Bytes) -> Image.Image:
    channels = pixels.shape[2]
    if channels not in (1, 3):
        raise UnreadableError(f"it has {channels} channels, the net takes 1 or 3")
    return Image.fromarray(np.ascontiguousarray(pixels[..., 0] if channels == 1 else pixels))
