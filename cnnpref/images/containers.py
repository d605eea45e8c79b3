"""What holds images: files of one, archives, stacks of arrays, data sets, functions."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import struct
import sys
import tarfile
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cnnpref.errors import UserError, first_line, suggest
from cnnpref.foreign import (
    BROKEN_ARCHIVE,
    expanded_limit,
    open_expanded,
    open_hdf5,
    open_npy,
    read_file,
)
from cnnpref.images.pictures import Content

SUFFIXES = (
    *(".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm"),
    *(".tif", ".tiff", ".webp"),
)
_LARGEST = 256 << 20  # bytes of an image file
_TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")

# What reading damaged containers raises.
_DAMAGE = (*BROKEN_ARCHIVE, ValueError, LookupError, TypeError, struct.error)

Contents = Iterator[tuple[str, Content]]
"""Members and what they hold, in the order of the container."""
Wanted = Collection[str] | None
"""The members to read; None is all."""


def contents(container: str, wanted: Wanted = None) -> Contents:
    """What a container holds, one image after the other.

    Args:
        container: a path, or a name as `is_named` knows.
        wanted: of an image file the member is "", of an archive a path, of others a number.

    Raises:
        UserError: it cannot be read, or is of a kind that is not known.
    """
    read = _dataset if is_named(container) else _reader(container)
    try:
        yield from read(container, wanted)
    except _DAMAGE as error:
        text = getattr(error, "strerror", None) or first_line(error)
        raise UserError(f"references: {container}: cannot be read: {text}; check it") from None


def is_named(container: str) -> bool:
    """Whether it is no file: `torchvision:CIFAR10:folder`, `file.py:name`, `module:name`."""
    return ":" in container and not Path(container).exists()


def files_of(container: str) -> list[Path]:
    """The files whose change may change what a container holds."""
    if not is_named(container):
        return [Path(container)]
    kind, name = container.split(":", 1)
    if kind == "torchvision":
        root = Path(name.partition(":")[2] or os.devnull)
        return sorted(p for p in root.rglob("*") if p.is_file()) if root.is_dir() else []
    return [Path(inspect.getsourcefile(_function(container)) or kind)]


def member_name(container: str, member: str) -> str:
    """How an image is called: the path of its file, or where in a container it is."""
    if not member:
        return container
    return f"{container}[{member}]" if member.isdigit() else f"{container}/{member}"


def _reader(path: str) -> Callable[[str, Wanted], Contents]:
    name = path.lower()
    for suffixes, reader in _READERS.items():
        if name.endswith(suffixes):
            return reader
    kinds = " ".join(suffix for suffixes in _READERS for suffix in suffixes)
    raise UserError(f"references: {path}: not known as images; read are {kinds} and folders")


def _file(path: str, _: Wanted) -> Contents:
    yield "", read_file(path)


def _zip(path: str, wanted: Wanted) -> Contents:
    with zipfile.ZipFile(path) as archive:
        members = [info for info in archive.infolist() if _is_wanted(info.filename, wanted)]
        _demand_sizes([info.file_size for info in members], path)
        for info in members:
            yield info.filename, archive.read(info)


def _tar(path: str, wanted: Wanted) -> Contents:
    with open_expanded(path) as file, tarfile.open(fileobj=file, mode="r:") as archive:
        for entry in archive:
            if entry.isfile() and _is_wanted(entry.name, wanted):
                _demand_sizes([entry.size], path)
                member = archive.extractfile(entry)
                assert member
                yield entry.name, member.read()


def _demand_sizes(sizes: Sequence[int], path: str) -> None:
    """Raise ValueError if members are larger than images are, or a small archive has too many."""
    if sizes and max(sizes) > _LARGEST:
        raise ValueError(f"a member of {max(sizes):,} bytes; an image has at most {_LARGEST:,}")
    if sum(sizes) > expanded_limit(path):
        raise ValueError(f"its members take {sum(sizes):,} bytes, far more than it has")


def _is_wanted(name: str, wanted: Wanted) -> bool:
    place = Path(name)
    hidden = place.name.startswith(".") or "__MACOSX" in place.parts
    return name in wanted if wanted is not None else place.suffix.lower() in SUFFIXES and not hidden


def _npy(path: str, wanted: Wanted) -> Contents:
    yield from _rows(path, open_npy(path), wanted)


def _hdf5(path: str, wanted: Wanted) -> Contents:
    with open_hdf5(path) as file:
        found: list[h5py.Dataset] = []
        file.visititems(lambda _, item: found.append(item) if _is_stack(item) else None)
        if len(found) != 1:
            names = ", ".join(stack.name for stack in found) or "none"
            raise UserError(f"references: {path}: one stack (N, H, W, C) wanted, got {names}")
        yield from _rows(path, found[0], wanted)


def _is_stack(item: Any) -> bool:
    return isinstance(item, h5py.Dataset) and item.ndim in (3, 4) and item.dtype.kind in "uif"


def _rows(name: str, stack: Any, wanted: Wanted) -> Contents:
    if stack.ndim not in (3, 4) or stack.dtype.kind not in "uif":
        raise UserError(
            f"references: {name}: numbers (N, H, W, C) or (N, H, W) wanted, got {stack.shape} of"
            f" {stack.dtype}"
        )
    for row in _chosen(len(stack), wanted):
        yield str(row), np.asarray(stack[row])


def _chosen(count: int, wanted: Wanted) -> Iterable[int]:
    return range(count) if wanted is None else sorted(map(int, wanted))


def _dataset(name: str, wanted: Wanted) -> Contents:
    if not name.startswith("torchvision:"):
        yield from _rows(name, np.asarray(_function(name)()), wanted)
        return
    found = _torchvision(name)
    for row in _chosen(len(found), wanted):
        yield str(row), np.asarray(found[row][0])


def _torchvision(name: str) -> Any:
    """A data set of torchvision that is here already, `torchvision:CIFAR10:folder`."""
    _, kind, *root = name.split(":", 2)
    try:
        known = importlib.import_module("torchvision.datasets")
    except (ImportError, RuntimeError) as error:
        raise UserError(f"references: {name}: torchvision cannot be imported: {error}") from None
    if kind not in known.__all__:
        raise UserError(f"references: {name}: no data set {kind!r}{suggest(kind, known.__all__)}")
    try:
        return getattr(known, kind)(*root)
    except (TypeError, RuntimeError) as error:
        text = " ".join(str(error).split())
        raise UserError(
            f"references: {name}: {text}; write torchvision:{kind}:FOLDER, where it lies already"
        ) from None


def _function(name: str) -> Callable[[], Any]:
    """The function `file.py:name` or `package.module:name`, which makes a stack of images."""
    place, _, function = name.rpartition(":")
    try:
        found: Callable[[], Any] = getattr(_module(place), function)
    except (ImportError, AttributeError, OSError) as error:
        raise UserError(
            f"references: {name}: neither a file nor a function: {error}; check the path"
        ) from None
    return found


def _module(place: str) -> Any:
    if not place.endswith(".py"):
        return importlib.import_module(place)
    name = f"cnnpref_images_{Path(place).stem}"
    spec = importlib.util.spec_from_file_location(name, place)
    assert spec
    assert spec.loader
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_READERS: dict[tuple[str, ...], Callable[[str, Wanted], Contents]] = {
    SUFFIXES: _file,
    (".zip",): _zip,
    _TARS: _tar,
    (".npy",): _npy,
    (".h5", ".hdf5"): _hdf5,
}
