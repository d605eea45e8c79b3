"""Files about reference images: of a shard, of a layer, and of their pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from cnnpref.atomic import replacing
from cnnpref.errors import UserError
from cnnpref.geometry import Shape
from cnnpref.planning.series import escape
from cnnpref.results.forms import form_fault
from cnnpref.results.hdf5 import (
    COMPRESSION,
    create,
    format_fault,
    opened,
    reading,
    write_attributes,
)
from cnnpref.statistics.exact import LIMBS
from cnnpref.statistics.layer import QUANTILES, Known, LayerReferences, Moments, Picks
from cnnpref.statistics.nature import Nature
from cnnpref.statistics.tally import Part

SHARD_FORMAT, REFERENCE_FORMAT = "cnnpref reference shard", "cnnpref references"
NATURE_FORMAT = "cnnpref nature"

_KNOWN_FORM = {
    **{"images/name": "s I", "images/sha256": "s I"},
    **{"skipped/name": "s S", "skipped/reason": "s S"},
}
_PICKS = {"image": "i U {}", "position": "i U {} P", "activation": "f U {}"}
_BOXES = {"box?": "i U {} 4", "crop?": "i U {}"}
_REFERENCE_FORM = {
    **_KNOWN_FORM,
    **{
        f"{name}/{field}": axes.format(name)
        for name in ("top", "bottom", "quantile")
        for field, axes in {**_PICKS, **_BOXES}.items()
    },
    **{
        field + ending: "f U"
        for field in ("n", "mean", "sd", "median", "p99", "max")
        for ending in ("", "_max", "_sum")
    },
    **{"histogram": "i U B", "edges": "f U E", "histogram_max": "i U b", "edges_max": "f U e"},
    **{"nearest": "i U N", "correlation": "f U N", "crops?": "v C"},
}
_PART_FORM = {
    **{"maximum": "f I U", "maximum_at": "i I U", "total": "f I U"},
    **{"bottom": "f k U", "bottom_at": "i k U", "bottom_row": "i k U"},
    **{"sums": f"i {LIMBS} 2 U", "bins": "i B", "counts": "i U B"},
}
_NATURE_FORM = {
    **{"colour/mean": "f C", "colour/components": "f C C", "colour/distance_median": "f"},
    **{"magnitude": "f C H W", "rgb/mean": "f C", "rgb/covariance": "f C C"},
}
_FORMS = {SHARD_FORMAT: _KNOWN_FORM, REFERENCE_FORMAT: _REFERENCE_FORM, NATURE_FORMAT: _NATURE_FORM}
_ADVICE = "delete it and run 'cnnpref references' again"
_TEXT = h5py.string_dtype()
_IMAGES, _UNITS = 512, 64  # of a chunk of a shard's tables
_MOMENTS = {"values": "", "maxima": "_max", "sums": "_sum"}  # and their endings in the file
_TABLES = ("histogram", "edges", "histogram_max", "edges_max", "nearest", "correlation")


@dataclass(frozen=True)
class ShardData:
    """An open shard: its images, and what they do to a layer.

    While a part is held, HDF5 keeps what was read of it: up to 1 MB of each of its tables.
    """

    known: Known
    part: Callable[[str], Part]


class _Table:
    """A dataset of a shard, read as it is used.

    Raises:
        UserError: what is wanted of it cannot be read.
    """

    def __init__(self, data: h5py.Dataset, path: Path) -> None:
        self._data, self._path = data, path

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, key: Any) -> Any:
        with reading(self._path, _ADVICE):
            return self._data[key]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.asarray(self[()], dtype)


def write_shard(path: Path, digest: str, known: Known, parts: Mapping[str, Part]) -> None:
    """Write what the images of a shard do to all layers, whole or not at all.

    Raises:
        UserError: the operating system refused to write.
    """
    with replacing(path) as temporary, create(temporary, SHARD_FORMAT) as (file, _):
        write_attributes(file, {"digest": digest})
        _write_known(file, known)
        for layer, part in parts.items():
            group = file.create_group(f"layers/{escape(layer)}")
            for field in fields(Part):
                _write_array(group, field.name, getattr(part, field.name))


@contextmanager
def open_shard(path: Path, digest: str, layers: Sequence[str]) -> Iterator[ShardData]:
    """Open a shard; its tables are read as they are asked for.

    Raises:
        UserError: it is missing, damaged or of another digest.
    """
    with _opened(path, SHARD_FORMAT, digest) as file:
        with reading(path, _ADVICE):
            _demand_parts(file, layers)
            known = _read_known(file)

        def part(layer: str) -> Part:
            with reading(path, _ADVICE):
                group = file[f"layers/{escape(layer)}"]
                return Part(*(_Table(group[field.name], path) for field in fields(Part)))

        yield ShardData(known, part)


@contextmanager
def create_references(
    path: Path, digest: str, found: LayerReferences, crops: int | None
) -> Iterator[Callable[[int, bytes], None]]:
    """Write what is known of a layer, whole or not at all; takes the crops while it is open.

    Args:
        path: of the file.
        digest: of all that determines it.
        found: without its crops.
        crops: how many there will be; None: they are not to be stored.

    Raises:
        UserError: the operating system refused to write.
    """
    with replacing(path) as temporary, create(temporary, REFERENCE_FORMAT) as (file, output):
        attributes = {"layer": found.layer, "shape": found.shape, "quantiles": QUANTILES}
        write_attributes(file, {"digest": digest, "count": len(found.images), **attributes})
        _write_known(file, Known(found.images, found.sha256, found.skipped))
        for name, picks in found.picks().items():
            for field in fields(Picks):
                if (array := getattr(picks, field.name)) is not None:
                    file[f"{name}/{field.name}"] = array
        for name, ending in _MOMENTS.items():
            for field in fields(Moments):
                file[field.name + ending] = getattr(getattr(found, name), field.name)
        for name in _TABLES:
            file[name] = getattr(found, name)
        kind = h5py.vlen_dtype(np.uint8)
        data = None if crops is None else file.create_dataset("crops", (crops,), kind)

        def write(number: int, crop: bytes) -> None:
            if output.error:  # the rest would fill memory
                raise output.error
            assert data is not None
            data[number] = np.frombuffer(crop, np.uint8)

        yield write


def read_references(path: Path, digest: str | None = None) -> LayerReferences:
    """What reference images do to the units of a layer.

    Args:
        path: of the file.
        digest: that it must have; None: any.

    Raises:
        UserError: it is missing, damaged or of another digest.
    """
    with _opened(path, REFERENCE_FORMAT, digest) as file, reading(path, _ADVICE):
        picks = {name: _read_record(Picks, file[name]) for name in ("top", "bottom", "quantile")}
        moments = {name: _read_record(Moments, file, end) for name, end in _MOMENTS.items()}
        tables = {name: file[name][()] for name in _TABLES}
        crops = [bytes(crop) for crop in file["crops"][()]] if "crops" in file else ()
        shape: Shape = tuple(file.attrs["shape"].tolist())
        layer = str(file.attrs["layer"])
        known = vars(_read_known(file))
        return LayerReferences(
            layer=layer, shape=shape, crops=crops, **known, **picks, **moments, **tables
        )


def write_nature(path: Path, digest: str, pixels: str, found: Nature) -> None:
    """Write what the pixels of reference images are like.

    Args:
        path: of the file.
        digest: over all that determines the file.
        pixels: over the images alone, as they are shown to the net.
        found: what is written.

    Raises:
        UserError: the operating system refused to write.
    """
    with replacing(path) as temporary, create(temporary, NATURE_FORMAT) as (file, _):
        write_attributes(file, {"digest": digest, "pixels": pixels})
        for name, place in _NATURE.items():
            file[place] = getattr(found, name)
        for (height, width), (mean, sd) in found.spectra.items():
            group = file.create_group(f"spectrum/{height}x{width}")
            group["mean"], group["sd"] = mean, sd


_NATURE = {
    "mean": "colour/mean",
    "components": "colour/components",
    "distance_median": "colour/distance_median",
    "magnitude": "magnitude",
    "rgb_mean": "rgb/mean",
    "rgb_covariance": "rgb/covariance",
}


def read_nature(path: Path, digest: str | None = None) -> Nature:
    """What the pixels of reference images are like.

    Args:
        path: of the file.
        digest: of the images, that it must have; None: any.

    Raises:
        UserError: it is missing, damaged or of other images.
    """
    with _opened(path, NATURE_FORMAT, digest) as file, reading(path, _ADVICE):
        found: dict[str, Any] = {name: file[place][()] for name, place in _NATURE.items()}
        if not isinstance(sizes := file["spectrum"], h5py.Group):
            raise UserError(f"{path}: no group spectrum; {_ADVICE}")
        spectra = {}
        for size, group in sizes.items():
            height, width = map(int, size.split("x"))
            spectra[height, width] = group["mean"][()], group["sd"][()]
        return Nature(**found, spectra=spectra)


def reference_fault(path: Path, kind: str, digest: str) -> str | None:
    """Why a file is not one of that format and digest; None if it is."""
    try:
        with _opened(path, kind, digest):
            return None
    except UserError as error:
        return str(error).removeprefix(f"{path}: ").partition(";")[0]


def _opened(path: Path, kind: str, digest: str | None) -> AbstractContextManager[h5py.File]:
    def fault_of(file: h5py.File) -> str | None:
        fault = format_fault(file, kind) or form_fault(file, _FORMS[kind])
        if not fault and digest not in (None, file.attrs.get("digest")):
            fault = "of other images, layers or settings"
        return fault

    return opened(path, fault_of, _ADVICE)


def _demand_parts(file: h5py.File, layers: Sequence[str]) -> None:
    """Raise ValueError if there is a layer of which a shard does not have all."""
    for layer in layers:
        place = f"layers/{escape(layer)}"
        form = _KNOWN_FORM | {f"{place}/{name}": axes for name, axes in _PART_FORM.items()}
        if fault := form_fault(file, form):
            raise ValueError(fault)


def _write_array(group: h5py.Group, name: str, array: Any) -> None:
    x = np.asarray(array)
    if name == "counts":
        group.create_dataset(name, data=x, **COMPRESSION)
    elif x.ndim == 2 and x.size:
        chunks = min(len(x), _IMAGES), min(x.shape[1], _UNITS)
        group.create_dataset(name, data=x, chunks=chunks)
    else:
        group[name] = x


def _write_known(file: h5py.File, known: Known) -> None:
    names = {"images/name": known.images, "images/sha256": known.sha256}
    told = {"skipped/name": tuple(known.skipped), "skipped/reason": tuple(known.skipped.values())}
    for place, texts in {**names, **told}.items():
        plain = [text.encode("utf-8", "replace").decode() for text in texts]
        file.create_dataset(place, data=np.array(plain, object), dtype=_TEXT)


def _read_known(file: h5py.File) -> Known:
    texts = {
        place: tuple(file[place].asstr()[()].tolist())
        for place in ("images/name", "images/sha256", "skipped/name", "skipped/reason")
    }
    names, digests, skipped, reasons = texts.values()
    return Known(names, digests, dict(zip(skipped, reasons, strict=True)))


def _read_record(kind: type[Any], group: h5py.Group, ending: str = "") -> Any:
    names = [field.name for field in fields(kind) if field.name + ending in group]
    return kind(**{name: group[name + ending][()] for name in names})
