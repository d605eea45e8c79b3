"""Unit files: the images of one unit, on disk whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from cnnpref.atomic import replacing
from cnnpref.errors import UserError
from cnnpref.foreign import open_hdf5
from cnnpref.input_space import Array
from cnnpref.results.forms import form_fault
from cnnpref.results.hdf5 import (
    UNREADABLE,
    create,
    format_fault,
    read_attributes,
    reading,
    reason_of,
    same_bits,
    storage_fault,
    write_array,
    write_attributes,
)

UNIT_FORMAT = "cnnpref unit"

ATTRIBUTES = (
    *("net", "sha256", "layer", "unit", "position", "receptive_field", "method", "options", "seed"),
    *("status", "score", "score_best", "versions", "device", "seconds", "digest"),
)
_MORE = {  # forms of arrays that a unit file may have
    **{"image": "f H W C", "importance?": "u H W", "frames?": "u N H W C", "frame_step?": "i N"},
    "latent?": "f ...",
}
LATER = {"sign": 1, "attempts": 1}  # attributes that older files lack, and what holds there
_ADVICE = "run 'cnnpref generate' for this unit again"
REQUIRED = ("image", "image_best", "activation")  # arrays of every unit file
ARRAYS: dict[str, type[np.generic]] = {
    **dict.fromkeys((*REQUIRED, "latent"), np.float32),
    "importance": np.uint8,
    "frames": np.uint8,
    "frame_step": np.int32,
}


@dataclass(frozen=True)
class UnitResult:
    """All that one unit file holds.

    Attributes:
        image: the last iterate, float32 (H, W, C), 0..255 scale; RGB where C is 3.
        image_best: the iterate of the highest activation, the same shape.
        activation: float32 trace, one value per evaluation.
        attributes: a value for each name in `ATTRIBUTES`: `options`, `versions` and `sha256` are
            dicts that JSON can hold, `receptive_field` is (top, left, bottom, right) in pixels,
            half open; the others are strings or numbers, or tuples of integers. Also `label`, where
            the unit had one when its image was made; `sign` (-1: the image that the unit likes
            least); `attempts`, and where there were several `attempts_status`, how those before
            the last went.
        latent: the last iterate in the generator's input space, float32, or None.
        importance: how much each pixel mattered, uint8 (H, W), 255 is most; or None.
        frames: images of the ascent, uint8 (n, H, W, C), clipped to 0..255; or None.
        frame_step: after which evaluation, from 1, each of them was taken, int32 (n,); or None.
    """

    image: Array
    image_best: Array
    activation: Array
    attributes: dict[str, Any]
    latent: Array | None = None
    importance: npt.NDArray[np.uint8] | None = None
    frames: npt.NDArray[np.uint8] | None = None
    frame_step: npt.NDArray[np.int32] | None = None


def write_unit(path: Path, result: UnitResult) -> None:
    """Write a unit file, whole or not at all; `path` is named `<unit>.h5`.

    Raises:
        UserError: the operating system refused to write.
        ValueError: an attribute is missing.
    """
    if missing := sorted(set(ATTRIBUTES) - set(result.attributes)):
        raise ValueError(f"a unit file needs the attributes {', '.join(missing)}")
    with replacing(path) as temporary, create(temporary, UNIT_FORMAT) as (file, _):
        write_attributes(file, result.attributes)
        for name, kind in ARRAYS.items():
            if (given := getattr(result, name)) is not None:
                array = np.asarray(given, kind)
                if name == "image_best" and same_bits(array, np.asarray(result.image, kind)):
                    file[name] = file["image"]  # another name of the same data
                else:
                    write_array(file, name, array)


@contextmanager
def opened_unit(path: Path) -> Iterator[h5py.File]:
    """A unit file that is known to be one, to read.

    Raises:
        UserError: what is wanted of it cannot be read.
    """
    with reading(path, _ADVICE), open_hdf5(path) as file:
        yield file


def read_unit(path: Path) -> UnitResult:
    """Read a unit file.

    Raises:
        UserError: it is missing or not a complete unit file.
    """
    demand_unit(path)
    with opened_unit(path) as file:
        arrays = {name: file[name][()] for name in ARRAYS if name in file}
        return UnitResult(**arrays, attributes={**LATER, **read_attributes(file)})


def check_unit(path: Path, digest: str | None = None) -> str | None:
    """Why `path` is not a valid unit file of that digest (None: of any); None when it is.

    Valid: it opens, is complete, is of the unit that its name says, and has the wanted digest.
    """
    try:
        with open_hdf5(path) as file:
            return (
                format_fault(file, UNIT_FORMAT)
                or _dataset_fault(file)
                or _attribute_fault(file, path.stem, digest)
            )
    except UNREADABLE as error:
        return reason_of(error)


def _dataset_fault(file: h5py.File) -> str | None:
    found = {name: file.get(name) for name in ARRAYS if name in file or name in REQUIRED}
    for name, data in found.items():
        if not isinstance(data, h5py.Dataset):
            return f"no dataset /{name}"
        if data.dtype != ARRAYS[name]:
            return f"/{name} is {data.dtype}, not {ARRAYS[name].__name__}"
        if fault := storage_fault(data):
            return fault
    image, best, trace = (found[name].shape for name in REQUIRED)
    if None in (image, best, trace) or len(image) != 3 or best != image or len(trace) != 1:
        return f"shapes {image}, {best} and {trace}, not (H, W, C) twice and (T,)"
    return form_fault(file, _MORE)


def _attribute_fault(file: h5py.File, unit: str, digest: str | None) -> str | None:
    attributes = file.attrs
    if missing := set(ATTRIBUTES).difference(attributes):
        return f"no attribute {min(missing)}"
    if str(attributes["unit"]) != unit:
        return f"holds unit {attributes['unit']}"
    if digest not in (None, attributes["digest"]):
        return f"other digest: {attributes['digest'][:8]}..., wanted {digest[:8]}..."
    return None


def demand_unit(path: Path, digest: str | None = None) -> None:
    """Require a valid unit file.

    Raises:
        UserError: it is not one.
    """
    if fault := check_unit(path, digest):
        raise UserError(f"{path}: {fault}; {_ADVICE}")
