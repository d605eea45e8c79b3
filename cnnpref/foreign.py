"""Files that others may have made, opened with distrust: what they hold is data, and theirs alone.

An HDF5 file can lead to other files: by links, by raw data that lies outside, by virtual datasets.
It can name filters, which are programs, say that it holds far more than it does, and have no end.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import os
import stat
import struct
import tarfile
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:  # it takes time, which those save that read no HDF5
    import h5py

BROKEN_ARCHIVE = (  # what reading a damaged zip, tar or compressed file raises
    *(zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError),
    RuntimeError,  # an encrypted member, an unknown compression
)
_FILTERS = {1, 2, 3, 32000}  # deflate, shuffle, fletcher32 and h5py's lzf: part of every h5py
_HEAP = b"GCOL\1\0\0\0"  # how a heap of HDF5 starts; its size is next
_HEADER = 16  # bytes at the start of a heap, and of each of its objects
_OBJECT = struct.Struct("<H6xQ")  # such a start: a number, 0 of free space, and a size
_MOST = 1 << 16  # objects of a heap; and bytes of one that has more than one object
_LEAST = 1 << 30  # bytes that may come out of any archive
_ROOM = 64 << 20  # bytes that a dataset may take of which nearly nothing is stored
_RATIO = 100  # of its size to what is stored, above that: images are not so empty


class ForeignError(OSError):
    """A file holds what is not taken from others; says what, in a few words."""


def read_file(path: str | os.PathLike[str]) -> bytes:
    """All of a regular file: not of a device or a pipe, which may have no end.

    Raises:
        OSError: it is something else, or cannot be read.
    """
    with open_regular(path) as file:
        return file.read()


@contextmanager
def open_regular(path: str | os.PathLike[str]) -> Iterator[io.BufferedReader]:
    """A regular file, to read.

    Raises:
        OSError: it is something else, or cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would wait for a writer
    except ValueError as error:  # a zero, or half a character
        raise OSError(errno.EINVAL, f"no file has such a name ({error})", str(path)) from None
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        yield file


def open_npy(path: str | os.PathLike[str]) -> npt.NDArray[Any]:
    """The array of an .npy file, read as it is used; it has all values that it says it has.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged, or holds something else than numbers.
    """
    with open_regular(path):
        pass
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except (SyntaxError, tokenize.TokenError, OverflowError, TypeError, RecursionError) as error:
        raise ValueError(f"its header is damaged: {error}") from None


def expanded_limit(path: str | os.PathLike[str]) -> int:
    """How many bytes may come out of a compressed file: images are hardly smaller in archives."""
    return max(_LEAST, 200 * Path(path).stat().st_size)


def open_expanded(path: str | os.PathLike[str]) -> io.BufferedReader:
    """What a file holds, compressed by gzip, bzip2, xz, or not at all.

    Raises:
        OSError: the file cannot be read; later, that it holds far more than it may.
    """
    with Path(path).open("rb") as file:
        start = file.read(6)
    openers = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
    found = [each for magic, each in openers.items() if start.startswith(magic)]
    opener: Any = found[0] if found else open
    return io.BufferedReader(_Bounded(opener(path, "rb"), expanded_limit(path)))


class _Bounded(io.RawIOBase):
    """A file that ends with an error where more comes out of it than may."""

    def __init__(self, file: Any, limit: int) -> None:
        self._file, self._limit = file, limit

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer."""
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        if self._file.tell() > self._limit:
            raise ForeignError(errno.EFBIG, "far more comes out of it than it has")
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place, which is read up to where it is compressed."""
        if whence == os.SEEK_SET and offset > self._limit:
            raise ForeignError(errno.EFBIG, "far more comes out of it than it has")
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        """The place."""
        return int(self._file.tell())

    def close(self) -> None:
        """Close it and the file below."""
        self._file.close()
        super().close()


class _Watched(io.RawIOBase):
    """A file from which HDF5 reads, but no heap that it would never come out of.

    Texts and arrays of any length lie in heaps, one object behind the other. HDF5 goes on from each
    by the size that it says it has, and stays for ever where damage made that 0.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._file, self._place = io.FileIO(path), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer. Of a heap HDF5 reads the start first: nothing gathers what it reads.

        Raises:
            OSError: the file is shorter; `ForeignError` if that is the start of a damaged heap.
        """
        start, rest = self._place, memoryview(buffer)
        while rest:  # the operating system gives 2 GiB at most
            count = os.preadv(self._file.fileno(), [rest], self._place)
            if not count:
                raise OSError("truncated")
            self._place, rest = self._place + count, rest[count:]
        if bytes(buffer[:8]) == _HEAP and not self._ends(start):
            raise ForeignError("damaged: a heap without an end")
        return self._place - start

    def _ends(self, start: int) -> bool:
        """Whether the objects of a heap end where it ends."""
        known, place = self._read(start, _MOST), _HEADER
        end = int.from_bytes(known[8:_HEADER], "little")
        for _ in range(_MOST):
            head = known[place : place + _HEADER]
            if len(head) < _HEADER:  # of a heap for a single object that is larger
                head = self._read(start + place, _HEADER)
            if place + _HEADER > end or len(head) < _HEADER:  # what a file lacks HDF5 sees itself
                return True
            number, size = _OBJECT.unpack(head)
            whole = _HEADER + -(-size // 8) * 8 if number else size
            if not _HEADER <= whole <= end - place:
                return False
            place += whole
        return False

    def _read(self, start: int, count: int) -> bytes:
        return os.pread(self._file.fileno(), count, start)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place."""
        self._place = self._file.seek(offset, whence)
        return self._place

    def tell(self) -> int:
        """The place."""
        return self._place

    def close(self) -> None:
        """Close it and the file below."""
        self._file.close()
        super().close()


def open_hdf5(path: str | os.PathLike[str]) -> h5py.File:
    """An HDF5 file, to read, that leads nowhere else.

    It is not locked: files are replaced, never changed, and some network file systems have none.

    Raises:
        OSError: it cannot be opened; `ForeignError` if that is because of what it holds.
    """
    import h5py
    from h5py import h5g, h5o

    if Path(path).exists() and not (Path(path).is_file() or Path(path).is_dir()):
        raise ForeignError("not a regular file")
    file = h5py.File(_Watched(path), "r")
    try:
        top = h5g.open(file.id, b"/")
        fault = next(_faults(top, "", {h5o.get_info(top).addr}), None)
    except ForeignError as error:
        fault = str(error)
    except Exception as error:  # h5py raises almost anything for damaged files
        fault = f"damaged: {' '.join(str(error).split())}"
    if fault:
        file.close()
        raise ForeignError(fault)
    return file


def _faults(group: Any, place: str, seen: set[int]) -> Iterator[str]:
    """What is wrong with what lies in a group, at any depth."""
    from h5py import h5d, h5g, h5l, h5o

    for key in group:
        name = f"{place}/{key.decode('utf-8', 'replace')}"
        link = group.links.get_info(key).type
        if link not in (h5l.TYPE_HARD, h5l.TYPE_SOFT):
            yield f"{name} is a link to another file"
        elif link == h5l.TYPE_HARD:
            item = h5o.open(group, key)
            address = h5o.get_info(item).addr
            again = address in seen
            seen.add(address)
            if isinstance(item, h5g.GroupID):
                if again:
                    yield f"{name} is a group that lies elsewhere too"
                yield from _faults(item, name, seen)
            elif isinstance(item, h5d.DatasetID) and not again:
                yield from (f"{name} {fault}" for fault in _dataset_faults(item))


def _dataset_faults(data: Any) -> Iterator[str]:
    from h5py import h5d

    how = data.get_create_plist()
    if how.get_external_count():
        yield "has its data in another file"
    filters = {how.get_filter(number)[0] for number in range(how.get_nfilters())}
    if filters - _FILTERS:
        yield f"needs the filter {min(filters - _FILTERS)}"
    if how.get_layout() == h5d.VIRTUAL:
        names = {how.get_virtual_filename(number) for number in range(how.get_virtual_count())}
        if names != {"."}:  # of this file
            yield "refers to other files"
        return
    sizes, stored = data.get_space().get_simple_extent_dims(), 0  # its own product has 64 bits
    size = 0 if sizes is None else prod(sizes) * data.dtype.itemsize
    if size > _ROOM:
        stored = data.get_storage_size()
    if size > max(_ROOM, _RATIO * stored):
        yield f"says it holds {size / 2**20:,.0f} MiB, of {stored:,} bytes"
