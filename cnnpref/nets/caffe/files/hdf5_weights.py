"""Weights in a .caffemodel.h5, which Caffe writes with `snapshot_format: HDF5`.

Group `data` has a group for each layer, with a dataset for each of its blobs: "0", "1" ...
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from cnnpref.errors import UserError
from cnnpref.foreign import open_hdf5
from cnnpref.nets.caffe.files.caffemodel import Weights
from cnnpref.nets.caffe.files.schema import PathLike

if TYPE_CHECKING:
    import h5py

_SIGNATURE = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True)
class StoredDataset:
    """A blob in a file: its shape, and where its values lie."""

    path: Path
    name: str
    shape: tuple[int, ...]
    legacy: ClassVar[bool] = False

    def array(self) -> Weights:
        """The values, read from the file.

        Raises:
            ValueError: they cannot be read.
        """
        try:
            with open_hdf5(self.path) as file:
                return np.asarray(file[self.name][()], np.float32)
        except (OSError, RuntimeError, KeyError, TypeError) as error:
            raise ValueError(str(error)) from None


def is_hdf5(path: PathLike) -> bool:
    """Whether a file begins as HDF5 files do; a file that cannot be read does not."""
    try:
        with Path(path).open("rb") as file:
            return file.read(len(_SIGNATURE)) == _SIGNATURE
    except OSError:
        return False


def stored_datasets(path: PathLike) -> dict[str, list[StoredDataset]]:
    """The blobs of each layer that has any, by its name.

    Raises:
        UserError: the file is damaged or holds no weights.
    """
    try:
        with open_hdf5(path) as file:
            found = dict(_layers(Path(path), file["data"], ""))
    except (OSError, RuntimeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{path}: truncated or no weights of Caffe ({error}); fetch the file again"
        ) from None
    if not found:
        raise UserError(f"{path}: holds no layers; a .caffemodel.h5 of Caffe is expected here")
    return found


def _layers(path: Path, group: h5py.Group, name: str) -> Iterator[tuple[str, list[StoredDataset]]]:
    """Groups with datasets; a `/` in a layer's name makes groups in groups."""
    entries: dict[str, Any] = dict(group.items())
    blobs = [entries[str(index)] for index in range(len(entries)) if str(index) in entries]
    arrays = [blob for blob in blobs if hasattr(blob, "shape")]
    if arrays:
        yield name, [StoredDataset(path, array.name, tuple(array.shape)) for array in arrays]
    for key, entry in entries.items():
        if not hasattr(entry, "shape"):
            yield from _layers(path, entry, f"{name}/{key}" if name else key)
