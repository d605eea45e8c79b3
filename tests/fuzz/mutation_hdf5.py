"""Changes to HDF5 files: their datasets, attributes and links."""

from __future__ import annotations

from contextlib import suppress
from math import prod
from pathlib import Path
from random import Random
from typing import Any

import h5py
import numpy as np
from mutation import FLOATS, NUMBERS, SECRET, TEXTS, times


def hdf5_of(random: Random, path: Path) -> None:
    """Datasets, attributes and links of an HDF5 file."""
    with h5py.File(path, "r+") as file:
        for _ in times(random):
            objects: list[Any] = [file]
            file.visititems(lambda _, item: objects.append(item))  # noqa: B023 - called at once
            item = random.choice(objects)
            if item.attrs and random.random() < 0.4:
                _change_attribute(random, item)
            elif item.name not in ("/", None):
                _change_object(random, item)


def _change_attribute(random: Random, item: Any) -> None:
    name, other = random.choice(list(item.attrs)), random.choice(list(item.attrs))
    kept = item.attrs[other]
    del item.attrs[name]
    wanted = (
        *NUMBERS,
        *FLOATS,
        *TEXTS,
        kept,
        h5py.Empty("f"),
        np.zeros((2, 0)),
        np.arange(4),
        None,
    )
    value = random.choice(wanted)
    with suppress(TypeError, ValueError, OSError, OverflowError):  # HDF5 has no such value
        if value is not None:
            item.attrs[name] = value


def _change_object(random: Random, item: Any) -> None:
    parent, name = item.parent, item.name.rpartition("/")[2]
    shape, kind = getattr(item, "shape", None) or (3,), getattr(item, "dtype", np.dtype("f4"))
    names = [each for each in parent if each != name]
    del parent[name]
    with suppress(ValueError, TypeError, OSError):  # HDF5 does not make such a one: it is gone
        random.choice(_OBJECTS)(random, parent, name, shape, kind, names)


def _gone(*_: Any) -> None:
    pass


def _resized(random: Random, parent: Any, name: str, shape: Any, kind: Any, _: Any) -> None:
    sizes = random.choice(((), (0,), shape[1:], (*shape, 2), shape[::-1], (1,), (2, *shape[1:])))
    parent.create_dataset(name, sizes, kind)


def _huge(random: Random, parent: Any, name: str, shape: Any, kind: Any, _: Any) -> None:
    sizes = list(shape)
    sizes[random.randrange(len(sizes))] = random.choice((10**4, 10**8, 2**31, 2**40))
    chunks = tuple(min(size, 16) or 1 for size in sizes)
    filled = {"fillvalue": np.zeros((), kind)[()]} if np.dtype(kind).kind in "biuf" else {}
    more = random.choice(({}, {"compression": "gzip"}, filled))
    parent.create_dataset(name, sizes, kind, chunks=chunks, **more)


def _retyped(random: Random, parent: Any, name: str, shape: Any, *_: Any) -> None:
    kinds = ("f2", "f8", "i1", "u8", "c8", "S5", "?", "V3", h5py.string_dtype(), "f4,i2")
    parent.create_dataset(name, shape, random.choice(kinds))


def _link(random: Random, parent: Any, name: str, *rest: Any) -> None:
    others = rest[-1] or ["nowhere"]
    links = (
        h5py.SoftLink(f"{parent.name}/{random.choice(others)}"),
        h5py.SoftLink(f"{parent.name}/{name}"),
        h5py.ExternalLink(f"../{SECRET}", "secret"),
        h5py.ExternalLink("/dev/zero", "x"),
        parent,
    )
    parent[name] = random.choice(links)


def _elsewhere(random: Random, parent: Any, name: str, shape: Any, kind: Any, _: Any) -> None:
    if random.random() < 0.5:
        whole = min(prod(shape) * kind.itemsize, 1 << 60)  # of a shape that was changed before
        parent.create_dataset(name, shape, kind, external=[(f"../{SECRET}", 0, whole)])
        return
    layout = h5py.VirtualLayout(shape, kind)
    layout[...] = h5py.VirtualSource(f"../{SECRET}", "secret", shape)
    parent.create_virtual_dataset(name, layout)


def _filtered(random: Random, parent: Any, name: str, shape: Any, kind: Any, _: Any) -> None:
    filters = ({"compression": "lzf"}, {"scaleoffset": 2}, {"fletcher32": True}, {"compression": 9})
    if shape and kind.kind in "iu":
        parent.create_dataset(name, shape, kind, **random.choice(filters))


_OBJECTS = (_gone, _resized, _resized, _huge, _huge, _retyped, _link, _elsewhere, _filtered)
