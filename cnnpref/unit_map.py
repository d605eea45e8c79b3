"""The units of a layer, and the map of positions that each of them has.

A layer's values have one axis of units (channels, neurons, features of tokens); the others, in
their order, are its map: none for (C,), rows and columns for (C, H, W) and (H, W, C), tokens for
(T, D), times, rows and columns for (C, T, H, W).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from cnnpref.errors import suggest
from cnnpref.geometry import Mask, Shape

if TYPE_CHECKING:  # it takes time
    from torch import Tensor

Position = str | int | tuple[int, ...]  # in a map: "center", "cls", "all", a token, (y, x) ...
Number = TypeVar("Number", int, npt.NDArray[np.int64], "Tensor")

_NAMES = ((), ("token",), ("y", "x"), ("t", "y", "x"))  # of a map's axes, by their number
_CENTERED = (1, 3)  # ranks of the layers that have units, of nets whose channels come first


@dataclass(frozen=True)
class UnitMap:
    """Where the units of a layer are among its values.

    Attributes:
        shape: of the layer, without the batch; of 1 to 4 axes.
        axis: of the shape, along which its units are.
        middle: of tokens, which one "center" means; None: the middle one.
        class_token: which token stands for the whole image, if one does.
    """

    shape: Shape
    axis: int = 0
    middle: int | None = None
    class_token: int | None = None

    @property
    def count(self) -> int:
        """How many units there are."""
        return self.shape[self.axis]

    @property
    def sizes(self) -> Shape:
        """Of the map's axes, () for a layer without a map."""
        return self.shape[: self.axis] + self.shape[self.axis + 1 :]

    @property
    def units_first(self) -> Shape:
        """The shape that the layer would have if its units came first, (C, H, W)."""
        return self.count, *self.sizes

    @property
    def is_tokens(self) -> bool:
        return len(self.sizes) == 1

    @property
    def allowed(self) -> str:
        """The positions that there are in its map, in words."""
        ranges = [f"0..{size - 1}" for size in self.sizes]
        if self.is_tokens:
            token = "" if self.class_token is None else "'cls', "
            return f"'center', {token}'all' or a token in {ranges[0]}"
        axes = _NAMES[len(self.sizes)]
        inside = ", ".join(f"{name} in {each}" for name, each in zip(axes, ranges, strict=True))
        return f"{inside}; 'center' or 'all'"

    def place(self, position: str | int | Sequence[int]) -> tuple[int, ...]:
        """A single position as indices of the map's axes.

        Args:
            position: "center": of a map (H, W) it is (H // 2, W // 2), of tokens the one at the
                centre of the image; "cls": the class token; a token; or (y, x), or (t, y, x).

        Raises:
            ValueError: the map has no such position.
        """
        if position == "center":
            return tuple(s // 2 for s in self.sizes) if self.middle is None else (self.middle,)
        if position == "cls" and self.is_tokens:
            if self.class_token is None:
                raise ValueError("there is no class token, 'cls'")
            return (self.class_token,)
        indices = (position,) if isinstance(position, int) else position
        if isinstance(indices, str) or len(indices) != len(self.sizes) or not indices:
            names = _NAMES[len(self.sizes)]
            wanted = f"({', '.join(names)})" if len(names) > 1 else "a token" if names else "there"
            raise ValueError(f"position {position!r} is neither 'center' nor {wanted}")
        place = tuple(int(index) for index in indices)
        if not all(0 <= index < size for index, size in zip(place, self.sizes, strict=True)):
            told = f"({', '.join(map(str, place))})" if len(place) > 1 else str(place[0])
            sizes = " x ".join(map(str, self.sizes))
            raise ValueError(f"position {told} is outside the map of {sizes}")
        return place

    def offsets(self, position: str | int | Sequence[int]) -> list[int]:
        """The flat positions of the map that are meant; "all" is all of them.

        Raises:
            ValueError: the map has no such position.
        """
        if position == "all":
            return list(range(prod(self.sizes)))
        place = self.place(position)
        return [int(np.ravel_multi_index(place, self.sizes))] if self.sizes else [0]

    def mask(self, position: str | int | Sequence[int]) -> Mask:
        """All units at a position, of the layer's shape.

        Raises:
            ValueError: the map has no such position.
        """
        positions = np.zeros(self.sizes, bool)
        positions.ravel()[self.offsets(position)] = True
        return np.broadcast_to(np.expand_dims(positions, self.axis), self.shape)

    def index(self, unit: Number, offset: Number) -> Number:
        """The flat index in the layer of a unit at a flat position of the map; or of many."""
        inner = prod(self.shape[self.axis + 1 :])
        return offset // inner * (inner * self.count) + unit * inner + offset % inner

    def split(self, index: Number) -> tuple[Number, Number]:
        """The unit and the flat position of the map that have a flat index; or of many."""
        inner = prod(self.shape[self.axis + 1 :])
        unit = index // inner % self.count
        return unit, index // (inner * self.count) * inner + index % inner


def channel_maps(layers: Mapping[str, Shape]) -> dict[str, UnitMap]:
    """Those of the layers (C,) and (C, H, W); others have no units."""
    return {name: UnitMap(shape) for name, shape in layers.items() if len(shape) in _CENTERED}


def no_layer(name: str, layers: Iterable[str], unlisted: Mapping[str, str]) -> str:
    """What is told of a name that is no layer: the nearest names, and why if that is known."""
    names = list(layers)
    parts = [repr(layer) for layer in names if layer.startswith(f"{name}.")]
    reason = f"parts of it are {', '.join(parts[:3])}" if parts else ""
    reason = unlisted.get(name, reason)
    return suggest(name, names) + (f"; {reason}" if reason else "")
