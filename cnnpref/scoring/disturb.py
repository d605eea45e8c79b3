"""Small changes to pictures, which a picture of what a unit really prefers survives."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from cnnpref.images.pictures import Bytes

REACH = 8  # pixels within which a changed picture's unit may answer
KINDS = ("shift", "scale", "rotation", "noise", "jpeg")
_SHIFTS = ((6.0, -4.0), (-5.0, 8.0))  # pixels to the right and down
_SCALES = (0.95, 1.05)
_ANGLES = (-5.0, 5.0)  # degrees
_NOISE = 10  # standard deviation, on the 0..255 scale
_QUALITY = 75


def disturbed(pictures: Bytes) -> Iterator[tuple[str, Bytes]]:
    """Pictures shifted, scaled, turned, with noise, as JPEG: a kind of `KINDS`, and the pictures.

    Each picture is treated alone. Mirrored where they have no pixels; the noise is the same for all
    pictures of a size.

    Args:
        pictures: (N, H, W, C).
    """
    for shift in _SHIFTS:
        yield "shift", moved(pictures, shift=shift)
    for scale in _SCALES:
        yield "scale", moved(pictures, scale=scale)
    for angle in _ANGLES:
        yield "rotation", moved(pictures, angle=angle)
    noise = np.random.default_rng(0).standard_normal(pictures.shape[1:])
    yield "noise", eight_bits(pictures + _NOISE * noise)
    yield "jpeg", np.stack([compressed(picture) for picture in pictures])


def eight_bits(images: np.typing.ArrayLike) -> Bytes:
    """Images on the 0..255 scale as they are saved: rounded, clipped, 8 bits."""
    return np.asarray(images).round().clip(0, 255).astype(np.uint8)


def moved(
    pictures: Bytes,
    shift: tuple[float, float] = (0.0, 0.0),
    scale: float = 1.0,
    angle: float = 0.0,
) -> Bytes:
    """Pictures (N, H, W, C) shifted by pixels (right, down), enlarged and turned by degrees."""
    height, width = pictures.shape[1:3]
    cos, sin = np.cos(np.radians(angle)) / scale, np.sin(np.radians(angle)) / scale
    theta = torch.tensor(
        [
            [cos, -sin * height / width, -2 * shift[0] / width],
            [sin * width / height, cos, -2 * shift[1] / height],
        ],
        dtype=torch.float32,
    )
    x = torch.from_numpy(np.ascontiguousarray(np.moveaxis(pictures, 3, 1))).float()
    grid = F.affine_grid(theta.expand(len(x), 2, 3), list(x.shape), align_corners=False)
    x = F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
    return np.moveaxis(x.round().clamp(0, 255).byte().numpy(), 1, 3)


def compressed(picture: Bytes) -> Bytes:
    """A picture (H, W, C) after JPEG; each channel alone, unless they are red, green and blue."""
    if picture.shape[2] == 3:
        return _jpeg(picture)
    planes = [_jpeg(picture[..., channel]) for channel in range(picture.shape[2])]
    return np.stack(planes, axis=-1)


def _jpeg(pixels: Bytes) -> Bytes:
    file = BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "JPEG", quality=_QUALITY)
    return np.asarray(Image.open(file))
