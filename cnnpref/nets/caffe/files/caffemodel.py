"""Weights in a caffemodel: found without reading them, then read straight into their arrays.

A caffemodel is one protobuf message, nearly all of it weights; parsed as a whole it takes three
times its size of memory. Here only the positions of its fields are read
(https://protobuf.dev/programming-guides/encoding), and the weights when they are asked for.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from cnnpref.atomic import replacing
from cnnpref.errors import UserError
from cnnpref.foreign import open_regular
from cnnpref.nets.caffe.files.schema import SCHEMA, Message, PathLike

Weights = npt.NDArray[np.float32]
Buffer = mmap.mmap | bytes

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types
# the fields `data` and `double_data` of BlobProto
_NUMBERS: dict[int, np.dtype[Any]] = {5: np.dtype("<f4"), 8: np.dtype("<f8")}
_TAG = np.dtype("u1")  # their tags take one byte
_V2_LAYER, _V1_LAYER, _V0_LAYER = 100, 2, 1  # fields: two of a net; V0 is within a V1 layer
_NAME_AND_BLOBS = {"V2": (1, 7), "V1": (4, 6), "V0": (1, 50)}  # fields of a layer


class Field(NamedTuple):
    """One field of a message: its tag is at `start`, its content from `body` to `end`."""

    number: int
    kind: int
    start: int
    body: int
    end: int


class Chunk(NamedTuple):
    """Numbers in a file: records of `dtype` from `start` to `end`, with a tag each if unpacked."""

    number: int
    packed: bool
    start: int
    end: int

    @property
    def dtype(self) -> np.dtype[Any]:
        values = _NUMBERS[self.number]
        return np.dtype([("value", values)] if self.packed else [("tag", _TAG), ("value", values)])


@dataclass(frozen=True)
class StoredBlob:
    """A blob in a file: its BlobProto without the values, and where these lie."""

    path: Path
    header: Message
    chunks: Sequence[Chunk]

    @property
    def legacy(self) -> bool:
        """Whether the shape is given as num, channels, height, width."""
        fields = ("num", "channels", "height", "width")
        given = any(self.header.HasField(field) for field in fields)
        return given and not self.header.HasField("shape")

    @property
    def shape(self) -> tuple[int, ...]:
        """The declared shape; () for a blob without one, that holds a single value."""
        if self.legacy:
            return tuple(getattr(self.header, f) for f in ("num", "channels", "height", "width"))
        return tuple(self.header.shape.dim)

    def array(self) -> Weights:
        """The values, read from the file.

        Raises:
            ValueError: the number of values does not fit the shape.
        """
        number = max((chunk.number for chunk in self.chunks), default=5)  # double_data wins
        chunks = [chunk for chunk in self.chunks if chunk.number == number]
        counts = [(chunk.end - chunk.start) // chunk.dtype.itemsize for chunk in chunks]
        values = np.empty(sum(counts), np.float32)
        with self.path.open("rb") as file:
            for chunk, part in zip(chunks, np.split(values, np.cumsum(counts)[:-1]), strict=True):
                file.seek(chunk.start)
                if chunk.packed and number == 5:
                    file.readinto(part.view(np.uint8).data)
                else:
                    part[:] = np.fromfile(file, chunk.dtype, len(part))["value"]
        return values.reshape(self.shape)


def stored_layers(path: PathLike) -> dict[str, list[StoredBlob]]:
    """The blobs of each layer of a caffemodel, of any of the formats, by its name.

    Raises:
        UserError: the file is missing, truncated or not a caffemodel.
    """
    with _walked(path, "caffemodel") as buffer:
        found = [
            _layer(Path(path), buffer, field)
            for number in (_V2_LAYER, _V1_LAYER)
            for field in _fields(buffer, 0, len(buffer))
            if field.number == number
        ]
    if not found:
        raise UserError(f"{path}: holds no layers; a .caffemodel (binary) is expected here")
    return dict(found)


def stored_blob(path: PathLike) -> StoredBlob:
    """The blob of a binaryproto.

    Raises:
        UserError: the file is missing, truncated or not a binaryproto.
    """
    with _walked(path, "binaryproto") as buffer:
        return _blob(Path(path), buffer, 0, len(buffer))


@contextmanager
def _walked(path: PathLike, kind: str) -> Iterator[Buffer]:
    """The bytes of a file; errors while they are parsed are reported as damage of the file."""
    try:
        with open_regular(path) as file:
            empty = not file.seek(0, 2)
            yield b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, DecodeError):
        raise UserError(f"{path}: truncated or not a {kind}; fetch the file again") from None


def _fields(buffer: Buffer, start: int, end: int) -> Iterator[Field]:
    while start < end:
        tag, body = _varint(buffer, start, end)
        kind, stop = tag & 7, body
        if kind == _VARINT:
            _, stop = _varint(buffer, body, end)
        elif kind == _BYTES:
            size, body = _varint(buffer, body, end)
            stop = body + size
        elif kind in (_FIXED32, _FIXED64):
            stop = body + (4 if kind == _FIXED32 else 8)
        else:
            raise ValueError(f"wire type {kind}")
        if stop > end:
            raise ValueError("truncated")
        yield Field(tag >> 3, kind, start, body, stop)
        start = stop


def _varint(buffer: Buffer, start: int, end: int) -> tuple[int, int]:
    """A number of 7 bits a byte, the last without its highest bit; and where it ends."""
    value = 0
    for index in range(start, min(end, start + 10)):
        value |= (buffer[index] & 127) << 7 * (index - start)
        if buffer[index] < 128:
            return value, index + 1
    raise ValueError("truncated")


def _layer(path: Path, buffer: Buffer, field: Field) -> tuple[str, list[StoredBlob]]:
    """Its name and blobs; no other field is read, as forks disagree about their numbers."""
    name, blobs = _NAME_AND_BLOBS["V2" if field.number == _V2_LAYER else "V1"]
    inside = _inside(buffer, field)
    if field.number != _V2_LAYER and (v0 := [f for f in inside if f.number == _V0_LAYER]):
        (name, blobs), inside = _NAME_AND_BLOBS["V0"], _inside(buffer, v0[-1])
    names = [buffer[f.body : f.end] for f in inside if f.number == name]
    found = [_blob(path, buffer, f.body, f.end) for f in inside if f.number == blobs]
    return (names[-1] if names else b"").decode("utf-8", "replace"), found


def _inside(buffer: Buffer, field: Field) -> list[Field]:
    """The fields of a message."""
    if field.kind != _BYTES:
        raise ValueError("no message")
    return list(_fields(buffer, field.body, field.end))


def _blob(path: Path, buffer: Buffer, start: int, end: int) -> StoredBlob:
    rest, chunks = [], []
    while start < end:
        field = next(_fields(buffer, start, end))
        if field.number not in _NUMBERS:
            rest.append(buffer[field.start : field.end])
            start = field.end
        else:
            chunks.append(_chunk(buffer, field, end))
            start = chunks[-1].end
    return StoredBlob(path, SCHEMA["BlobProto"].FromString(b"".join(rest)), chunks)


def _chunk(buffer: Buffer, field: Field, end: int) -> Chunk:
    """The numbers of a packed field, or of all unpacked ones that follow each other."""
    packed = Chunk(field.number, True, field.body, field.end)
    size = _NUMBERS[field.number].itemsize
    if field.kind == _BYTES and not (field.end - field.body) % size:
        return packed
    if field.kind != (_FIXED32 if size == 4 else _FIXED64) or field.body != field.start + 1:
        raise ValueError("no numbers")
    single = packed._replace(packed=False, start=field.start)
    most = (end - field.start) // single.dtype.itemsize
    tags = np.frombuffer(buffer, single.dtype, most, field.start)["tag"]
    others = np.flatnonzero(tags != tags[0])
    count = int(others[0]) if others.size else most
    return single._replace(end=field.start + count * single.dtype.itemsize)


def write_caffemodel(
    path: PathLike, name: str, layers: Iterable[tuple[str, str, Sequence[npt.ArrayLike]]]
) -> None:
    """Write a caffemodel that Caffe itself reads; `layers` are (name, type, weight arrays).

    The file appears whole or not at all.
    """
    net = SCHEMA["NetParameter"](name=name)
    for layer_name, kind, arrays in layers:
        layer = net.layer.add(name=layer_name, type=kind)
        for array in arrays:
            values = np.asarray(array, "<f4")
            layer.blobs.add(data=[values.tobytes()]).shape.dim.extend(values.shape)
    with replacing(Path(path)) as temporary:
        temporary.write_bytes(net.SerializeToString())
