"""What a prototxt says of a net's inputs: which there are, their shapes, and what they hold.

Deploy files state them by `input` or layers of type Input. Others leave the data layers of training
in place, which state a size by a crop, or none. One input is the image (or the features of a
generator); the others hold zeros, or what a DummyData layer fills them with, unless they are given.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from cnnpref.errors import UserError
from cnnpref.geometry import Shape
from cnnpref.nets.caffe.files.schema import SCHEMA, Message
from cnnpref.nets.caffe.layers.base import REGISTRY, require_size

# Types of data layers, and the field of each that holds its parameters.
_DATA = {
    "Data": "data_param",
    "DummyData": "dummy_data_param",
    "HDF5Data": "hdf5_data_param",
    "ImageData": "image_data_param",
    "Input": "input_param",
    "MemoryData": "memory_data_param",
    "WindowData": "window_data_param",
}


@dataclass(frozen=True)
class Input:
    """A blob that nothing computes.

    Attributes:
        blob: its name.
        shape: with the declared batch; None if the file does not state it.
        layer: that gives it; "" for an `input` of the net.
        fill: what it holds; None for random numbers.
        transform: what its layer does to images: the parameters mean and scale.
    """

    blob: str
    shape: Shape | None
    layer: str = ""
    fill: float | None = 0.0
    transform: Message = field(default_factory=SCHEMA["TransformationParameter"])


@dataclass(frozen=True)
class Inputs:
    """The inputs of a net, in its order.

    Attributes:
        image: the one that is optimised.
        given: all that have a value.
        lost: {blob: why it has no value}, of data layers.
    """

    image: Input
    given: Sequence[Input]
    lost: Mapping[str, str]

    def of(self, layer: str) -> list[Input]:
        """Those that a layer gives; "" for the net's own."""
        return [each for each in self.given if each.layer == layer]


def find_inputs(net: Message, image_shape: Shape | None = None) -> Inputs:
    """The inputs of a NetParameter.

    Args:
        net: from `read_prototxt`.
        image_shape: of the image without the batch, in place of what the file states.

    Raises:
        UserError: there is none, or its shape is not stated or impossible.
    """
    found = [*_of_net(net), *(each for entry in net.layer for each in _of_layer(entry))]
    if image_shape and not found:
        found = [each for entry in net.layer for each in _of_unknown(entry)]
    sized = [each for each in found if each.shape is not None]
    if sized:  # as in Caffe, an `input` without a shape does not count beside one that has one
        found = [each for each in found if each.layer or each.shape is not None]
    image = _image(net, found if image_shape else sized, found)
    lost = {each.blob: reason for each in found if (reason := _why_lost(each))}
    lost.pop(image.blob, None)
    given = [each for each in found if each.blob not in lost]
    if image_shape:
        whole = replace(image, shape=(image.shape[0] if image.shape else 1, *image_shape))
        given = [whole if each is image else each for each in given]
        image = whole
    for each in given:
        _check_positive(each)
    return Inputs(image, given, lost)


def _image(net: Message, candidates: Sequence[Input], found: Sequence[Input]) -> Input:
    """The first one; a DummyData only if there is no other."""
    dummies = {entry.name for entry in net.layer if entry.type == "DummyData"}
    ordered = sorted(candidates, key=lambda each: each.layer in dummies)
    if ordered:
        return ordered[0]
    if found:
        names = ", ".join(dict.fromkeys(each.blob for each in found))
        owner = f"layer {found[0].layer!r}" if found[0].layer else f"net {net.name!r}"
        raise UserError(
            f"{owner}: its inputs are {names}, with 0 shapes; give the deploy prototxt, which has "
            "them, or input_shape: channels, height and width of the images"
        )
    raise UserError(
        f"net {net.name!r} has no input in phase TEST; give the deploy prototxt, which "
        "has `input:` or a layer of type Input"
    )


def _why_lost(given: Input) -> str:
    if given.shape is None:
        return f"layer {given.layer!r}, which states no size"
    if given.fill is None:
        return f"layer {given.layer!r}, which draws random numbers"
    return ""


def _check_positive(given: Input) -> None:
    shape = given.shape or ()
    if not shape or min(shape) < 1:
        raise UserError(f"input {given.blob!r} needs positive dimensions, got {list(shape)}")
    try:
        require_size("a blob", shape)
    except ValueError as error:
        raise UserError(f"input {given.blob!r}: {error}") from None


def _of_net(net: Message) -> Iterator[Input]:
    shapes: list[Shape | None] = [tuple(shape.dim) for shape in net.input_shape]
    if not shapes and not net.input_dim:
        shapes = [None] * len(net.input)
    yield from _paired(f"net {net.name!r}", net.input, shapes)


def _paired(
    owner: str, blobs: Sequence[str], shapes: Sequence[Shape | None], layer: str = ""
) -> Iterator[Input]:
    if len(shapes) != len(blobs):
        raise UserError(
            f"{owner}: its inputs are {', '.join(blobs) or 'none'}, with {len(shapes)} shapes; "
            "give one shape each (4 input_dim make one)"
        )
    for blob, shape in zip(blobs, shapes, strict=True):
        yield Input(blob, shape, layer)


def is_data_layer(entry: Message) -> bool:
    """Whether a layer gives what nothing computes."""
    return entry.type in _DATA


def _of_unknown(entry: Message) -> Iterator[Input]:
    """The tops of a data layer of a fork: a layer that reads no blob."""
    if not entry.bottom and entry.type not in REGISTRY:
        yield from (Input(blob, None, entry.name) for blob in entry.top)


def _of_layer(entry: Message) -> Iterator[Input]:
    if not is_data_layer(entry):
        return
    param = getattr(entry, _DATA[entry.type])
    transform = _transform(entry, param)
    if entry.type in ("Input", "DummyData"):
        shapes = _stated_shapes(param, len(entry.top))
        owner = f"layer {entry.name!r} ({entry.type})"
        fills = _fills(entry) * len(entry.top)
        for each, fill in zip(_paired(owner, entry.top, shapes, entry.name), fills, strict=False):
            yield replace(each, fill=fill, transform=transform)
        return
    image = _image_shape(entry, param, transform)
    shapes = [image, (image[0] if image else 1,)]  # of the image, and of its label
    for blob, shape in zip(entry.top, shapes, strict=False):
        yield Input(blob, shape if image else None, entry.name, transform=transform)


def _stated_shapes(param: Message, tops: int) -> list[Shape | None]:
    """Of Input and DummyData; one shape is for all tops."""
    shapes: list[Shape | None] = [tuple(shape.dim) for shape in param.shape]
    if not shapes and param.DESCRIPTOR.name == "DummyDataParameter":
        sizes = (param.num, param.channels, param.height, param.width)
        shapes = [tuple(size) for size in zip(*sizes, strict=False)]
    return shapes * tops if len(shapes) == 1 else shapes


def _fills(entry: Message) -> list[float | None]:
    """What each top of DummyData holds: a constant, or random numbers; one filler is for all."""
    fillers = entry.dummy_data_param.data_filler
    return [f.value if f.type == "constant" else None for f in fillers] or [0.0]


def _image_shape(entry: Message, param: Message, transform: Message) -> Shape | None:
    """The batch's of a data layer, if it is stated."""
    if entry.type == "MemoryData":
        return param.batch_size, param.channels, param.height, param.width
    size = (transform.crop_size, transform.crop_size)
    if not transform.crop_size and entry.type == "ImageData":
        size = (param.new_height, param.new_width)
    if not all(size):
        return None
    grey = transform.force_gray or (entry.type == "ImageData" and not param.is_color)
    channels = 1 if grey else max(3, len(transform.mean_value))
    return max(1, param.batch_size), channels, *size


def _transform(entry: Message, param: Message) -> Message:
    """The layer's transform_param; files of before it have the same fields among the others."""
    transform = SCHEMA["TransformationParameter"]()
    for name in ("scale", "mean_file", "crop_size"):
        if name in param.DESCRIPTOR.fields_by_name and param.HasField(name):
            setattr(transform, name, getattr(param, name))
    transform.MergeFrom(entry.transform_param)
    return transform
