"""Reading and writing Caffe's files: prototxt, caffemodel, binaryproto.

The schema is `caffe.proto` (compiled: `caffe.binpb`). Both old formats are brought to the present
one here: V1 `layers`, 4-number blob dimensions, `input_dim`, several chunks of one blob.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from cnnpref.errors import UserError

PathLike = str | os.PathLike[str]
Weights = npt.NDArray[np.float32]
Message = Any  # protobuf classes made at run time have no static type


def _load_schema() -> dict[str, Message]:
    described = descriptor_pb2.FileDescriptorSet()
    described.ParseFromString(files(__package__).joinpath("caffe.binpb").read_bytes())
    pool = descriptor_pool.DescriptorPool()  # of our own: a real Caffe may be in this process
    pool.Add(described.file[0])
    names = [m.name for m in described.file[0].message_type]
    package = described.file[0].package
    return {
        n: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{n}"))
        for n in names
    }


SCHEMA = _load_schema()
TEST = SCHEMA["NetState"]().phase  # the default phase


def read_prototxt(path: PathLike) -> Message:
    """A prototxt as a NetParameter of new-format layers, those of phase TEST only.

    Raises:
        UserError: the file is missing or is not a prototxt; names line and column.
    """
    net = SCHEMA["NetParameter"]()
    try:
        text_format.Parse(read_bytes(path).decode("utf-8", "replace"), net)
    except text_format.ParseError as error:
        raise UserError(f"{path}: not a readable prototxt: {error}") from None
    net.name = net.name or Path(path).stem
    _upgrade(net)
    kept = [layer for layer in net.layer if _included(layer)]
    del net.layer[:]
    net.layer.extend(kept)
    return net


def read_caffemodel(path: PathLike) -> dict[str, list[Message]]:
    """The weight blobs of a caffemodel by layer name; `blob_array` makes arrays of them.

    Raises:
        UserError: the file is missing, truncated or not a caffemodel.
    """
    net = _parse_binary(path, SCHEMA["NetParameter"](), "caffemodel")
    layers = [*net.layer, *net.layers]
    if not layers:
        raise UserError(f"{path}: holds no layers; a .caffemodel (binary) is expected here")
    return {_text(layer.name): list(layer.blobs) for layer in layers}


def _text(name: str | bytes) -> str:
    """A name that is not UTF-8 comes as bytes."""
    return name if isinstance(name, str) else name.decode("utf-8", "replace")


def read_binaryproto(path: PathLike) -> Weights:
    """A single blob (a mean image) as an array of its shape, a leading batch of 1 dropped.

    Raises:
        UserError: the file is missing, truncated or not a binaryproto.
    """
    blob = _parse_binary(path, SCHEMA["BlobProto"](), "binaryproto")
    try:
        mean = blob_array(blob)
    except ValueError as error:
        raise UserError(f"{path}: {error}; fetch the file again") from None
    return mean[0] if mean.ndim == 4 and mean.shape[0] == 1 else mean


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
    temporary = Path(path).with_name(f".{Path(path).name}.{os.getpid()}")
    temporary.write_bytes(net.SerializeToString())
    os.replace(temporary, path)


def blob_array(blob: Message) -> Weights:
    """The values of a BlobProto, float32, in its shape: `shape`, or else the legacy 4 numbers.

    Raises:
        ValueError: the number of values does not fit the shape.
    """
    if blob.double_data:
        values = np.frombuffer(b"".join(blob.double_data), "<f8").astype(np.float32)
    elif blob.data:
        chunks = blob.data
        values = np.frombuffer(chunks[0] if len(chunks) == 1 else b"".join(chunks), "<f4")
    else:
        values = _unpacked(blob)
    return values.reshape(blob_shape(blob))


def _unpacked(blob: Message) -> Weights:
    """Values written one by one: to a schema that expects packed ones they are unknown fields."""
    unknown: Any = UnknownFieldSet(blob)  # iterable, but not to its type stub
    fields = [(f.field_number, f.data) for f in unknown]
    floats = np.array([data for number, data in fields if number == 5], "<u4").view("<f4")
    doubles = np.array([data for number, data in fields if number == 8], "<u8").view("<f8")
    return floats if floats.size else doubles.astype(np.float32)


def blob_shape(blob: Message) -> tuple[int, ...]:
    """The declared shape; () for a blob without one that holds a single value."""
    if blob.HasField("shape"):
        return tuple(blob.shape.dim)
    if is_legacy(blob):
        return blob.num, blob.channels, blob.height, blob.width
    return ()


def is_legacy(blob: Message) -> bool:
    """Whether the blob gives its shape as num, channels, height, width."""
    return any(blob.HasField(field) for field in ("num", "channels", "height", "width"))


def read_bytes(path: PathLike) -> bytes:
    """The content of a file.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def _parse_binary(path: PathLike, message: Message, kind: str) -> Message:
    try:
        message.ParseFromString(read_bytes(path))
    except DecodeError:
        raise UserError(f"{path}: truncated or not a {kind}; fetch the file again") from None
    return message


def _upgrade(net: Message) -> None:
    """V1 `layers` to `layer`, `input_dim` to `input_shape`."""
    for old in net.layers:
        net.layer.append(_upgrade_layer(old))
    del net.layers[:]
    if len(net.input_dim) == 4 * len(net.input) and not net.input_shape:
        for start in range(0, len(net.input_dim), 4):
            net.input_shape.add(dim=net.input_dim[start : start + 4])
        del net.input_dim[:]


# V1 type numbers whose present name is not the camel case of the old one.
_RENAMED = {
    "ABSVAL": "AbsVal",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "LRN": "LRN",
    "MVN": "MVN",
    "RELU": "ReLU",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "TANH": "TanH",
}


def _upgrade_layer(old: Message) -> Message:
    kind = old.LayerType.Name(old.type)
    camel = "".join(word.capitalize() for word in kind.split("_"))
    new = SCHEMA["LayerParameter"](type=_RENAMED.get(kind, camel))
    for field, value in old.ListFields():
        if field.name == "param":
            for index, name in enumerate(value):
                _param(new, index).name = name
        elif field.name == "blob_share_mode":
            for index, mode in enumerate(value):
                _param(new, index).share_mode = mode
        elif field.name not in ("type", "blobs_lr", "weight_decay"):
            _copy_field(new, field.name, value)
    return new


def _param(layer: Message, index: int) -> Message:
    while len(layer.param) <= index:
        layer.param.add()
    return layer.param[index]


def _copy_field(layer: Message, name: str, value: Any) -> None:
    if isinstance(value, str):
        setattr(layer, name, value)
    elif hasattr(value, "CopyFrom") and not hasattr(value, "extend"):
        getattr(layer, name).CopyFrom(value)
    else:
        getattr(layer, name).extend(value)


def _included(layer: Message) -> bool:
    """Caffe's rules for phase TEST, level 0, no stages: rules are ORed, their fields ANDed."""
    if layer.include:
        return any(_met(rule) for rule in layer.include)
    return not any(_met(rule) for rule in layer.exclude)


def _met(rule: Message) -> bool:
    return (
        (not rule.HasField("phase") or rule.phase == TEST)
        and rule.min_level <= 0
        and (not rule.HasField("max_level") or rule.max_level >= 0)
        and not rule.stage
    )
