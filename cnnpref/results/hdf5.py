"""What unit files and layer files have in common: HDF5 with a format name, and attributes."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from math import prod
from numbers import Real
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from cnnpref.atomic import PatientFile
from cnnpref.errors import UserError
from cnnpref.foreign import ForeignError, open_hdf5
from cnnpref.geometry import Shape

FORMAT_VERSION = 1
FORMAT = ("format", "format_version")
JSON = ("options", "versions", "sha256", "attempts_status")
_TEXTS = ("net", "layer", "method", "digest", "status", "device", "label", *JSON)
_NUMBERS = ("unit", "seed", "score", "score_best", "seconds", "sign", "attempts")
TYPES: dict[str, type] = {**dict.fromkeys(_TEXTS, str), **dict.fromkeys(_NUMBERS, Real)}

UNREADABLE = (LookupError, OSError, RuntimeError, TypeError, ValueError)  # of damaged files

# What every HDF5 library reads. Level 1 takes gd's images to 56 %; 9 to 54 %, in twice the time.
COMPRESSION: dict[str, Any] = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
_SMALL = 4096  # bytes: of a smaller array the index of its chunk takes what compression saves


@contextmanager
def create(path: Path, kind: str) -> Iterator[tuple[h5py.File, PatientFile]]:
    """A new HDF5 file of that kind, and the file below it, which keeps the first error."""
    with PatientFile(path, "x+") as output:
        try:
            with h5py.File(output, "w", track_order=True) as file:
                write_attributes(file, dict(zip(FORMAT, (kind, FORMAT_VERSION), strict=True)))
                yield file, output
        finally:
            if output.error:
                raise output.error  # the cause; HDF5 reports another error in its place


def reason_of(error: Exception) -> str:
    """Why a file could not be opened, in a few words."""
    if isinstance(error, FileNotFoundError):
        return "missing"
    if isinstance(error, ForeignError):
        return str(error)
    errno = getattr(error, "errno", None)
    return os.strerror(errno) if errno else "truncated, damaged or not HDF5"


def attribute_fault(node: h5py.Group, names: Iterable[str]) -> str | None:
    """The first attribute that a node lacks, if there is one."""
    lacking = set(names).difference(node.attrs)
    return f"no attribute {min(lacking)}" if lacking else None


@contextmanager
def reading(path: Path, advice: str) -> Iterator[None]:
    """Say of a file that something in it cannot be read: what h5py raises of damaged ones.

    Raises:
        UserError: it cannot.
    """
    try:
        yield
    except UNREADABLE as error:
        raise UserError(f"{path}: {reason_of(error)}; {advice}") from None


@contextmanager
def opened(
    path: Path, fault_of: Callable[[h5py.File], str | None], advice: str
) -> Iterator[h5py.File]:
    """A file without fault, to read.

    Args:
        path: of the file.
        fault_of: what is wrong with an open file, in a few words; None if that is nothing.
        advice: what to do where something is.

    Raises:
        UserError: it cannot be opened, or has a fault.
    """
    with ExitStack() as stack:
        with reading(path, advice):
            file = stack.enter_context(open_hdf5(path))
            fault = fault_of(file)
        if fault:
            raise UserError(f"{path}: {fault}; {advice}")
        yield file


def write_array(file: h5py.Group, name: str, array: npt.NDArray[np.generic]) -> None:
    """Write an array: into one compressed chunk, unless it is small."""
    if array.nbytes < _SMALL:
        file[name] = array
        return
    shape, kind = array.shape, array.dtype
    data = file.create_dataset(name, shape, kind, chunks=shape, **COMPRESSION)
    data.id.write_direct_chunk((0,) * array.ndim, _compressed(array))


def _compressed(array: npt.NDArray[np.generic]) -> bytes:
    """What HDF5's filters make of an array; unlike them, it lets other threads work meanwhile.

    All first bytes of the numbers come first, then all second ones ...
    """
    planes = np.frombuffer(array.tobytes(), np.uint8).reshape(-1, array.itemsize).T
    return zlib.compress(planes.tobytes(), COMPRESSION["compression_opts"])


def put(
    group: h5py.Group, name: str, index: int, one: h5py.Dataset | npt.NDArray[np.generic]
) -> None:
    """Write an array into a row of a dataset that grows, (n, ...): a compressed chunk for each row.

    An array that lies in such a chunk is not compressed anew.
    """
    if name not in group:
        limits = {"shape": (0, *one.shape), "maxshape": (None, *one.shape)}
        group.create_dataset(name, dtype=one.dtype, chunks=(1, *one.shape), **limits, **COMPRESSION)
    rows = group[name]
    rows.resize(max(len(rows), index + 1), axis=0)
    if isinstance(one, h5py.Dataset) and _is_such_a_chunk(one):
        mask, chunk = one.id.read_direct_chunk((0,) * one.ndim)
        rows.id.write_direct_chunk((index, *(0,) * one.ndim), chunk, mask)
    else:
        rows[index] = one[()]


def _is_such_a_chunk(data: h5py.Dataset) -> bool:
    filters = data.id.get_create_plist()
    used = [filters.get_filter(number)[0] for number in range(filters.get_nfilters())]
    return data.chunks == data.shape and used == [h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE]


def storage_fault(data: h5py.Dataset) -> str | None:
    """Why a dataset does not hold all of its values itself; None if it does.

    Where a value is in another file, or was never written, HDF5 reads 0: a black picture.
    """
    if data.is_virtual or data.external:
        return f"{data.name} lies in another file"
    if data.chunks is None:
        unwritten = data.id.get_storage_size() < data.nbytes
    else:
        unwritten = data.id.get_num_chunks() < _chunks(data.shape, data.chunks)
    return f"{data.name} is not complete" if unwritten else None


def _chunks(shape: Shape, chunk: Shape) -> int:
    return prod(-(-size // step) for size, step in zip(shape, chunk, strict=True))


def same_bits(one: npt.NDArray[np.generic], other: npt.NDArray[np.generic]) -> bool:
    """Whether two arrays are equal, not-a-numbers and signs of zeros included."""
    return (
        one.shape == other.shape and one.dtype == other.dtype and one.tobytes() == other.tobytes()
    )


def write_attributes(node: h5py.Group, attributes: Mapping[str, Any]) -> None:
    """Write attributes; those named in `JSON` as JSON."""
    written = node.attrs  # a slow property
    for name, value in attributes.items():
        written[name] = json.dumps(value) if name in JSON else plain(value)


def plain(value: Any) -> Any:
    """A value that HDF5 knows: enumerations of words become words."""
    return str(value) if isinstance(value, str) else value


def read_attributes(node: h5py.Group) -> dict[str, Any]:
    """What `write_attributes` wrote."""
    return {name: decode(name, value) for name, value in node.attrs.items() if name not in FORMAT}


def decode(name: str, value: Any) -> Any:
    """The value of an attribute: numbers, texts and tuples of Python; dicts where it is JSON.

    Raises:
        ValueError: it is of another type than such attributes are.
    """
    if name in TYPES and not isinstance(value, TYPES[name]):
        raise ValueError(f"the attribute {name} is {value!r}")
    if name in JSON:
        found = json.loads(value)
        if not isinstance(found, dict | list):
            raise ValueError(f"the attribute {name} is {value}")
        return found
    if name == "receptive_field" and np.shape(value) != (4,):
        raise ValueError(f"the attribute {name} is {value!r}")
    if isinstance(value, np.ndarray):
        return tuple(value.tolist())
    return value.item() if isinstance(value, np.generic) else value


def format_fault(file: h5py.File, kind: str) -> str | None:
    """Why a file is not of that kind and of the format version of this program; None if it is."""
    found, version = map(file.attrs.get, FORMAT)
    if found != kind:
        return f"not a {kind} file"
    if version != FORMAT_VERSION:
        return f"format version {version}, this program reads {FORMAT_VERSION}"
    return None
