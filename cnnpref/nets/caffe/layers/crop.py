"""The layer that cuts a blob to the size of another one.

Forks of FCN's time found themselves where to cut: each layer takes the centre of a unit's window on
its bottom to that unit, and two blobs with a common ancestor are aligned where the centres of their
units are the same there (`coord_map` of longjon/caffe, later pycaffe's `coord_map.py`).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from typing import NamedTuple

from torch import Tensor

from cnnpref.geometry import Nothing, Reach, Same, Shape, Transposed, Window
from cnnpref.nets.caffe.layers.base import (
    Blob,
    Layer,
    Source,
    canonical_axis,
    layer,
    require,
)


@layer("Crop", least=2, most=2)
class Crop(Layer):
    """The first bottom, cut from `offset` to the size of the second, from `axis` on.

    In V1 files it has no parameters: there Caffe aligned the two bottoms.
    """

    def setup(self, x: Shape, reference: Shape) -> list[Blob]:
        param = self.message.crop_param
        if param.align:
            param.offset.extend(_aligned_offsets(self))
        elif not self.message.HasField("crop_param"):
            self._warn_unless_aligned()
        self.axis, cropped = canonical_axis(param.axis, len(x)), len(x) - param.axis % len(x)
        offsets = list(param.offset) or [0]
        require(len(offsets) in (1, cropped), f"{cropped} cropped axes, but offsets {offsets}")
        self.offsets = offsets * cropped if len(offsets) == 1 else offsets
        for size, wanted, offset in zip(
            x[self.axis :], reference[self.axis :], self.offsets, strict=True
        ):
            require(offset + wanted <= size, f"{wanted} from offset {offset} exceeds {size}")
        if self.axis == 0 and self.offsets[0] == 0 and x[0] == reference[0]:  # all images
            self.axis, self.offsets = 1, self.offsets[1:]
        return []

    def _warn_unless_aligned(self) -> None:
        with suppress(ValueError):
            if any(offsets := _aligned_offsets(self)):
                warnings.warn(
                    f"layer {self.name!r} (Crop) has no crop_param and cuts from offset 0, as "
                    "Caffe does; forks of FCN's time (HED's too) would align it: if the net is of "
                    f"one, add crop_param {{ offset: {offsets[0]} offset: {offsets[1]} }}",
                    UserWarning,
                    stacklevel=2,
                )

    def forward(self, x: Tensor, reference: Tensor) -> Tensor:
        for i, offset in enumerate(self.offsets, self.axis):
            x = x.narrow(i, offset, reference.shape[i])
        return x

    def reach(self, axis: int, top: int, bottom: int) -> Reach:
        if bottom == 1:  # only its size matters
            return Nothing()
        return Same(self.offsets[axis - self.axis]) if axis >= self.axis else Same()


class _Map(NamedTuple):
    """From one coordinate to another: `scale * x + shift`."""

    scale: Fraction
    shift: Fraction

    def after(self, other: _Map) -> _Map:
        return _Map(self.scale * other.scale, self.scale * other.shift + self.shift)

    def inverse(self) -> _Map:
        return _Map(1 / self.scale, -self.shift / self.scale)


def _aligned_offsets(crop: Layer) -> tuple[int, int]:
    """Rows and columns by which the second bottom lies inside of the first.

    Raises:
        ValueError: they have no common ancestor, or other scales, or lie between pixels.
    """
    first, second = (list(_way_down(source)) for source in crop.sources)
    common = next((s.value for s in second if s.value in {t.value for t in first}), None)
    if common is None:
        raise ValueError("its bottoms cannot be aligned: they have no common origin")
    rows, columns = (_offset(first, second, common, axis) for axis in (2, 3))
    return rows, columns


def _way_down(source: Source) -> Iterator[Source]:
    """A value, and the first bottom of what makes it, and so on."""
    yield source
    while source.layer is not None and source.layer.sources:
        source = source.layer.sources[0]
        yield source


def _offset(first: list[Source], second: list[Source], common: int, axis: int) -> int:
    one, other = (_from_common(way, common, axis) for way in (first, second))
    scale, shift = other.after(one.inverse())
    if scale != 1 or shift.denominator != 1 or shift > 0:
        raise ValueError(f"its bottoms cannot be aligned: x becomes {scale} x + {shift}")
    return -int(shift)


def _from_common(way: list[Source], common: int, axis: int) -> _Map:
    total = _Map(Fraction(1), Fraction(0))
    for source in way:
        if source.value == common:
            break
        if source.layer is not None:
            total = total.after(_map(source.layer, axis))
    return total


def _map(passed: Layer, axis: int) -> _Map:
    reach = passed.reach(axis, 0, 0)
    if isinstance(reach, Same):
        return _Map(Fraction(1), Fraction(-reach.offset))
    if isinstance(reach, Window):
        return _filter(reach).inverse()
    if isinstance(reach, Transposed):
        return _filter(reach.window)
    raise ValueError(f"its bottoms cannot be aligned through layer {passed.name!r} ({passed.kind})")


def _filter(window: Window) -> _Map:
    return _Map(Fraction(window.stride), Fraction(window.extent - 1, 2) - window.pad)
