"""Layer files: written, of the unit files of a layer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cnnpref.atomic import PatientFile, replacing
from cnnpref.planning.series import Series
from cnnpref.results.hdf5 import (
    create,
    decode,
    plain,
    put,
    read_attributes,
    same_bits,
    write_attributes,
)
from cnnpref.results.layer_file import ABOUT, APART, FRAME_COUNT, FRAMES, LAYER_FORMAT, Row
from cnnpref.results.unit_file import ARRAYS, LATER, demand_unit, opened_unit, read_unit
from cnnpref.status import Status

_COMMON = (  # to a series
    *("net", "sha256", "layer", "position", "sign", "method", "options", "digest"),
)
_ROW = ("unit", "score", "score_best", "seed", "status", "attempts", "receptive_field")
_STACKED = [name for name in ARRAYS if name not in ("image_best", "activation", *FRAMES)]


def collect(path: Path, series: Sequence[Series], whole: bool = False) -> None:
    """Stack the unit files of a layer into one file, with a group for each series, by its name.

    A group of U units whose longest trace has T values holds `unit`, `status`, `score`,
    `score_best`, `seed`, `attempts`, `evaluations` (U,), `receptive_field` (U, 4), `activation`
    (U, T) padded with NaN, `image` and `image_best` (U, H, W, C); `latent` (U, ...) and
    `importance` (U, H, W) if the method has them; `label` (U,), texts, if the layer has labels:
    those of the series.

    Args:
        path: of the layer file.
        series: all of the layer.
        whole: with all else that unit files hold, so that the layer file can stand for them.

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
            if whole:
                _write_rest(group, each.paths(), output)


def _read_row(path: Path, digest: str) -> Row:
    demand_unit(path, digest)
    with opened_unit(path) as file:
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
    apart: list[int] = []  # rows whose best image is another one
    for index, path in enumerate(paths):
        _require(output)
        with opened_unit(path) as unit:
            for name in (n for n in _STACKED if n in unit):
                put(group, name, index, unit[name])
            if not _is_best(unit):
                put(group, APART, len(apart), unit["image_best"])
                apart.append(index)
    for name in (n for n in _STACKED if n in group):
        group[name].resize(len(paths), axis=0)  # where the last units lack it
    _write_best(group, apart)


def _is_best(unit: h5py.File) -> bool:
    """Whether the last image is also the best one."""
    image, best = unit["image"], unit["image_best"]
    return image == best or same_bits(image[()], best[()])


def _write_best(group: h5py.Group, apart: Sequence[int]) -> None:
    """`image_best`: each row is one of `image` or of those apart; nothing is stored again."""
    image = group["image"]
    same = sorted({*range(len(image))}.difference(apart))
    if not apart:
        group["image_best"] = image  # another name of the same data
    elif not same:
        group.move(APART, "image_best")
    else:
        layout = h5py.VirtualLayout(image.shape, image.dtype)
        layout[same] = h5py.VirtualSource(".", image.name, image.shape, image.dtype)[same]
        layout[apart] = h5py.VirtualSource(".", group[APART].name, group[APART].shape, image.dtype)
        group.create_virtual_dataset("image_best", layout, fillvalue=np.nan)


def _write_rest(group: h5py.Group, paths: Sequence[Path], output: PatientFile) -> None:
    """What unit files hold beside the tables and the stacked arrays."""
    common, about, counts = read_attributes(group), [], []
    for path in paths:
        _require(output)
        with opened_unit(path) as unit:
            about.append(json.dumps(_about(unit, common)))
            counts.append(len(unit[FRAMES[0]]) if FRAMES[0] in unit else 0)
            for name in (n for n in FRAMES if n in unit):
                for number, one in enumerate(unit[name]):
                    put(group, name, sum(counts[:-1]) + number, one)
    group.create_dataset(ABOUT, data=about, dtype=h5py.string_dtype())
    if FRAMES[0] in group:
        group[FRAME_COUNT] = counts


def _about(unit: h5py.File, common: Mapping[str, Any]) -> dict[str, Any]:
    """The shapes of a unit file's arrays, and the attributes that are not those of its series."""
    shapes = {name: unit[name].shape for name in ARRAYS if name in unit}
    told = {n: value for n, value in read_attributes(unit).items() if common.get(n) != value}
    return {"arrays": shapes, "attributes": told}


def _require(output: PatientFile) -> None:
    """Stop after an error of the disk: the rest would fill memory."""
    if output.error:
        raise output.error
