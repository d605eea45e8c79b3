"""Layer files: all units of a layer by all methods, stacked for analysis."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from cnnpref.errors import UserError
from cnnpref.geometry import Box
from cnnpref.input_space import Array
from cnnpref.methods import METHODS
from cnnpref.results.forms import form_fault
from cnnpref.results.hdf5 import (
    JSON,
    attribute_fault,
    format_fault,
    opened,
    put,
    read_attributes,
    reading,
    storage_fault,
)
from cnnpref.results.unit_file import ARRAYS, LATER, UnitResult
from cnnpref.status import Status

LAYER_FORMAT = "cnnpref layer"
APART = "image_best_apart"  # the rows of `image_best` that are not those of `image`
ABOUT = "about"  # in packed files: what unit files say beside the tables
FRAMES = ("frames", "frame_step")  # of all units, one after the other: in packed files
FRAME_COUNT = "frame_count"
_COMMON = ("net", "sha256", "layer", "position", "method", "options", "digest")
_FORM = {
    **{"unit": "i U", "score": "f U", "score_best": "f U", "seed": "i U", "status": "s U"},
    **{"evaluations": "i U", "receptive_field": "i U 4", "activation": "f U T"},
    **{"image": "f U H W C", "image_best": "f U H W C", "attempts?": "i U", "label?": "s U"},
    **{"latent?": "f U ...", "importance?": "u U H W"},
}
_ADVICE = "run 'cnnpref collect' for this layer again"


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


class MethodData:
    """The units of one method in an open layer file, read as they are asked for.

    Attributes:
        attributes: what the units have in common: `net`, `layer`, `position`, `options`, ...
    """

    def __init__(self, group: h5py.Group, path: Path) -> None:
        self._group, self._path = group, path
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
    def is_packed(self) -> bool:
        """Whether it holds all that the unit files hold, and stands for them."""
        return ABOUT in self._group

    @property
    def has_importance(self) -> bool:
        """Whether it was recorded how much each pixel mattered."""
        return "importance" in self._group

    def units(self) -> list[int]:
        """Their numbers, in the order of the file."""
        found: list[int] = self._group["unit"][()].tolist()
        return found

    def rows(self) -> list[Row]:
        """The units in the order of the file, without their images.

        Raises:
            UserError: they cannot be read.
        """
        with reading(self._path, _ADVICE):
            return self._rows()

    def _rows(self) -> list[Row]:
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
        return np.asarray(self.read("image", index), np.float32)

    def read(self, name: str, index: int) -> Array:
        """What a dataset holds in that row: of `image`, `image_best`, (H, W, C)."""
        with reading(self._path, _ADVICE):
            return np.asarray(self._group[name][index])

    def copy(self, file: h5py.File) -> None:
        """Write all that there is of the method into another file: datasets and attributes."""
        for name in (name for name in self._group if name != APART):
            data = self._group[name]
            if name == "image_best" and data == self._group["image"]:
                file[name] = file["image"]  # another name of the same data, here too
            elif data.is_virtual:
                for index in range(len(data)):
                    put(file, name, index, self.read(name, index))
            else:
                self._group.copy(name, file)
        file.attrs.update(self._group.attrs)

    def unit(self, index: int) -> UnitResult:
        """All that the file of the unit in that row held: of a packed layer file alone."""
        about = json.loads(self._group[ABOUT].asstr()[index])
        told = {name: _restored(name, value) for name, value in about["attributes"].items()}
        arrays: dict[str, Any] = {
            name: self._array(name, index, shape) for name, shape in about["arrays"].items()
        }
        return UnitResult(**arrays, attributes={**LATER, **self.attributes, **told})

    def _array(self, name: str, index: int, shape: Sequence[int]) -> Array:
        """An array of the unit in that row, which has that shape in its file."""
        if name == "activation":
            return self.read(name, index)[: shape[0]]
        if name not in FRAMES:
            return self.read(name, index)
        if not shape[0]:
            return np.zeros(shape, ARRAYS[name])
        first = self._group[FRAME_COUNT][:index].sum()
        return np.asarray(self._group[name][first : first + shape[0]])

    def importance(self, index: int) -> npt.NDArray[np.uint8] | None:
        """How much each pixel of that image mattered, (H, W), 255 is most; None: not recorded."""
        if not self.has_importance:
            return None
        return np.asarray(self.read("importance", index), np.uint8)


@contextmanager
def open_layer(path: Path) -> Iterator[dict[str, MethodData]]:
    """Open a layer file: its methods by name, in the order they were collected.

    Raises:
        UserError: it is missing or not a layer file.
    """
    with opened(path, _fault, _ADVICE) as file:
        with reading(path, _ADVICE):
            methods = {name: MethodData(group, path) for name, group in file.items()}
        yield methods


def _fault(file: h5py.File) -> str | None:
    return format_fault(file, LAYER_FORMAT) or _form_fault(file) or _images_fault(file)


def _form_fault(file: h5py.File) -> str | None:
    """What is wrong with the datasets of its groups, of which it must have one."""
    faults = [(name, _group_fault(group)) for name, group in file.items()]
    found = [f"{name}: {fault}" for name, fault in faults if fault]
    return found[0] if found else None if faults else "no method in it"


def _group_fault(group: Any) -> str | None:
    if not isinstance(group, h5py.Group):
        return "no group"
    return attribute_fault(group, set(_COMMON) - set(LATER)) or form_fault(group, _FORM)


def packed_units(path: Path, digest: str) -> set[int]:
    """The units of a series whose files a layer file stands for; none if it is not packed.

    Args:
        path: of the layer file, which need not be there.
        digest: of the series.
    """
    try:
        with open_layer(path) as methods:
            found = [data for data in methods.values() if data.is_packed]
            mine = [data for data in found if data.attributes["digest"] == digest]
            return {unit for data in mine for unit in data.units()}
    except UserError:
        return set()


def _images_fault(file: h5py.File) -> str | None:
    """Why images would be read as black ones; None if all of them are in the file."""
    found = (group.get(name) for group in file.values() for name in ("image", "image_best"))
    faults = (_image_fault(data) for data in found if isinstance(data, h5py.Dataset))
    return next(filter(None, faults), None)


def _image_fault(data: h5py.Dataset) -> str | None:
    if data.is_virtual and all(source.file_name == "." for source in data.virtual_sources()):
        return None  # rows of this file
    return storage_fault(data)


def _restored(name: str, value: Any) -> Any:
    """An attribute as unit files have it, from JSON, which has no tuples."""
    return tuple(value) if isinstance(value, list) and name not in JSON else value
