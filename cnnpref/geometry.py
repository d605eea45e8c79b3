"""Which pixels reach a unit: index sets of one spatial axis, carried back through the layers.

Sets, not intervals: a dilated or strided kernel that overlaps the border skips rows, and only the
set tells which ones. Rows and columns are independent in every layer of a convolutional net, so
that two one-dimensional sets give the bounding box exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]  # sorted, unique
Box = tuple[int, int, int, int]  # top, left, bottom, right in pixels, half open


class Reach(Protocol):
    """How the outputs of a layer depend on its inputs, along one axis."""

    def inputs(self, outputs: Indices, size: int) -> Indices:
        """The indices in 0..size-1 of the input that the given `outputs` depend on."""


def _inside(indices: Indices, size: int) -> Indices:
    return np.unique(indices[(indices >= 0) & (indices < size)])


@dataclass(frozen=True)
class Same:
    """Output i depends on input `i + offset`, where there is one."""

    offset: int = 0

    def inputs(self, outputs: Indices, size: int) -> Indices:
        return _inside(outputs + self.offset, size)


@dataclass(frozen=True)
class Whole:
    """Every output depends on every input."""

    def inputs(self, outputs: Indices, size: int) -> Indices:
        return np.arange(size if outputs.size else 0)


@dataclass(frozen=True)
class Window:
    """Convolution and pooling: output i depends on the inputs `i*stride - pad + dilation*tap`."""

    kernel: int
    stride: int = 1
    pad: int = 0
    dilation: int = 1

    def inputs(self, outputs: Indices, size: int) -> Indices:
        taps = np.arange(self.kernel) * self.dilation - self.pad
        return _inside((outputs[:, None] * self.stride + taps).ravel(), size)


@dataclass(frozen=True)
class Transposed:
    """Deconvolution: input i adds to the outputs `i*stride - pad + dilation*tap`."""

    kernel: int
    stride: int = 1
    pad: int = 0
    dilation: int = 1

    def inputs(self, outputs: Indices, size: int) -> Indices:
        taps = np.arange(self.kernel) * self.dilation - self.pad
        sources = (outputs[:, None] - taps).ravel()
        return _inside(sources[sources % self.stride == 0] // self.stride, size)


@dataclass(frozen=True)
class Wrapped:
    """Copies laid side by side (Tile): output i depends on input `i % size`."""

    def inputs(self, outputs: Indices, size: int) -> Indices:
        return np.unique(outputs % size)


def union(sets: Iterable[Indices]) -> Indices:
    """All indices that are in any of the sets."""
    return np.unique(np.concatenate([np.empty(0, np.int64), *sets]))


def bounding_box(rows: Indices, columns: Indices) -> Box:
    """The smallest box around `rows` x `columns`; (0, 0, 0, 0) when nothing reaches the unit."""
    if not rows.size or not columns.size:
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
