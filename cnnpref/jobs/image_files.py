"""Pictures from a folder of image files, or from a stack in one file."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from PIL import Image

from cnnpref.errors import UserError, first_line
from cnnpref.foreign import open_hdf5, open_npy
from cnnpref.images.pictures import demand_size
from cnnpref.input_space import Array

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
_ROWS = 32  # of a stack, read at a time


def read_pictures(path: str | PathLike[str]) -> Iterator[Array]:
    """RGB pictures (H, W, 3), 0..255, one after the other.

    Args:
        path: a folder, searched with all below it for files with `SUFFIXES` (of 8 bits per channel,
            in order of their paths, hidden ones left out); or an .npy file that holds
            (N, H, W, 3); or an .h5 or .hdf5 file with one dataset of that shape.

    Raises:
        UserError: nothing is there, a file cannot be read, or values are not within 0..255.
    """
    source = Path(path)
    if source.is_dir():
        rows = _folder(source)
    elif source.suffix == ".npy":
        rows = _npy_stack(source)
    elif source.suffix in (".h5", ".hdf5"):
        rows = _hdf5_stack(source)
    else:
        raise UserError(f"{source}: got neither a folder of images nor an .npy or .h5 file")
    for name, picture in rows:
        if not (picture.min() >= 0 and picture.max() <= 255):
            values = f"{picture.min():g} to {picture.max():g}"
            raise UserError(f"{name}: RGB values in 0..255 wanted, got {values}")
        yield picture


def fit(picture: npt.ArrayLike, size: tuple[int, int]) -> Array:
    """A picture (h, w, 3) stretched to `size` (H, W), bilinearly; Pillow smooths what it shrinks.

    Raises:
        UserError: it has another number of dimensions or channels.
    """
    x = np.asarray(picture, np.float32)
    if x.ndim != 3 or x.shape[2] != 3:
        raise UserError(f"a picture (H, W, 3) wanted, got shape {x.shape}")
    if x.shape[:2] == size:
        return x
    planes = (Image.fromarray(np.ascontiguousarray(x[..., c])) for c in range(3))
    smooth = Image.Resampling.BILINEAR
    return np.stack([np.asarray(plane.resize(size[::-1], smooth)) for plane in planes], axis=-1)


def _folder(folder: Path) -> Iterator[tuple[str, Array]]:
    files = [p for p in sorted(folder.rglob("*")) if p.suffix.lower() in SUFFIXES and p.is_file()]
    shown = [path for path in files if not path.name.startswith(".")]
    if not shown:
        raise UserError(f"{folder}: no image in it; read are files ending in {' '.join(SUFFIXES)}")
    for path in shown:
        yield str(path), _image(path)


def _image(path: Path) -> Array:
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path) as image:  # of large ones
            demand_size(image)
            if image.mode[0] in "IF":  # Pillow would cut 16 bits at 255
                raise UserError(f"{path}: 8 bits per channel wanted, got mode {image.mode}")
            return np.asarray(image.convert("RGB"), np.float32)
    except UserError:
        raise
    except Exception as error:  # Pillow's readers raise almost anything for damaged files
        raise UserError(f"{path}: cannot be read as an image: {first_line(error)}") from None


def _npy_stack(path: Path) -> Iterator[tuple[str, Array]]:
    try:
        stack = open_npy(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as .npy: {first_line(error)}") from None
    yield from _stack(str(path), stack)


def _hdf5_stack(path: Path) -> Iterator[tuple[str, Array]]:
    try:
        file = open_hdf5(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read as HDF5: {error}") from None
    with file:
        stacks: list[h5py.Dataset] = []
        file.visititems(lambda _, item: stacks.append(item) if _holds_pictures(item) else None)
        if len(stacks) != 1:
            names = ", ".join(stack.name for stack in stacks) or "none"
            raise UserError(f"{path}: one dataset of shape (N, H, W, 3) wanted, got {names}")
        yield from _stack(str(path), stacks[0])


def _holds_pictures(item: Any) -> bool:
    return isinstance(item, h5py.Dataset) and item.ndim == 4 and item.shape[3] == 3


def _stack(name: str, stack: Any) -> Iterator[tuple[str, Array]]:
    """The rows of an array or a dataset."""
    if stack.ndim != 4 or stack.shape[3] != 3 or stack.dtype.kind not in "uif" or not stack.size:
        raise UserError(
            f"{name}: numbers of shape (N, H, W, 3) wanted, got {stack.shape} of {stack.dtype}"
        )
    for start in range(0, len(stack), _ROWS):
        try:
            rows = np.asarray(stack[start : start + _ROWS], np.float32)
        except (OSError, ValueError) as error:
            raise UserError(f"{name}: cannot be read: {first_line(error)}") from None
        yield from ((f"{name}, picture {start + i}", row) for i, row in enumerate(rows))
