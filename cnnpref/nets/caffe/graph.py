"""The layers of a prototxt as a graph of values, with shapes.

Every layer output is a *value* of its own. An in-place layer makes a new value and moves the blob's
name to it, so that what was there before and after can both be asked for. In Caffe, blobs that
share the memory (tops of Reshape, Flatten, Split) then change too: `blobs` shows them so, but later
layers read what the layer they name as their source gave, which is what the prototxt means.

A layer that cannot be computed leaves a graph without it and without the layers that depend on it.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterable

import torch
from torch import Tensor

from cnnpref.errors import UserError, suggest
from cnnpref.geometry import Shape
from cnnpref.nets.caffe.files.schema import Message
from cnnpref.nets.caffe.inputs import Input, find_inputs, is_data_layer
from cnnpref.nets.caffe.layers import (  # noqa: F401  (they register layer types)
    combine,
    convolution,
    crop,
    elementwise,
    indexing,
    normalisation,
    pooling,
    reduction,
    resize,
)
from cnnpref.nets.caffe.layers.base import (
    Blob,
    Layer,
    Source,
    UnsupportedError,
    make_layer,
    require,
    require_size,
)
from cnnpref.nets.caffe.layers.rearrange import View
from cnnpref.nets.caffe.node import Node, explained, layer_error


class Graph:
    """All layers of a NetParameter, in execution order.

    Args:
        message: from `read_prototxt`.
        image_shape: of the image without the batch, in place of what the file states.

    Attributes:
        nodes: the steps, in execution order.
        shapes: of every value, with the declared batch.
        state: the level and stages that choose its layers, if the file has them; or "".
        image: the input that is optimised.
        inputs: {input blob: value}, the image first.
        constants: {value: what it holds unless it is given}, of inputs beside the image: (1, ...),
            or of the declared batch where that is not the images'.
        blobs: {blob: its value as Caffe shows it after a full pass}, in order of first appearance.
        layers: {layer: the value it outputs}, inputs excluded.
        refused: {layer: why it has no values, or none of an image by itself}, in the net's order.
        wanted: {layer: the weight blobs it asks for}, of layers that have any.

    Raises:
        UserError: a layer is wrongly connected or wrongly set, names it; none can be computed.
    """

    def __init__(self, message: Message, image_shape: Shape | None = None) -> None:
        self.name: str = message.name
        level, stages = message.state.level, message.state.stage
        self.state = f"level {level}, stages {' '.join(stages)}" if level or stages else ""
        self.nodes: list[Node] = []
        self.shapes: list[Shape] = []
        self.inputs: dict[str, int] = {}
        self.constants: dict[int, Tensor] = {}
        self.blobs: dict[str, int] = {}
        self.layers: dict[str, int] = {}
        self.refused: dict[str, str] = {}
        self.wanted: dict[str, list[Blob]] = {}
        self._sources: dict[str, int] = {}  # blob -> its present value, for the layers to come
        self._memory: list[int] = []  # of every value: values that are views of one have the same
        self._read: set[int] = set()
        self._makers: dict[int, Layer] = {}  # of values
        self._mixed: dict[int, str] = {}  # value that depends on other images -> because of what
        inputs = find_inputs(message, image_shape)
        self.image: Input = inputs.image
        self._lost = dict(inputs.lost)  # blob without a value -> because of what
        self._add_inputs(inputs.of(""))
        for entry in message.layer:
            if is_data_layer(entry) or inputs.of(entry.name):
                self._add_inputs(inputs.of(entry.name))
            else:
                self._add_layer(entry)
        self.inputs = {self.image.blob: self.inputs.pop(self.image.blob), **self.inputs}
        if self.refused and not self.nodes:
            first, reason = next(iter(self.refused.items()))
            raise UserError(
                f"net {self.name!r}: no layer can be computed: layer {first!r}: {reason}"
            )

    @property
    def layer_shapes(self) -> dict[str, Shape]:
        """{layer: shape without the batch}, in execution order."""
        return {name: self.shapes[value][1:] for name, value in self.layers.items()}

    def ancestors(self, values: Iterable[int], given: Container[int] = ()) -> list[Node]:
        """The nodes that the values depend on where some are given, in execution order."""
        needed, nodes = {value for value in values if value not in given}, []
        for node in reversed(self.nodes):
            if needed.intersection(node.tops):
                needed.update(bottom for bottom in node.bottoms if bottom not in given)
                nodes.append(node)
        return nodes[::-1]

    def _add_value(self, shape: Shape, memory: int | None = None) -> int:
        self.shapes.append(shape)
        self._memory.append(len(self._memory) if memory is None else memory)
        return len(self.shapes) - 1

    def _add_inputs(self, inputs: Iterable[Input]) -> None:
        for given in inputs:
            shape = given.shape or ()
            value = self._add_value(shape)
            self.inputs[given.blob] = self._sources[given.blob] = self.blobs[given.blob] = value
            if given.blob != self.image.blob:
                self._add_constant(value, given)

    def _add_constant(self, value: int, given: Input) -> None:
        """What an input beside the image holds: the same for every image, or for all together."""
        (number, *shape), (images, *_) = self.shapes[value], self.image.shape or (1,)
        if number not in (1, images):
            self._mixed[value] = (
                f"input {given.blob!r}, with a batch of {number} where the images have {images}"
            )
        batch = number if value in self._mixed else 1
        self.constants[value] = torch.full((batch, *shape), given.fill or 0.0)

    def _add_layer(self, entry: Message) -> None:
        cause = next((self._lost[b] for b in entry.bottom if b in self._lost), None)
        try:
            if cause is not None:
                raise UnsupportedError(f"it depends on {cause}")
            self._add_node(entry)
        except UnsupportedError as error:
            self._refuse(entry, cause or _no_use(entry.name), str(error))

    def _refuse(self, entry: Message, cause: str, reason: str) -> None:
        """Go on without a layer; a blob that it changes in place has no value any more."""
        self.refused.setdefault(entry.name, reason)
        for blob in entry.top:
            self._lost.setdefault(blob, cause)
            self._sources.pop(blob, None)
            self.blobs.pop(blob, None)

    def _add_node(self, entry: Message) -> None:
        layer = make_layer(entry)
        bottoms = [self._bottom(entry, blob) for blob in entry.bottom]
        layer.sources = [Source(b, self._makers.get(b)) for b in bottoms]
        shapes = self._infer(layer, [self.shapes[b] for b in bottoms])
        tops = []
        for blob, shape in zip(entry.top, shapes, strict=True):
            in_place = self._in_place(entry, blob)
            shared = (
                self._sources[blob] if in_place else bottoms[0] if layer.shares_memory else None
            )
            tops.append(self._add_value(shape, None if shared is None else self._memory[shared]))
        self._read.update(bottoms)
        self._makers.update(dict.fromkeys(tops, layer))
        self.nodes.append(Node(layer, bottoms, tops))
        self._name(layer, bottoms, tops)
        for blob, top in zip(entry.top, tops, strict=True):
            changed = blob in self._sources
            self._sources[blob] = self.blobs[blob] = top
            if changed:
                self._refresh_views(blob, top)

    def _name(self, layer: Layer, bottoms: list[int], tops: list[int]) -> None:
        """Offer a layer's first top under its name, if it has one for each image by itself."""
        mixer = next((self._mixed[b] for b in bottoms if b in self._mixed), None)
        reason = layer.why_mixed() or (mixer and f"it depends on {mixer}")
        if reason:
            mixer = mixer or f"layer {layer.name!r}, which mixes the images of a batch"
            self._mixed.update(dict.fromkeys(tops, mixer))
            self.refused.setdefault(layer.name, reason)
        elif tops and layer.name not in self.refused:
            self.layers.setdefault(layer.name, tops[0])

    def _bottom(self, entry: Message, blob: str) -> int:
        if blob not in self._sources:
            raise UserError(
                f"layer {entry.name!r} ({entry.type}): unknown bottom blob {blob!r}"
                f"{suggest(blob, self._sources)}; before it there are: {', '.join(self._sources)}"
            )
        return self._sources[blob]

    def _infer(self, layer: Layer, bottoms: list[Shape]) -> list[Shape]:
        """Set the layer up and find the shapes of its tops."""
        try:
            _require_number("bottom", len(bottoms), *layer.bottoms)
            wanted = layer.setup(*bottoms)
            for blob in wanted:
                require_size("a weight blob", blob.shape)
            layer.weights = [torch.empty(blob.shape, device="meta") for blob in wanted]
            tops = layer.infer(*bottoms)
            _require_number("top", len(layer.message.top), len(tops), len(tops))
            for top in tops:
                require(min(top, default=1) > 0, f"too small for it: the top would be {list(top)}")
                require_size("a top", top)
        except (ValueError, RuntimeError, TypeError) as error:
            if layer.fork:  # another one may know it by the same name
                raise UnsupportedError(f"type {layer.kind!r} {explained(error, bottoms)}") from None
            raise layer_error(layer, error, bottoms) from None
        self._want(layer, wanted)
        layer.bottom_shapes, layer.top_shapes = bottoms, tops
        return tops

    def _want(self, layer: Layer, blobs: list[Blob]) -> None:
        if blobs and layer.name in self.wanted:
            raise UserError(
                f"two layers with weights are named {layer.name!r}; weights are found by the "
                "layer's name: rename one of them, here and in the caffemodel"
            )
        if blobs:
            self.wanted[layer.name] = blobs

    def _in_place(self, entry: Message, blob: str) -> bool:
        """Whether a top is written over a bottom, which only its sole reader so far may do."""
        if blob not in self._sources:
            return False
        if blob not in entry.bottom or self._sources[blob] in self._read:
            raise UserError(
                f"layer {entry.name!r} ({entry.type}): top blob {blob!r} is produced by several "
                "layers; in place is only possible before any other layer reads the blob"
            )
        return True

    def _refresh_views(self, blob: str, top: int) -> None:
        """Show the other names of the memory that an in-place layer has written to as changed."""
        for other, value in list(self.blobs.items()):
            if other != blob and self._memory[value] == self._memory[top]:
                view = self._add_value(self.shapes[value], self._memory[top])
                self.nodes.append(
                    Node(View(other, self.shapes[top], self.shapes[value]), [top], [view])
                )
                self.blobs[other] = view


def _no_use(layer: str) -> str:
    return f"layer {layer!r}, which cannot be computed"


def _require_number(what: str, number: int, least: int, most: float) -> None:
    """Raise ValueError unless `number` is in `least` .. `most`."""
    allowed = str(least) if least == most else f"{least} to {most}"
    allowed = f"at least {least}" if most == math.inf else allowed
    require(least <= number <= most, f"takes {allowed} {what} blob(s), got {number}")
