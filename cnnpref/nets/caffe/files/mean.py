"""The mean that was subtracted from a net's images: numbers, an .npy or a .binaryproto file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cnnpref.errors import UserError
from cnnpref.foreign import open_npy
from cnnpref.nets.caffe.files.caffemodel import Weights, stored_blob
from cnnpref.nets.caffe.files.schema import PathLike

Mean = Sequence[float] | PathLike | None


def read_mean(mean: Mean, channels: int = 3) -> tuple[float, ...]:
    """A value per channel, three in BGR, from values, a .npy or .binaryproto file, or None.

    Raises:
        UserError: the file cannot be read, or holds another number of channels.
    """
    if mean is None:
        return (0.0,) * channels
    name = f"mean {mean}" if isinstance(mean, str | os.PathLike) else "mean"
    try:
        values = _mean_values(mean)
    except (ValueError, TypeError) as error:
        raise UserError(f"{name}: cannot be read as numbers: {error}") from None
    while values.ndim > 3 and len(values) == 1:
        values = values[0]
    if values.shape[:1] != (channels,) or not values.size:
        wanted = f"{channels} values or channels{' (BGR)' if channels == 3 else ''}"
        raise UserError(f"{name}: {wanted} wanted, got shape {values.shape}")
    means = values.reshape(channels, -1).mean(1)
    if not np.isfinite(means).all():
        raise UserError(f"{name}: finite values wanted, got {means.tolist()}")
    return tuple(means.tolist())


def _mean_values(mean: Sequence[float] | PathLike) -> npt.NDArray[np.float64]:
    if not isinstance(mean, str | os.PathLike):
        return np.asarray(mean, np.float64)
    if Path(mean).suffix != ".npy":
        return read_binaryproto(mean).astype(np.float64)
    try:
        return np.asarray(open_npy(mean), np.float64)
    except OSError as error:
        raise UserError(f"{mean}: cannot be read: {error.strerror}") from None


def read_binaryproto(path: PathLike) -> Weights:
    """A single blob (a mean image) as an array of its shape, a leading batch of 1 dropped.

    Raises:
        UserError: the file is missing, truncated or not a binaryproto.
    """
    try:
        mean = stored_blob(path).array()
    except ValueError as error:
        raise UserError(f"{path}: {error}; fetch the file again") from None
    return mean[0] if mean.ndim == 4 and mean.shape[0] == 1 else mean
