"""Which pixels reach a unit: masks of a layer's values, carried back through the layers.

Channels, rows and columns are independent in every layer of a convolutional net: for each layer and
axis a rule says which inputs each output depends on, and carries a mask back exactly. Strides,
dilations and padding that leave gaps, and branches that join, need no special care.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Shape = tuple[int, ...]  # of a layer or a blob; without the batch unless told otherwise
Mask = npt.NDArray[np.bool_]  # of a shape without the batch; an axis of size 1: alike all along
Span = tuple[int, int]  # of one axis, half open
Box = tuple[int, int, int, int]  # top, left, bottom, right in pixels, half open


class Reach(Protocol):
    """How the outputs of a layer depend on its inputs, along one axis."""

    def inputs_of(self, mask: Mask, inputs: int) -> Mask:
        """Which of so many inputs the masked outputs depend on, (inputs, ...).

        Args:
            mask: (outputs, ...).
            inputs: how many there are; a result of size 1 says the same of all.
        """

    def span(self, first: int, last: int) -> Span | None:
        """Around the inputs that the outputs `first` .. `last` - 1 depend on; None: all of them.

        Reaches past the ends where padding does.
        """

    def __hash__(self) -> int: ...


@dataclass(frozen=True)
class Same:
    """Output i depends on input `i + offset`, where there is one."""

    offset: int = 0

    def inputs_of(self, mask: Mask, inputs: int) -> Mask:
        return Window(1, 1, -self.offset).inputs_of(mask, inputs)

    def span(self, first: int, last: int) -> Span | None:
        return first + self.offset, last + self.offset


_SAME = Same()


@dataclass(frozen=True)
class Whole:
    """Every output depends on every input."""

    def inputs_of(self, mask: Mask, inputs: int) -> Mask:
        return anywhere(mask, 0, keepdims=True)

    def span(self, first: int, last: int) -> Span | None:
        return None


@dataclass(frozen=True)
class Nothing:
    """No output depends on any input."""

    def inputs_of(self, mask: Mask, inputs: int) -> Mask:
        return np.zeros((1, *mask.shape[1:]), bool)

    def span(self, first: int, last: int) -> Span | None:
        return first, first


@dataclass(frozen=True)
class Window:
    """Convolution and pooling: output i depends on the inputs `i*stride - pad + dilation*tap`."""

    kernel: int
    stride: int = 1
    pad: int = 0
    dilation: int = 1

    def inputs_of(self, mask: Mask, inputs: int) -> Mask:
        last = (len(mask) - 1) * self.stride
        reached = np.zeros((last + self.extent, *mask.shape[1:]), bool)
        reached[: last + 1 : self.stride] = mask
        _widen(reached, self.kernel, self.dilation)
        return _cut(reached, self.pad, inputs)

    def span(self, first: int, last: int) -> Span | None:
        start = first * self.stride - self.pad
        return start, start + (last - 1 - first) * self.stride + self.extent

    @property
    def extent(self) -> int:
        """From the first to the last input under the window."""
        return self.dilation * (self.kernel - 1) + 1


@dataclass(frozen=True)
class Transposed:
    """Deconvolution: input i adds to the outputs `i*stride - pad + dilation*tap`."""

    window: Window

    def inputs_of(self, mask: Mask, inputs: int) -> Mask:
        window, last = self.window, (inputs - 1) * self.window.stride
        spread = _cut(mask, -window.pad, last + window.extent).copy()
        _widen(spread[::-1], window.kernel, window.dilation)
        return spread[: last + 1 : window.stride]

    def span(self, first: int, last: int) -> Span | None:
        window = self.window
        start = -((window.extent - 1 - window.pad - first) // window.stride)
        return start, (last - 1 + window.pad) // window.stride + 1


@dataclass(frozen=True)
class Grouped:
    """Channels of a convolution: every output depends on the inputs of its own group."""

    groups: int

    def inputs_of(self, mask: Mask, inputs: int) -> Mask:
        of_group = mask.reshape(self.groups, -1, *mask.shape[1:])
        return anywhere(of_group, 1).repeat(inputs // self.groups, 0)

    def span(self, first: int, last: int) -> Span | None:
        return None


@dataclass(frozen=True)
class Wrapped:
    """Copies laid side by side (Tile): output i depends on input `i % inputs`."""

    def inputs_of(self, mask: Mask, inputs: int) -> Mask:
        return anywhere(mask.reshape(-1, inputs, *mask.shape[1:]), 0)

    def span(self, first: int, last: int) -> Span | None:
        return None


@dataclass(frozen=True, eq=False)
class Table:
    """What each output depends on, written out: (outputs, inputs)."""

    table: npt.NDArray[np.bool_]

    def inputs_of(self, mask: Mask, inputs: int) -> Mask:
        return np.tensordot(self.table.T, mask.astype(np.float32), 1) > 0

    def span(self, first: int, last: int) -> Span | None:
        return None


def _widen(mask: Mask, taps: int, step: int) -> None:
    """Mask, behind each row that is masked, every `step`-th one until there are so many."""
    wide = 1
    while wide < taps:
        more = min(wide, taps - wide)
        mask[more * step :] |= mask[: -more * step]
        wide += more


def _cut(mask: Mask, start: int, size: int) -> Mask:
    """`size` rows from `start` on; past the ends nothing is masked."""
    first, last = max(start, 0), min(start + size, len(mask))
    if (first, last) == (start, start + size):
        return mask[first:last]
    cut = np.zeros((size, *mask.shape[1:]), bool)
    if first < last:
        cut[first - start : last - start] = mask[first:last]
    return cut


def pull_back(mask: Mask, axis: int, reach: Reach, outputs: int, inputs: int) -> Mask:
    """The inputs that the masked outputs depend on, along one axis.

    Args:
        mask: of size `outputs` along the axis, or of size 1, which says the same of all.
        axis: of the mask.
        reach: how the outputs depend on the inputs.
        outputs: how many there are.
        inputs: how many there are.
    """
    if reach == _SAME and outputs == inputs:
        return mask
    along = mask.swapaxes(0, axis)
    if len(along) == outputs:
        return reach.inputs_of(along, inputs).swapaxes(0, axis)
    read = reach.inputs_of(np.ones((outputs, *(1,) * (mask.ndim - 1)), bool), inputs)
    return mask if read.all() else mask & read.swapaxes(0, axis)


def anywhere(mask: Mask, axes: int | tuple[int, ...], keepdims: bool = False) -> Mask:
    """Whether anything is masked along some axes."""
    return np.asarray(mask.any(axes, keepdims=keepdims))


def crop(x: Any, box: Box) -> Any:
    """A view of the pixels of a box of images (..., H, W), of NumPy or torch."""
    top, left, bottom, right = box
    return x[..., top:bottom, left:right]


def spans(box: Box) -> tuple[Span, Span]:
    """The rows and the columns of a box."""
    top, left, bottom, right = box
    return (top, bottom), (left, right)


def box_of(rows: Span, columns: Span) -> Box:
    """The box of some rows and columns."""
    return rows[0], columns[0], rows[1], columns[1]


def full_box(shape: Sequence[int]) -> Box:
    """All of a map (..., H, W)."""
    return 0, 0, shape[-2], shape[-1]


def around(boxes: Iterable[Box]) -> Box:
    """The smallest box around some."""
    tops, lefts, bottoms, rights = zip(*boxes, strict=True)
    return min(tops), min(lefts), max(bottoms), max(rights)


def relative(box: Box, to: Box) -> Box:
    """A box, counted from the corner of another one."""
    top, left, bottom, right = box
    return top - to[0], left - to[1], bottom - to[0], right - to[1]


def grown(box: Box, margin: int, size: tuple[int, int]) -> Box:
    """A box with a margin, as far as the image of (H, W) goes."""
    top, left, bottom, right = box
    height, width = size
    return (
        max(0, top - margin),
        max(0, left - margin),
        min(height, bottom + margin),
        min(width, right + margin),
    )


def bounding_box(mask: Mask) -> Box:
    """The smallest box around a mask; (0, 0, 0, 0) around none."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not rows.size:
        return (0, 0, 0, 0)
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
