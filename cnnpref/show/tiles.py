"""How the image of a unit is shown: what the unit sees of it, as large as fits into a square."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from cnnpref.display import clip_extreme, normalise, three_channels
from cnnpref.geometry import Box
from cnnpref.input_space import Array
from cnnpref.results.layer_file import MethodData, Row

CONTEXT = 4  # pixels shown around a receptive field: as far as jitter smears a low layer's image
REASONS = {"zero-gradient": "no gradient", "stuck": "never rose", "diverged": "diverged"}


def reason(row: Row) -> str:
    """Why a unit has no picture, in words."""
    return REASONS.get(row.status, row.status)


def picture(data: MethodData, index: int, images: str, alpha: bool = False) -> Image.Image:
    """The whole image of a unit, as it is shown.

    Args:
        data: of its method.
        index: its row there.
        images: "image", the last iterate, or "image_best".
        alpha: RGBA, transparent where a pixel did not matter, if that was recorded; or else RGB.
    """
    image = three_channels(data.read(images, index))
    shown = Image.fromarray(_bytes(_stretched(image) if data.is_stretched else image))
    if not alpha:
        return shown
    if (importance := data.importance(index)) is not None:
        shown.putalpha(Image.fromarray(importance))
    return shown.convert("RGBA")


def tile(data: MethodData, index: int, row: Row, side: int, alpha: bool = False) -> Image.Image:
    """The picture of a unit, at most `side` pixels wide and high.

    Args:
        data: of its method.
        index: its row there.
        row: what that row holds.
        side: in pixels.
        alpha: RGBA, transparent where a pixel did not matter, if that was recorded; or else RGB.
    """
    crop = three_channels(_crop(data.image(index), row.receptive_field))
    shown = _resized(_bytes(_stretched(crop) if data.is_stretched else crop), side)
    if not alpha:
        return shown
    if (importance := data.importance(index)) is not None:
        shown.putalpha(_resized(_crop(importance, row.receptive_field), side))
    return shown.convert("RGBA")


def _crop(image: npt.NDArray[Any], field: Box) -> npt.NDArray[Any]:
    """The part of an image (H, W, ...) that a unit sees, and a little of what is around it."""
    top, left, bottom, right = field
    if top >= bottom or left >= right:  # nothing reaches the unit
        return image
    rows = slice(max(0, top - CONTEXT), bottom + CONTEXT)
    return image[rows, max(0, left - CONTEXT) : right + CONTEXT]


def _stretched(image: Array) -> Array:
    """With the contrast that the original's images are shown with."""
    return normalise(clip_extreme(image, pct=0.04))


def _bytes(image: Array) -> npt.NDArray[np.uint8]:
    return np.rint(image).clip(0, 255).astype(np.uint8)


def _resized(pixels: npt.NDArray[np.uint8], side: int) -> Image.Image:
    """As large as fits into a square."""
    height, width = (max(1, round(n * side / max(pixels.shape[:2]))) for n in pixels.shape[:2])
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.LANCZOS)
