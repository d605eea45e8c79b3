"""Unit files and layer files: HDF5, each on disk whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from cnnpref.atomic import PatientFile, replacing
from cnnpref.errors import UserError

Array = npt.NDArray[np.float32]

FORMAT_VERSION = 1
UNIT_FORMAT = "cnnpref unit"
LAYER_FORMAT = "cnnpref layer"

ATTRIBUTES = (
    *("net", "sha256", "layer", "unit", "position", "receptive_field", "method", "options", "seed"),
    *("status", "score", "score_best", "versions", "device", "seconds", "digest"),
)
_ARRAYS = ("image", "image_best", "activation", "latent")
_FORMAT = ("format", "format_version")
_JSON = ("options", "versions", "sha256")
_COMMON = ("net", "sha256", "layer", "position", "method", "options", "digest")  # to a series
_ROW = ("unit", "score", "score_best", "seed", "status", "receptive_field")


@dataclass(frozen=True)
class UnitResult:
    """All that one unit file holds.

    Attributes:
        image: the last iterate, float32 (H, W, 3), RGB, 0..255 scale.
        image_best: the iterate of the highest activation, the same shape.
        activation: float32 trace, one value per evaluation.
        attributes: a value for each name in `ATTRIBUTES`: `options`, `versions` and `sha256` are
            dicts that JSON can hold, `receptive_field` is (top, left, bottom, right) in pixels,
            half open; the others are strings or numbers, or tuples of integers.
        latent: the last iterate in the generator's input space, or None.
    """

    image: Array
    image_best: Array
    activation: Array
    attributes: dict[str, Any]
    latent: Array | None = None


@dataclass(frozen=True)
class Series:
    """The unit files of one layer and method: not empty, all of one digest."""

    method: str
    digest: str
    paths: Sequence[Path]


@dataclass(frozen=True)
class Row:
    """One unit of a layer file, without its pictures."""

    unit: int
    score: float
    score_best: float
    seed: int
    status: str
    receptive_field: tuple[int, int, int, int]
    activation: Array

    @property
    def ok(self) -> bool:
        """Whether the optimisation went as it should."""
        return self.status == "ok"


def write_unit(path: Path, result: UnitResult) -> None:
    """Write a unit file, whole or not at all; `path` is named `<unit>.h5`.

    Raises:
        UserError: the operating system refused to write.
        ValueError: an attribute is missing.
    """
    if missing := sorted(set(ATTRIBUTES) - set(result.attributes)):
        raise ValueError(f"a unit file needs the attributes {', '.join(missing)}")
    with replacing(path) as temporary, _create(temporary, UNIT_FORMAT) as (file, _):
        _write_attributes(file, result.attributes)
        for name in _ARRAYS:
            if (array := getattr(result, name)) is not None:
                file[name] = np.asarray(array, np.float32)


def read_unit(path: Path) -> UnitResult:
    """Read a unit file.

    Raises:
        UserError: it is missing or not a complete unit file.
    """
    _demand(path)
    with _open(path) as file:
        arrays = {name: file[name][()] for name in _ARRAYS if name in file}
        return UnitResult(**arrays, attributes=_read_attributes(file))


def check_unit(path: Path, digest: str | None = None) -> str | None:
    """Why `path` is not a valid unit file of that digest (None: of any); None when it is.

    Valid: it opens, is complete, is of the unit that its name says, and has the wanted digest.
    """
    try:
        with _open(path) as file:
            return (
                _format_fault(file, UNIT_FORMAT)
                or _dataset_fault(file)
                or _attribute_fault(file, path.stem, digest)
            )
    except (KeyError, OSError, RuntimeError, ValueError) as error:
        return _reason(error)


def collect(path: Path, series: Sequence[Series]) -> None:
    """Stack the unit files of a layer into one file, with a group for each method.

    A group of U units whose longest trace has T values holds `unit`, `status`, `score`,
    `score_best`, `seed`, `evaluations` (U,), `receptive_field` (U, 4), `activation` (U, T) padded
    with NaN, `image` and `image_best` (U, H, W, 3), and `latent` (U, ...) if the method has one.

    Raises:
        UserError: a unit file is missing or invalid, or the operating system refused to write.
    """
    rows = [[_read_row(file, each.digest) for file in each.paths] for each in series]
    with replacing(path) as temporary, _create(temporary, LAYER_FORMAT) as (file, output):
        for each, units in zip(series, rows, strict=True):
            group = file.create_group(each.method)
            attributes = read_unit(each.paths[0]).attributes
            _write_attributes(group, {name: attributes[name] for name in _COMMON})
            _write_table(group, units)
            _write_pictures(group, each.paths, output)


class MethodData:
    """The units of one method in an open layer file, read as they are asked for.

    Attributes:
        attributes: what the units have in common: `net`, `layer`, `position`, `options`, ...
    """

    def __init__(self, group: h5py.Group) -> None:
        self._group = group
        self.attributes = _read_attributes(group)

    def rows(self) -> list[Row]:
        """The units in the order of the file, without their pictures."""
        numbers = [self._group[n][()].tolist() for n in ("unit", "score", "score_best", "seed")]
        status = self._group["status"].asstr()[()].tolist()
        fields = map(tuple, self._group["receptive_field"][()].tolist())
        traces = zip(self._group["activation"][()], self._group["evaluations"][()], strict=True)
        activation = [trace[:count] for trace, count in traces]
        return [Row(*row) for row in zip(*numbers, status, fields, activation, strict=True)]

    def image(self, index: int) -> Array:
        """The last iterate of the unit in that row, float32 (H, W, 3)."""
        return np.asarray(self._group["image"][index], np.float32)


@contextmanager
def open_layer(path: Path) -> Iterator[dict[str, MethodData]]:
    """Open a layer file: its methods by name, in the order they were collected.

    Raises:
        UserError: it is missing or not a layer file.
    """
    try:
        file = _open(path)
        fault = _format_fault(file, LAYER_FORMAT)
    except (OSError, RuntimeError) as error:
        fault = _reason(error)
    if fault:
        raise UserError(f"{path}: {fault}; run 'cnnpref collect' for this layer again")
    with file:
        yield {name: MethodData(group) for name, group in file.items()}


@contextmanager
def _create(path: Path, kind: str) -> Iterator[tuple[h5py.File, PatientFile]]:
    with PatientFile(path, "x+") as output:
        try:
            with h5py.File(output, "w", track_order=True) as file:
                _write_attributes(file, dict(zip(_FORMAT, (kind, FORMAT_VERSION), strict=True)))
                yield file, output
        finally:
            if output.error:
                raise output.error  # the cause, whatever HDF5 made of it


def _open(path: Path) -> h5py.File:
    # Files are replaced, never changed: no lock is needed, and some network file systems have none.
    return h5py.File(path, "r", locking=False)


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "missing"
    errno = getattr(error, "errno", None)
    return os.strerror(errno) if errno else "truncated, damaged or not HDF5"


def _write_attributes(node: h5py.Group, attributes: Mapping[str, Any]) -> None:
    written = node.attrs  # a property that takes its time
    for name, value in attributes.items():
        plain = str(value) if isinstance(value, str) else value  # HDF5 knows no enumerations
        written[name] = json.dumps(value) if name in _JSON else plain


def _read_attributes(node: h5py.Group) -> dict[str, Any]:
    return {name: _decode(name, value) for name, value in node.attrs.items() if name not in _FORMAT}


def _decode(name: str, value: Any) -> Any:
    if name in _JSON:
        return json.loads(value)
    if isinstance(value, np.ndarray):
        return tuple(value.tolist())
    return value.item() if isinstance(value, np.generic) else value


def _format_fault(file: h5py.File, kind: str) -> str | None:
    found, version = map(file.attrs.get, _FORMAT)
    if found != kind:
        return f"not a {kind} file"
    if version != FORMAT_VERSION:
        return f"format version {version}, this program reads {FORMAT_VERSION}"
    return None


def _dataset_fault(file: h5py.File) -> str | None:
    found = {name: file.get(name) for name in (_ARRAYS if "latent" in file else _ARRAYS[:3])}
    for name, data in found.items():
        if not isinstance(data, h5py.Dataset):
            return f"no dataset /{name}"
        if data.dtype != np.float32:
            return f"/{name} is {data.dtype}, not float32"
    image, best, trace = (found[name].shape for name in _ARRAYS[:3])
    if len(image) != 3 or image[2] != 3 or best != image or len(trace) != 1:
        return f"shapes {image}, {best} and {trace}, not (H, W, 3) twice and (T,)"
    return None


def _attribute_fault(file: h5py.File, unit: str, digest: str | None) -> str | None:
    attributes = file.attrs
    if missing := set(ATTRIBUTES).difference(attributes):
        return f"no attribute {min(missing)}"
    if str(attributes["unit"]) != unit:
        return f"holds unit {attributes['unit']}"
    if digest not in (None, attributes["digest"]):
        return f"other digest: {attributes['digest'][:8]}..., wanted {digest[:8]}..."
    return None


def _demand(path: Path, digest: str | None = None) -> None:
    if fault := check_unit(path, digest):
        raise UserError(f"{path}: {fault}; run 'cnnpref generate' for this unit again")


def _read_row(path: Path, digest: str) -> Row:
    _demand(path, digest)
    with _open(path) as file:
        attributes = file.attrs
        told = {name: _decode(name, attributes[name]) for name in _ROW}
        return Row(**told, activation=file["activation"][()])


def _write_table(group: h5py.Group, rows: Sequence[Row]) -> None:
    for name in _ROW:
        group[name] = [getattr(row, name) for row in rows]
    group["evaluations"] = counts = [len(row.activation) for row in rows]
    traces = np.full((len(rows), max(counts)), np.nan, np.float32)
    for trace, row in zip(traces, rows, strict=True):
        trace[: len(row.activation)] = row.activation
    group["activation"] = traces


def _write_pictures(group: h5py.Group, paths: Sequence[Path], output: PatientFile) -> None:
    for index, path in enumerate(paths):
        if output.error:  # the rest would fill memory
            raise output.error
        with _open(path) as unit:
            for name in (n for n in ("image", "image_best", "latent") if n in unit):
                one = unit[name][()]
                size, chunk = (len(paths), *one.shape), (1, *one.shape)
                group.require_dataset(name, size, one.dtype, chunks=chunk)[index] = one
