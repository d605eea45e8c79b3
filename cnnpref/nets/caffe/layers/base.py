"""What every Caffe layer type is: parameters from the prototxt, weights, a forward function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from math import prod
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from cnnpref.errors import suggest
from cnnpref.geometry import (
    Box,
    Mask,
    Reach,
    Same,
    Shape,
    Span,
    anywhere,
    box_of,
    pull_back,
    spans,
)
from cnnpref.nets.caffe.files.caffemodel import Weights
from cnnpref.nets.caffe.files.schema import Message
from cnnpref.nets.caffe.layers.head import Head

_MOST_NUMBERS = 2**31 - 1
Edges = tuple[Span, Span]  # before and after the rows of a map, and its columns


@dataclass(frozen=True)
class Blob:
    """A weight blob that a layer asks for: its shape, and its value when no file gives one."""

    shape: Shape
    filler: Message | None = None
    default: float = 0.0

    def __post_init__(self) -> None:
        if self.filler is not None and self.filler.type == "bilinear":
            square = len(self.shape) == 4 and self.shape[2] == self.shape[3]
            require(square, f"the bilinear filler is for square kernels, not {self.shape}")

    def filled(self) -> Weights:
        """What a constant or bilinear filler gives; the default in place of random numbers."""
        value, filler = self.default, self.filler
        if filler is not None and filler.type == "bilinear":
            return np.broadcast_to(_bilinear(self.shape), self.shape)
        if filler is not None and filler.type == "constant" and filler.HasField("value"):
            value = filler.value
        return np.full(self.shape, value, np.float32)

    @property
    def random(self) -> str:
        """The type of a filler that draws random numbers; "" for others."""
        kind = self.filler.type if self.filler is not None else "constant"
        return "" if kind in ("constant", "bilinear") else str(kind)


def _bilinear(shape: Shape) -> Weights:
    """A kernel (size, size) that interpolates between pixels, where its stride is size / 2."""
    factor = (shape[3] + 1) // 2
    centre = (shape[3] - 1) / (2 * factor)
    weight = 1 - np.abs(np.arange(shape[3]) / factor - centre)
    return np.asarray(weight[:, None] * weight, np.float32)


@dataclass(frozen=True)
class Patch:
    """A part of the tops of a layer over space, and what it takes.

    Attributes:
        box: of the tops' maps.
        needs: of each bottom's map.
        edges: by how many rows, before and after, and columns the patch reaches past each bottom's
            map: there is padding.
    """

    box: Box
    needs: Sequence[Box]
    edges: Sequence[Edges]


class UnsupportedError(Exception):
    """A layer that Caffe, or a fork of it, knows and we do not; what does not need it works."""


def _no_weights(_layer: Layer, *_shapes: Shape) -> list[Blob]:
    return []


class Source(NamedTuple):
    """Where a bottom comes from: a value of the graph, and the layer that makes it (or none)."""

    value: int
    layer: Layer | None


class Layer:
    """One layer of a net.

    Subclasses are registered under Caffe's type name by `@layer("Type")` and define `forward`,
    which is also run on meta tensors to infer shapes: it must follow the sizes of its inputs.
    Wrong parameters or shapes raise ValueError; the net adds the layer's name. What is right in
    some Caffe, but unknown here, raises UnsupportedError.
    """

    shares_memory: ClassVar[bool] = False  # the top is another view of the bottom's memory
    keeps_top: ClassVar[bool] = True  # its gradient needs what it gave
    bottoms: ClassVar[tuple[int, float]]  # how many it takes, at least and at most
    fork: ClassVar[bool]  # not of Caffe itself, but of a fork
    axis: int = 1  # the first that it works along
    is_relu: bool = False  # it makes max(x, 0) of its bottom x, and nothing else
    commutes_with_relu: bool = False  # it gives the same before as after, gradients included

    def __init__(self, message: Message) -> None:
        self.message = message
        self.name: str = message.name
        self.kind: str = message.type
        self.weights: list[Tensor] = []
        self.bottom_shapes: list[Shape] = []  # with the declared batch, as those of the tops
        self.top_shapes: list[Shape] = []
        self.sources: list[Source] = []  # of the bottoms

    # Signatures differ by type: one bottom, two, or any number.
    setup: Callable[..., list[Blob]] = _no_weights
    """Read the parameters, given the shapes of the bottoms; say which weights are needed."""

    forward: Callable[..., Tensor | tuple[Tensor, ...]]
    """The tops (one tensor, or a tuple) from the bottoms; the batch may have any size."""

    def infer(self, *bottoms: Shape) -> list[Shape]:
        """The shapes of the tops, by a pass on tensors without values.

        PyTorch takes a second to get ready for that, so layers that most nets have do without.
        """
        result = self.forward(*(torch.empty(shape, device="meta") for shape in bottoms))
        tops = result if isinstance(result, tuple) else (result,)
        return [tuple(top.shape) for top in tops]

    overwrite: Callable[[Tensor], Tensor] | None = None
    """The same as `forward`, over the memory of the one bottom; of each pixel by itself."""

    def forward_patch(self, patch: Patch, *bottoms: Tensor) -> Tensor | tuple[Tensor, ...]:
        """A patch of the tops from the patches of the bottoms that it needs, if `local`."""
        return self.forward(*bottoms)

    def why_mixed(self) -> str:
        """Why its tops for an image depend on the others of the batch; "" if they do not."""
        return "it works along axis 0, that of the images" if self.axis == 0 else ""

    def head(self, channels: Tensor) -> Head | None:
        """One channel of the top for each image, if the layer has a way to compute no others."""
        return None

    def unit_weights(self) -> list[Tensor]:
        """As `Net.unit_weights` has them."""
        return []

    def reach(self, axis: int, top: int, bottom: int) -> Reach:
        """How a top depends on a bottom along an axis (1: channels), where they have as many."""
        return Same()

    def pull_back(self, mask: Mask, top: int, bottom: int) -> Mask:
        """The values of a bottom that the masked ones of a top depend on, without the batch."""
        outputs, inputs = self.top_shapes[top], self.bottom_shapes[bottom]
        if len(outputs) != len(inputs):
            return np.full((1,) * (len(inputs) - 1), mask.any())
        for axis in range(1, len(inputs)):
            reach = self.reach(axis, top, bottom)
            mask = pull_back(mask, axis - 1, reach, outputs[axis], inputs[axis])
        return mask

    @property
    def local(self) -> bool:
        """Whether it makes patches of maps from patches of maps; here: each pixel of its own."""
        return self.over_maps and all(
            self.reach(axis, top, bottom) == Same()
            for axis in (2, 3)
            for top in range(len(self.top_shapes))
            for bottom in range(len(self.bottom_shapes))
        )

    @property
    def over_maps(self) -> bool:
        """Whether all it takes and gives is maps, (N, C, H, W)."""
        return bool(self.bottom_shapes) and {4} == {
            len(shape) for shape in (*self.bottom_shapes, *self.top_shapes)
        }

    def needs(self, bottom: int, box: Box) -> Box:
        """What a patch of the tops takes of a bottom; it may reach past the map."""
        top = min(bottom, len(self.top_shapes) - 1)
        asked = zip((2, 3), spans(box), strict=True)
        found = [self.reach(axis, top, bottom).span(*span) for axis, span in asked]
        return box_of(*(span for span in found if span))  # a local layer has both


class SameShape(Layer):
    """A layer whose top has the shape of its first bottom."""

    def infer(self, *bottoms: Shape) -> list[Shape]:
        return [bottoms[0]]


REGISTRY: dict[str, type[Layer]] = {}
_L = TypeVar("_L", bound=type[Layer])


def layer(kind: str, least: int = 1, most: float = 1, fork: bool = False) -> Callable[[_L], _L]:
    """Register a Layer class under Caffe's type name; it takes `least` to `most` bottoms."""

    def register(cls: _L) -> _L:
        REGISTRY[kind] = cls
        cls.bottoms, cls.fork = (least, most), fork
        return cls

    return register


def make_layer(message: Message) -> Layer:
    """The Layer for one prototxt entry.

    Raises:
        UnsupportedError: its type, or one of its fields, is unknown; names the nearest type.
    """
    kind = message.type
    if kind.endswith(("Loss", "Accuracy")):
        raise UnsupportedError(f"type {kind!r} only trains and tests nets: its values are no units")
    if kind not in REGISTRY:
        near = get_close_matches(kind, REGISTRY, 1, 0.8)
        raise UnsupportedError(f"unknown type {kind!r}{suggest(kind, near)}")
    if message.unknown:
        fields = ", ".join(message.unknown)
        raise UnsupportedError(f"type {kind!r} with unknown fields, which may matter: {fields}")
    return REGISTRY[kind](message)


def canonical_axis(axis: int, ndim: int) -> int:
    """A possibly negative axis as 0 .. ndim-1."""
    if not -ndim <= axis < ndim:
        raise ValueError(f"axis {axis} is out of range for a blob of {ndim} axes")
    return axis % ndim


def require(condition: bool, message: str) -> None:
    """Raise ValueError unless the condition holds."""
    if not condition:
        raise ValueError(message)


def pair(param: Any, name: str, default: int | None = None) -> tuple[int, int]:
    """`name_h` and `name_w`, or else `name` (a number, or one or two of them), of a 2-D layer."""
    height, width = (f"{name.removesuffix('_size')}_{side}" for side in "hw")
    given = getattr(param, name)
    if param.HasField(height) or param.HasField(width):
        alone = not (param.HasField(name) if isinstance(given, int) else given)
        require(alone, f"give {name}, or {height} and {width}, but not both")
        return getattr(param, height), getattr(param, width)
    values = [given] if isinstance(given, int) else list(given)
    if not values and default is not None:
        values = [default]
    require(1 <= len(values) <= 2, f"{name} must be given once, or as {height} and {width}")
    return values[0], values[-1]


def holes_of(param: Any) -> tuple[int, int] | None:
    """The dilation that DeepLab's `hole`, or `hole_h` and `hole_w`, stand for; None without."""
    if not any(param.HasField(name) for name in ("hole", "hole_h", "hole_w")):
        return None
    require(not param.dilation, "give dilation or hole, but not both")
    return pair(param, "hole")


def collapsed(mask: Mask, axis: int, ndim: int) -> Mask:
    """The values of a bottom of `ndim` axes whose axes from `axis` on made the masked ones."""
    kept = anywhere(mask, tuple(range(axis - 1, mask.ndim))) if axis <= mask.ndim else mask
    return kept.reshape(*kept.shape, *(1,) * (ndim - 1 - kept.ndim))


def reshaped(mask: Mask, top: Shape, bottom: Shape) -> Mask:
    """The values of a bottom that are the masked ones of a top, in another shape."""
    if prod(top[1:]) != prod(bottom[1:]):  # some of the batch went into other axes
        return np.full((1,) * (len(bottom) - 1), mask.any())
    return np.broadcast_to(mask, top[1:]).reshape(bottom[1:])


def require_size(what: str, shape: Shape) -> None:
    """Raise ValueError unless a blob of Caffe may be so large: it counts in 32 bits."""
    require(
        prod(shape) <= _MOST_NUMBERS,
        f"{what} of {list(shape)} would be {4 * prod(shape) / 2**30:,.0f} GiB; a blob of Caffe has "
        f"at most {_MOST_NUMBERS:,} numbers: check the sizes",
    )


def scalar(values: Tensor) -> Tensor:
    """A weight blob of one value as a 0-axis tensor."""
    return torch.squeeze(values)
