"""Layer files: all units of a layer by all methods, stacked for analysis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from cnnpref.atomic import PatientFile, replacing
from cnnpref.errors import UserError
from cnnpref.geometry import Box
from cnnpref.input_space import Array
from cnnpref.methods import METHODS
from cnnpref.planning.series import Series
from cnnpref.results.hdf5 import (
    create,
    decode,
    format_fault,
    open_file,
    plain,
    read_attributes,
    reason_of,
    write_attributes,
)
from cnnpref.results.unit_file import ARRAYS, LATER, demand_unit, read_unit
from cnnpref.status import Status

LAYER_FORMAT = "cnnpref layer"
_COMMON = (  # to a series
    *("net", "sha256", "layer", "position", "sign", "method", "options", "digest"),
)
_ROW = ("unit", "score", "score_best", "seed", "status", "attempts", "receptive_field")
_UNEQUAL = ("activation", "frames", "frame_step")  # of which units have different numbers


@dataclass(frozen=True)
class Row:
    """One unit of a layer file, without its images."""

    unit: int
    score: float
    score_best: float
    seed: int
    status: Status
    attempts: int
    receptive_field: Box
    activation: Array
    label: str = ""


def collect(path: Path, series: Sequence[Series]) -> None:
    """Stack the unit files of a layer into one file, with a group for each series, by its name.

    A group of U units whose longest trace has T values holds `unit`, `status`, `score`,
    `score_best`, `seed`, `attempts`, `evaluations` (U,), `receptive_field` (U, 4), `activation`
    (U, T) padded with NaN, `image` and `image_best` (U, H, W, C); `latent` (U, ...) and
    `importance` (U, H, W) if the method has them; `label` (U,), texts, if the layer has labels:
    those of the series.

    Raises:
        UserError: a unit file is missing or invalid, or the operating system refused to write.
    """
    rows = [[_read_row(path, each.digest) for path in each.paths()] for each in series]
    with replacing(path) as temporary, create(temporary, LAYER_FORMAT) as (file, output):
        for each, units in zip(series, rows, strict=True):
            group = file.create_group(each.name)
            attributes = read_unit(each.path(each.units[0])).attributes
            write_attributes(group, {name: attributes[name] for name in _COMMON})
            _write_table(group, units)
            if each.labels:
                labels = [each.label(unit) for unit in each.units]
                group.create_dataset("label", data=labels, dtype=h5py.string_dtype())
            _write_images(group, each.paths(), output)


class MethodData:
    """The units of one method in an open layer file, read as they are asked for.

    Attributes:
        attributes: what the units have in common: `net`, `layer`, `position`, `options`, ...
    """

    def __init__(self, group: h5py.Group) -> None:
        self._group = group
        self.attributes = read_attributes(group)

    @property
    def is_stretched(self) -> bool:
        """Whether its images are shown with their contrast stretched."""
        method = METHODS.get(self.attributes["method"])
        return method is not None and method.is_stretched

    @property
    def is_suppressed(self) -> bool:
        """Whether its images are those that the units like least."""
        return bool(self.attributes.get("sign", LATER["sign"]) < 0)

    @property
    def has_importance(self) -> bool:
        """Whether it was recorded how much each pixel mattered."""
        return "importance" in self._group

    def rows(self) -> list[Row]:
        """The units in the order of the file, without their images."""
        numbers = [self._group[n][()].tolist() for n in ("unit", "score", "score_best", "seed")]
        status = map(Status, self._group["status"].asstr()[()].tolist())
        fields = map(tuple, self._group["receptive_field"][()].tolist())
        traces = zip(self._group["activation"][()], self._group["evaluations"][()], strict=True)
        activation = [trace[:count] for trace, count in traces]
        how = status, self._attempts()
        columns = *numbers, *how, fields, activation, self._labels(len(activation))
        return [Row(*row) for row in zip(*columns, strict=True)]

    def _labels(self, count: int) -> list[str]:
        if "label" not in self._group:
            return [""] * count
        labels: list[str] = self._group["label"].asstr()[()].tolist()
        return labels

    def _attempts(self) -> list[int]:
        if "attempts" not in self._group:  # in files of older versions
            return [LATER["attempts"]] * len(self._group["unit"])
        found: list[int] = self._group["attempts"][()].tolist()
        return found

    def image(self, index: int) -> Array:
        """The last iterate of the unit in that row, float32 (H, W, 3)."""
        return np.asarray(self._group["image"][index], np.float32)

    def read(self, name: str, index: int) -> Array:
        """What a dataset holds in that row: of `image`, `image_best`, (H, W, C)."""
        return np.asarray(self._group[name][index])

    def copy(self, file: h5py.File) -> None:
        """Write all that there is of the method into another file: datasets and attributes."""
        for name in self._group:
            self._group.copy(name, file)
        file.attrs.update(self._group.attrs)

    def importance(self, index: int) -> npt.NDArray[np.uint8] | None:
        """How much each pixel of that image mattered, (H, W), 255 is most; None: not recorded."""
        if not self.has_importance:
            return None
        return np.asarray(self._group["importance"][index], np.uint8)


@contextmanager
def open_layer(path: Path) -> Iterator[dict[str, MethodData]]:
    """Open a layer file: its methods by name, in the order they were collected.

    Raises:
        UserError: it is missing or not a layer file.
    """
    try:
        file = open_file(path)
        fault = format_fault(file, LAYER_FORMAT)
    except (OSError, RuntimeError) as error:
        fault = reason_of(error)
    if fault:
        raise UserError(f"{path}: {fault}; run 'cnnpref collect' for this layer again")
    with file:
        yield {name: MethodData(group) for name, group in file.items()}


def _read_row(path: Path, digest: str) -> Row:
    demand_unit(path, digest)
    with open_file(path) as file:
        attributes = {**LATER, **file.attrs}
        told = {name: decode(name, attributes[name]) for name in _ROW}
        told["status"] = Status(told["status"])
        return Row(**told, activation=file["activation"][()])


def _write_table(group: h5py.Group, rows: Sequence[Row]) -> None:
    for name in _ROW:
        group[name] = [plain(getattr(row, name)) for row in rows]
    group["evaluations"] = counts = [len(row.activation) for row in rows]
    traces = np.full((len(rows), max(counts)), np.nan, np.float32)
    for trace, row in zip(traces, rows, strict=True):
        trace[: len(row.activation)] = row.activation
    group["activation"] = traces


def _write_images(group: h5py.Group, paths: Sequence[Path], output: PatientFile) -> None:
    for index, path in enumerate(paths):
        if output.error:  # the rest would fill memory
            raise output.error
        with open_file(path) as unit:
            for name in (n for n in ARRAYS if n in unit and n not in _UNEQUAL):
                one = unit[name][()]
                size, chunk = (len(paths), *one.shape), (1, *one.shape)
                group.require_dataset(name, size, one.dtype, chunks=chunk)[index] = one
