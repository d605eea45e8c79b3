"""Pictures of units as the gallery shows them, and the files that browsers read."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image

from cnnpref.display import three_channels
from cnnpref.geometry import Box
from cnnpref.input_space import Array

Pixels = npt.NDArray[np.uint8]
"""(H, W, 3) to look at, or (H, W, 4) with transparency."""

TILE, SMALL = 112, 48  # sides of a tile: of the grid, and where its tiles are tiny
ACROSS = 8  # tiles in a row of a sheet, and rows
PLACES = ACROSS * ACROSS
FINE = 96  # pictures up to this are stored without loss: they are shown several times as large
_CLIPPED = 0.04  # per cent of the values, where the contrast is stretched


def shown(image: Array, field: Box, is_stretched: bool) -> Pixels:
    """An image (H, W, C) on the scale 0..255 as (H, W, 3) bytes.

    Args:
        image: float32.
        field: what the unit sees; where nothing is (0, 0, 0, 0), the whole image counts.
        is_stretched: so that the values of the field fill the scale, as the original's are shown.
    """
    image = three_channels(image)
    if is_stretched:
        top, left, bottom, right = _window(field, image)
        ends = [_CLIPPED / 2, 100 - _CLIPPED / 2]
        low, high = np.percentile(image[top:bottom, left:right], ends)
        image = (image - low) * (255 / (high - low) if high > low else 0)
    return np.rint(np.nan_to_num(image)).clip(0, 255).astype(np.uint8)


def tile(pixels: Pixels, field: Box, side: int = TILE) -> Pixels:
    """What a unit sees of a picture, in a square; beside it, if it is oblong, its mean colour."""
    top, left, bottom, right = _window(field, pixels)
    crop = pixels[top:bottom, left:right]
    height, width = (max(1, round(n * side / max(crop.shape[:2]))) for n in crop.shape[:2])
    small = Image.fromarray(crop).resize((width, height), Image.Resampling.LANCZOS)
    if width == height:
        return np.asarray(small)
    square = Image.new("RGB", (side, side), _mean_colour(crop))
    square.paste(small, ((side - width) // 2, (side - height) // 2))
    return np.asarray(square)


def sheet(tiles: Sequence[Pixels | None], side: int) -> Pixels:
    """Up to 64 tiles in a square of 8 x 8, row by row; places without one are grey.

    Args:
        tiles: (TILE, TILE, 3) each.
        side: of a tile in the sheet.
    """
    page = np.full((ACROSS, side, ACROSS, side, 3), 128, np.uint8)
    for place, each in enumerate(tiles):
        if each is not None:
            row, column = divmod(place, ACROSS)
            page[row, :, column] = each if side == TILE else resized(each, side)
    return page.reshape(ACROSS * side, ACROSS * side, 3)


def placeholder(tiles: Sequence[Pixels | None]) -> str:
    """The mean colours of a sheet's tiles as the address of an image of 8 x 8 pixels."""
    pixels = np.full((PLACES, 3), 128, np.uint8)
    for place, each in enumerate(tiles):
        if each is not None:
            pixels[place] = each.mean(axis=(0, 1))
    data = webp(pixels.reshape(ACROSS, ACROSS, 3), quality=60)
    return "data:image/webp;base64," + base64.b64encode(data).decode()


def with_importance(pixels: Pixels, importance: Pixels) -> Pixels:
    """A picture (H, W, 4) that is transparent where it did not matter; importance (H, W)."""
    return np.dstack([pixels, importance])


def webp(pixels: Pixels, quality: int = 72) -> bytes:
    """A WebP file of (H, W, 3) or (H, W, 4) bytes, with loss."""
    return _encoded(pixels, "WEBP", quality=quality, method=3)


def large_webp(pixels: Pixels, quality: int = 72) -> bytes:
    """A WebP file of a picture that is shown large: without loss if it has few pixels."""
    if max(pixels.shape[:2]) > FINE:
        return webp(pixels, quality)
    return _encoded(pixels, "WEBP", quality=quality, method=2, lossless=True)


def png(pixels: Pixels) -> bytes:
    """A PNG file."""
    return _encoded(pixels, "PNG", compress_level=3)


def film(frames: Sequence[Pixels], milliseconds: int = 160) -> bytes:
    """An animated WebP file of frames (H, W, 3), repeated; it rests on the last one."""
    first, *others = map(Image.fromarray, frames)
    durations = [milliseconds] * len(others) + [8 * milliseconds]
    file = BytesIO()
    first.save(
        file,
        format="WEBP",
        save_all=True,
        append_images=others,
        duration=durations,
        loop=0,
        quality=80,
        method=3,
    )
    return file.getvalue()


def _encoded(pixels: Pixels, kind: str, **settings: object) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).save(file, format=kind, **settings)
    return file.getvalue()


def resized(pixels: Pixels, side: int) -> Pixels:
    """A picture as a square of that side."""
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BOX))


def _mean_colour(pixels: Pixels) -> tuple[int, ...]:
    return tuple(pixels.mean(axis=(0, 1)).astype(int).tolist())


def _window(field: Box, image: npt.NDArray[np.generic]) -> Box:
    """The field; all of the image (H, W, C) where the unit sees nothing."""
    top, left, bottom, right = field
    is_empty = top >= bottom or left >= right
    return (0, 0, image.shape[0], image.shape[1]) if is_empty else field
