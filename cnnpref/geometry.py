"""Which pixels reach a unit: masks of a layer's map, carried back through the layers.

Rows and columns are independent in every layer of a convolutional net: two small matrices per
layer, one for each axis, say which inputs each output depends on, and carry a mask back exactly.
Strides, dilations and padding that leave gaps, and branches that join, need no special care.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]  # (H, W), positions of a map; (1, 1) for a layer without a map
Relation = npt.NDArray[np.bool_]  # (outputs, inputs) of one axis: whether one depends on the other
Box = tuple[int, int, int, int]  # top, left, bottom, right in pixels, half open


class Reach(Protocol):
    """How the outputs of a layer depend on its inputs, along one axis."""

    def relation(self, outputs: int, inputs: int) -> Relation:
        """For so many outputs and inputs, which depend on which."""

    def __hash__(self) -> int: ...


@dataclass(frozen=True)
class Same:
    """Output i depends on input `i + offset`, where there is one."""

    offset: int = 0

    def relation(self, outputs: int, inputs: int) -> Relation:
        return np.eye(outputs, inputs, self.offset, dtype=bool)


@dataclass(frozen=True)
class Whole:
    """Every output depends on every input."""

    def relation(self, outputs: int, inputs: int) -> Relation:
        return np.ones((outputs, inputs), bool)


@dataclass(frozen=True)
class Nothing:
    """No output depends on any input."""

    def relation(self, outputs: int, inputs: int) -> Relation:
        return np.zeros((outputs, inputs), bool)


@dataclass(frozen=True)
class Window:
    """Convolution and pooling: output i depends on the inputs `i*stride - pad + dilation*tap`."""

    kernel: int
    stride: int = 1
    pad: int = 0
    dilation: int = 1

    def relation(self, outputs: int, inputs: int) -> Relation:
        start = np.arange(outputs)[:, None] * self.stride - self.pad
        tap, between = np.divmod(np.arange(inputs) - start, self.dilation)
        return (between == 0) & (tap >= 0) & (tap < self.kernel)


@dataclass(frozen=True)
class Transposed:
    """Deconvolution: input i adds to the outputs `i*stride - pad + dilation*tap`."""

    window: Window

    def relation(self, outputs: int, inputs: int) -> Relation:
        return self.window.relation(inputs, outputs).T


@dataclass(frozen=True)
class Wrapped:
    """Copies laid side by side (Tile): output i depends on input `i % inputs`."""

    def relation(self, outputs: int, inputs: int) -> Relation:
        return np.arange(outputs)[:, None] % inputs == np.arange(inputs)


@dataclass(frozen=True, eq=False)
class Table:
    """What each output depends on, written out."""

    table: Relation

    def relation(self, outputs: int, inputs: int) -> Relation:
        if self.table.shape != (outputs, inputs):
            raise ValueError(f"a table of {self.table.shape} for {(outputs, inputs)}")
        return self.table


def map_size(shape: Sequence[int]) -> tuple[int, int]:
    """(H, W) of a shape (C, H, W); (1, 1) of any other."""
    return (shape[1], shape[2]) if len(shape) == 3 else (1, 1)


def pull_back(mask: Mask, rows: Relation, columns: Relation) -> Mask:
    """The inputs that the masked outputs depend on."""
    reached: Mask = (rows.T.astype(np.float32) @ mask @ columns) > 0
    return reached


def bounding_box(mask: Mask) -> Box:
    """The smallest box around a mask; (0, 0, 0, 0) around none."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not rows.size:
        return (0, 0, 0, 0)
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def unit_position(shape: Sequence[int], position: str | Sequence[int]) -> tuple[int, int]:
    """(y, x) in a map of `shape` (C, H, W): "center" is (H // 2, W // 2).

    Raises:
        ValueError: the position is neither "center" nor a (y, x) inside the map.
    """
    height, width = shape[1:]
    if position == "center":
        return height // 2, width // 2
    if isinstance(position, str) or len(position) != 2:
        raise ValueError(f"position {position!r} is neither 'center' nor (y, x)")
    y, x = (int(v) for v in position)
    if not (0 <= y < height and 0 <= x < width):
        raise ValueError(f"position ({y}, {x}) is outside the map of {height} x {width}")
    return y, x
