"""The old formats of a net, brought to the present one.

V1 (until 2015) has `layers` in place of `layer`, with numbers for types. V0 (until 2014) has, in
each of these, a `layer` that holds the parameters of all types side by side.
"""

from __future__ import annotations

from typing import Any

from cnnpref.errors import UserError
from cnnpref.nets.caffe.files.schema import SCHEMA, Message

V1_TYPE = "type: "  # how a type that the schema does not have is told among the unknown fields

# V1 types whose present name is not the camel case of the old one.
_V1_RENAMED = {
    "ABSVAL": "AbsVal",
    "ARGMAX": "ArgMax",
    "BATCHNORM": "BatchNorm",
    "BN": "BN",
    "BNLL": "BNLL",
    "ELU": "ELU",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "LRN": "LRN",
    "MVN": "MVN",
    "PRELU": "PReLU",
    "RELU": "ReLU",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "SPP": "SPP",
    "TANH": "TanH",
}
_V0_TYPES = {
    "bnll": "BNLL",
    "conv": "Convolution",
    "hdf5_data": "HDF5Data",
    "hdf5_output": "HDF5Output",
    "images": "ImageData",
    "innerproduct": "InnerProduct",
    "lrn": "LRN",
    "pool": "Pooling",
    "relu": "ReLU",
    "softmax_loss": "SoftmaxWithLoss",
    "tanh": "TanH",
}
# V0 field -> that of the parameters of each type that has it
_CONV, _FC, _POOL = "convolution_param", "inner_product_param", "pooling_param"
_V0_FIELDS = {
    "num_output": {"conv": (_CONV, "num_output"), "innerproduct": (_FC, "num_output")},
    "biasterm": {"conv": (_CONV, "bias_term"), "innerproduct": (_FC, "bias_term")},
    "weight_filler": {"conv": (_CONV, "weight_filler"), "innerproduct": (_FC, "weight_filler")},
    "bias_filler": {"conv": (_CONV, "bias_filler"), "innerproduct": (_FC, "bias_filler")},
    "pad": {"conv": (_CONV, "pad"), "pool": (_POOL, "pad")},
    "kernelsize": {"conv": (_CONV, "kernel_size"), "pool": (_POOL, "kernel_size")},
    "stride": {"conv": (_CONV, "stride"), "pool": (_POOL, "stride")},
    "group": {"conv": (_CONV, "group")},
    "pool": {"pool": (_POOL, "pool")},
    "dropout_ratio": {"dropout": ("dropout_param", "dropout_ratio")},
    "local_size": {"lrn": ("lrn_param", "local_size")},
    "alpha": {"lrn": ("lrn_param", "alpha")},
    "beta": {"lrn": ("lrn_param", "beta")},
    "k": {"lrn": ("lrn_param", "k")},
    "concat_dim": {"concat": ("concat_param", "concat_dim")},
    "batchsize": {"data": ("data_param", "batch_size")},
    "new_height": {"images": ("image_data_param", "new_height")},
    "new_width": {"images": ("image_data_param", "new_width")},
}
_V0_TRANSFORM = {"scale": "scale", "meanfile": "mean_file", "cropsize": "crop_size"}


def upgrade(net: Message) -> None:
    """Turn `layers` into `layer`, and four `input_dim` into an `input_shape`, in place."""
    for old in _without_padding(list(net.layers)):
        net.layer.append(_upgrade_v0(old) if old.HasField("layer") else _upgrade_v1(old))
    del net.layers[:]
    if len(net.input_dim) == 4 * len(net.input) and not net.input_shape:
        for start in range(0, len(net.input_dim), 4):
            net.input_shape.add(dim=net.input_dim[start : start + 4])
        del net.input_dim[:]


def _without_padding(layers: list[Message]) -> list[Message]:
    """V0 had layers that only pad: their reader, a convolution or pooling, does that itself.

    Raises:
        UserError: such a layer has nothing to pad.
    """
    padding = {old.top[0]: old for old in layers if old.layer.type == "padding" and old.top}
    kept = [old for old in layers if old.layer.type != "padding"]
    for old in kept:
        for index, blob in enumerate(old.bottom):
            if blob in padding:
                if not padding[blob].bottom:
                    name = padding[blob].layer.name
                    raise UserError(f"layer {name!r}: padding needs 1 bottom, got 0; add it")
                old.layer.pad = padding[blob].layer.pad
                old.bottom[index] = padding[blob].bottom[0]
    return kept


def _upgrade_v0(old: Message) -> Message:
    v0 = old.layer
    new = SCHEMA["LayerParameter"](
        name=v0.name, type=_V0_TYPES.get(v0.type, _camel(v0.type)), bottom=old.bottom, top=old.top
    )
    new.unknown.extend(old.unknown)
    for field, value in v0.ListFields():
        if field.name in _V0_TRANSFORM:
            setattr(new.transform_param, _V0_TRANSFORM[field.name], value)
        elif v0.type in (places := _V0_FIELDS.get(field.name, {})):
            param, name = places[v0.type]
            _set(getattr(new, param), name, value)
    return new


def _upgrade_v1(old: Message) -> Message:
    kind = _v1_type(old)
    new = SCHEMA["LayerParameter"](type=_V1_RENAMED.get(kind, _camel(kind)))
    for field, value in old.ListFields():
        if field.name == "param":
            for index, name in enumerate(value):
                _param(new, index).name = name
        elif field.name == "blob_share_mode":
            for index, mode in enumerate(value):
                _param(new, index).share_mode = mode
        elif field.name == "unknown":
            new.unknown.extend(text for text in value if not text.startswith(V1_TYPE))
        elif field.name not in ("type", "blobs_lr", "weight_decay"):
            _set(new, field.name, value)
    if new.type == "Crop" and not old.HasField("crop_param"):
        new.crop_param.align = True
    return new


def _v1_type(old: Message) -> str:
    """The name of its type; one that the schema does not have is among what is unknown."""
    stated = (text.removeprefix(V1_TYPE) for text in old.unknown if text.startswith(V1_TYPE))
    return next((text.split()[0] for text in stated), old.LayerType.Name(old.type))


def _camel(kind: str) -> str:
    """`INNER_PRODUCT` or `inner_product` as InnerProduct."""
    return "".join(word.capitalize() for word in kind.split("_"))


def _param(layer: Message, index: int) -> Message:
    while len(layer.param) <= index:
        layer.param.add()
    return layer.param[index]


def _set(message: Message, name: str, value: Any) -> None:
    """Give a field a value: a message, a list or a number, which may be the first of a list."""
    field = getattr(message, name)
    if hasattr(field, "CopyFrom"):
        field.CopyFrom(value)
    elif not hasattr(field, "extend"):
        setattr(message, name, value)
    else:
        field.extend(value if hasattr(value, "extend") else [value])
