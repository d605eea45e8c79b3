"""What unit files and layer files have in common: HDF5 with a format name, and attributes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cnnpref.atomic import PatientFile

FORMAT_VERSION = 1
FORMAT = ("format", "format_version")
JSON = ("options", "versions", "sha256", "attempts_status")


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


def open_file(path: Path) -> h5py.File:
    """An HDF5 file, to read.

    Files are replaced, never changed: no lock is needed, and some network file systems have none.
    """
    return h5py.File(path, "r", locking=False)


def reason_of(error: Exception) -> str:
    """Why a file could not be opened, in a few words."""
    if isinstance(error, FileNotFoundError):
        return "missing"
    errno = getattr(error, "errno", None)
    return os.strerror(errno) if errno else "truncated, damaged or not HDF5"


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
    """The value of an attribute: numbers, texts and tuples of Python; dicts where it is JSON."""
    if name in JSON:
        return json.loads(value)
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
