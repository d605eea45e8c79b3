"""Reading a prototxt.

The old formats of a prototxt are brought to the present one here: V1 `layers`, `input_dim`. Of what
forks of Caffe added, each layer keeps a list, its field `unknown`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf import text_format

from cnnpref.errors import UserError
from cnnpref.nets.caffe.files.schema import SCHEMA, TEST, Message, PathLike
from cnnpref.nets.caffe.files.text import Unknown, find_unknown, without

# Fields of forks that change no value that a layer gives: how it is computed, stored or trained.
_HARMLESS = {
    "engine",
    "quantization_param",
}
_HARMLESS_INSIDE = {
    "param",  # learning rates
    "quantization_param",
    "transform_param",  # what a data layer does to images before it gives them
}


def read_prototxt(path: PathLike) -> Message:
    """A prototxt as a NetParameter of new-format layers, those of phase TEST only.

    Raises:
        UserError: the file is missing or is not a prototxt; names line and column.
    """
    try:
        net = _parse(read_bytes(path).decode("utf-8", "replace"))
    except text_format.ParseError as error:
        raise UserError(f"{path}: not a readable prototxt: {error}") from None
    net.name = net.name or Path(path).stem
    _upgrade(net)
    kept = [layer for layer in net.layer if _included(layer)]
    del net.layer[:]
    net.layer.extend(kept)
    return net


def _parse(text: str) -> Message:
    net = SCHEMA["NetParameter"]()
    try:
        return text_format.Parse(text, net)
    except text_format.ParseError:
        found = find_unknown(text, net.DESCRIPTOR)
    skipped = [each for each in found if each.path[0] in ("layer", "layers") or _is_harmless(each)]
    net = text_format.Parse(without(text, skipped), SCHEMA["NetParameter"]())
    for each in skipped:
        if not _is_harmless(each):
            layers = net.layer if each.path[0] == "layer" else net.layers
            layers[each.place].unknown.append(f"{each} (line {each.line})")
    return net


def _is_harmless(unknown: Unknown) -> bool:
    *above, name = unknown.path
    inside = any(part in _HARMLESS_INSIDE or part.endswith("_filler") for part in above)
    return name in _HARMLESS or inside


def read_bytes(path: PathLike) -> bytes:
    """The content of a file.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def _upgrade(net: Message) -> None:
    """V1 `layers` to `layer`, `input_dim` to `input_shape`."""
    for old in net.layers:
        net.layer.append(_upgrade_layer(old))
    del net.layers[:]
    if len(net.input_dim) == 4 * len(net.input) and not net.input_shape:
        for start in range(0, len(net.input_dim), 4):
            net.input_shape.add(dim=net.input_dim[start : start + 4])
        del net.input_dim[:]


_V1_TYPE = "type: "
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
    kind = _v1_type(old)
    camel = "".join(word.capitalize() for word in kind.split("_"))
    new = SCHEMA["LayerParameter"](type=_RENAMED.get(kind, camel))
    for field, value in old.ListFields():
        if field.name == "param":
            for index, name in enumerate(value):
                _param(new, index).name = name
        elif field.name == "blob_share_mode":
            for index, mode in enumerate(value):
                _param(new, index).share_mode = mode
        elif field.name == "unknown":
            new.unknown.extend(text for text in value if not _is_v1_type(text))
        elif field.name not in ("type", "blobs_lr", "weight_decay"):
            _copy_field(new, field.name, value)
    return new


def _v1_type(old: Message) -> str:
    """The name of its type; one that the schema does not have is among what is unknown."""
    stated = (text.removeprefix(_V1_TYPE).split()[0] for text in old.unknown if _is_v1_type(text))
    return next(stated, old.LayerType.Name(old.type))


def _is_v1_type(unknown: str) -> bool:
    return unknown.startswith(_V1_TYPE)


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
