"""Packing: a layer file takes in all that the unit files hold, and stands for them."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from cnnpref.atomic import remove
from cnnpref.errors import UserError
from cnnpref.planning.files import UNITS
from cnnpref.planning.series import Batch, Series, escape
from cnnpref.results.check import is_collected
from cnnpref.results.collecting import collect
from cnnpref.results.hdf5 import same_bits
from cnnpref.results.layer_file import MethodData, open_layer
from cnnpref.results.unit_file import ARRAYS, UnitResult, read_unit, write_unit


def pack(path: Path, series: Sequence[Series]) -> int:
    """Write all that the unit files of a layer hold into its layer file, and delete them.

    Each is deleted after what the layer file says of it has been read and found equal to the bit.
    The layer file keeps its time, if it was of these unit files: what was made of it stays right.

    Args:
        path: of the layer file.
        series: all of the layer.

    Returns:
        How many unit files were deleted.

    Raises:
        UserError: a unit file is missing, invalid, or not as the layer file has it; or the
            operating system refused to write or to delete.
    """
    if not _is_packed(path, series):
        made = _made(path, series)
        collect(path, series, whole=True)
        if made:
            os.utime(path, ns=(made, made))
    with open_layer(path) as methods:
        return sum(_delete(path, each, methods[each.name]) for each in series)


def _is_packed(path: Path, series: Sequence[Series]) -> bool:
    if not is_collected(path, series):
        return False
    with open_layer(path) as methods:
        return all(data.is_packed for data in methods.values())


def _made(path: Path, series: Sequence[Series]) -> int | None:
    """When a layer file was made (ns); None if it is not of these unit files as they are."""
    if not is_collected(path, series):
        return None
    made = path.stat().st_mtime_ns
    units = (unit for each in series for unit in each.paths() if unit.exists())
    return None if any(unit.stat().st_mtime_ns > made for unit in units) else made


def _delete(path: Path, series: Series, data: MethodData) -> int:
    """Delete the unit files of a series that are as its layer file says; how many there were."""
    there = [(row, unit) for row, unit in enumerate(series.units) if series.path(unit).exists()]
    for row, unit in there:
        file = series.path(unit)
        if not _are_equal(read_unit(file), data.unit(row)):
            raise UserError(
                f"{file}: is not as {path} has it; run 'cnnpref collect' for this layer again"
            )
        remove(file)
    with suppress(OSError):  # it may hold pictures for the pages
        series.folder.rmdir()
    return len(there)


def _are_equal(one: UnitResult, other: UnitResult) -> bool:
    pairs = [(getattr(one, name), getattr(other, name)) for name in ARRAYS]
    alike = all(a is b if a is None or b is None else same_bits(a, b) for a, b in pairs)
    return alike and repr(sorted(one.attributes.items())) == repr(sorted(other.attributes.items()))


def restore(path: Path, batch: Batch) -> int:
    """Write the unit files of a batch that are missing and that a packed layer file stands for.

    Args:
        path: of the layer file, which need not be there.
        batch: the units.

    Returns:
        How many were written.

    Raises:
        UserError: the operating system refused to write.
    """
    series = batch.series
    with _packed(path) as methods:
        found = [data for data in methods if data.attributes["digest"] == series.digest]
        return sum(_write_missing(data, series.folder, batch.units) for data in found)


def unpack(path: Path, folder: Path) -> int:
    """Write all unit files that a packed layer file stands for, and delete it.

    Args:
        path: of the layer file, which need not be there: then nothing happens.
        folder: of the run.

    Returns:
        How many were written.

    Raises:
        UserError: the operating system refused to write, or to delete it.
    """
    with _packed(path) as methods:
        written = sum(_write_missing(data, _folder(data, folder), data.units()) for data in methods)
        stood_for_units = bool(methods)
    if stood_for_units:
        remove(path)
    return written


@contextmanager
def _packed(path: Path) -> Iterator[list[MethodData]]:
    """The series in a layer file that stands for unit files; none if it does not, or is damaged."""
    with ExitStack() as stack:
        try:
            methods = stack.enter_context(open_layer(path))
        except UserError:
            methods = {}
        yield [data for data in methods.values() if data.is_packed]


def _folder(data: MethodData, run: Path) -> Path:
    """Where the unit files of a series were."""
    told = data.attributes
    layer, key = escape(told["layer"]), told["digest"][:8]
    return run / UNITS.format(layer=layer, method=told["method"], key=key)


def _write_missing(data: MethodData, folder: Path, wanted: Collection[int]) -> int:
    paths = {row: folder / f"{unit}.h5" for row, unit in enumerate(data.units()) if unit in wanted}
    missing = {row: path for row, path in paths.items() if not path.exists()}
    for row, path in missing.items():
        write_unit(path, data.unit(row))
    return len(missing)
