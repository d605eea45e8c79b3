"""How active the units of a layer become on pictures: the bounds of a generator's features."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cnnpref.atomic import replacing
from cnnpref.errors import UserError
from cnnpref.foreign import open_npy, read_file
from cnnpref.input_space import Array

if TYPE_CHECKING:  # bounds are read without PyTorch
    from cnnpref.nets import Net

Doubles = npt.NDArray[np.float64]

BATCH = 16  # pictures in memory at a time, with all that a pass makes of them


def activation_range(net: Net, images: Iterable[npt.ArrayLike], layer: str, k: float = 3) -> Array:
    """Mean + k * standard deviation of each unit of a layer over the images, of the layer's shape.

    Args:
        net: the network.
        images: RGB pictures (H, W, 3), 0..255, of any size: stretched to the net's by `fit`.
        layer: the name of a blob, taken after its in-place layers as the published ranges are
            (`fc6` is rectified); or of a layer, where no blob is called so.
        k: above 0; the published ranges are of 1, 2 and 3.

    Raises:
        UserError: an unknown name, fewer than 2 images, activations or a k that are not finite.
    """
    from cnnpref.jobs.image_files import fit
    from cnnpref.nets.blob_values import blob_values
    from cnnpref.nets.kernels import fast_kernels

    if not 0 < k < math.inf:
        raise UserError(f"k, the number of standard deviations, must be above 0, got {k}")
    size, moments = net.image_size, _Moments()
    with fast_kernels():
        for batch in _batches(fit(image, size) for image in images):
            values = blob_values(net, batch, [layer])[layer]
            if not np.isfinite(values).all():
                raise UserError(f"layer {layer!r} of {net.name!r} gives NaN or infinite values")
            moments.add(values.astype(np.float64))
    if moments.count < 2:
        raise UserError(f"a range needs at least 2 images, got {moments.count}")
    return (moments.mean + k * moments.deviation).astype(np.float32)


def _batches(pictures: Iterable[Array]) -> Iterator[Array]:
    rest = iter(pictures)
    while batch := list(islice(rest, BATCH)):
        yield np.stack(batch)


@dataclass
class _Moments:
    """Mean and squared deviations of all rows so far; batches are merged as Chan et al. 1979 do."""

    count: int = 0
    mean: Doubles = field(default_factory=lambda: np.zeros(()))
    squares: Doubles = field(default_factory=lambda: np.zeros(()))

    def add(self, rows: Doubles) -> None:
        """Rows (N, ...)."""
        total, mean = self.count + len(rows), rows.mean(0)
        step = mean - self.mean
        within = ((rows - mean) ** 2).sum(0)
        self.squares = self.squares + within + step**2 * (self.count * len(rows) / total)
        self.mean = self.mean + step * (len(rows) / total)
        self.count = total

    @property
    def deviation(self) -> Doubles:
        """The standard deviation of the rows themselves (their number as the divisor)."""
        return np.sqrt(self.squares / self.count)


def write_bounds(path: str | PathLike[str], bounds: Array) -> tuple[Path, Path]:
    """Write bounds as text, in one row as the published act_range/3x/fc6.txt, and as .npy.

    Args:
        path: of both files, without their suffixes; a suffix .txt or .npy is dropped.
        bounds: in any shape, which the .npy file keeps.

    Returns:
        The paths of the text and of the .npy file.

    Raises:
        UserError: the operating system refused to write.
    """
    given = Path(path)
    base = given.with_suffix("") if given.suffix in (".txt", ".npy") else given
    text, binary = (base.with_name(base.name + suffix) for suffix in (".txt", ".npy"))
    with replacing(text) as temporary:
        np.savetxt(temporary, bounds.reshape(1, -1), fmt="%.9g")
    with replacing(binary) as temporary, temporary.open("wb") as file:
        np.save(file, bounds)
    return text, binary


def load_bounds(path: str | PathLike[str]) -> Array:
    """The bounds (n,) in a file: .npy of any shape, or text in one row or one column.

    Numbers in a row are separated by spaces or commas. Infinity stands for no bound.

    Raises:
        UserError: the file cannot be read, is empty, holds something else than numbers, or NaN.
    """
    source = Path(path)
    try:
        found = _npy_numbers(source) if source.suffix == ".npy" else _text_numbers(source)
        with np.errstate(over="ignore"):  # beyond float32: infinity, no bound
            bounds = found.astype(np.float32).ravel()
    except OSError as error:
        raise UserError(f"bounds {source}: cannot be read: {error.strerror or error}") from None
    except (ValueError, TypeError) as error:
        raise UserError(f"bounds {source}: cannot be read as numbers: {error}") from None
    if not bounds.size or np.isnan(bounds).any():
        got = f"NaN at {int(np.isnan(bounds).argmax())}" if bounds.size else "none"
        raise UserError(f"bounds {source}: one number for each unit wanted, got {got}")
    return bounds


def _npy_numbers(path: Path) -> npt.NDArray[np.generic]:
    found = open_npy(path)
    if found.dtype.kind not in "uif":
        raise ValueError(f"its type is {found.dtype}")
    return np.asarray(found)


def _text_numbers(path: Path) -> Doubles:
    rows = [row.replace(",", " ").split() for row in read_file(path).decode("utf-8").splitlines()]
    rows = [row for row in rows if row]
    if len(rows) > 1 and max(map(len, rows)) > 1:
        raise ValueError(f"one row or one column wanted, got {len(rows)} rows")
    return np.array([float(word) for row in rows for word in row])
