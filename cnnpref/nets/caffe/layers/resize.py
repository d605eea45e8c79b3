"""Layers that make maps larger or smaller by interpolation, or undo a pooling."""

from __future__ import annotations

from math import prod

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cnnpref.geometry import Nothing, Reach, Same, Shape, Table, Transposed, Whole, Window
from cnnpref.nets.caffe.layers.base import (
    Blob,
    Layer,
    UnsupportedError,
    layer,
    pair,
    require,
)
from cnnpref.nets.caffe.layers.pooling import Pooling


@layer("Interp", fork=True)
class Interp(Layer):
    """Bilinear interpolation; the centres of the corner pixels stay where they are (DeepLab)."""

    def setup(self, x: Shape) -> list[Blob]:
        param = self.message.interp_param
        self.before, self.after = -param.pad_beg, -param.pad_end
        require(min(self.before, self.after) >= 0, "pad_beg and pad_end must not be positive")
        require(len(x) == 4, f"needs a blob of 4 axes, got {x}")
        self._size((x[2], x[3]))
        return []

    def _size(self, size: tuple[int, ...]) -> tuple[int, ...]:
        param, cropped = self.message.interp_param, [n - self.before - self.after for n in size]
        shrinks, zooms = param.HasField("shrink_factor"), param.HasField("zoom_factor")
        if param.HasField("height") and param.HasField("width") and shrinks == zooms:
            return param.height, param.width
        require(shrinks or zooms, "height and width, zoom_factor or shrink_factor must be given")
        factors = param.shrink_factor, param.zoom_factor
        require(min(factors) > 0, "zoom_factor and shrink_factor must be positive")
        shrunk = [(n - 1) // factors[0] + 1 for n in cropped]
        return tuple(n + (n - 1) * (factors[1] - 1) for n in shrunk)

    def infer(self, *bottoms: Shape) -> list[Shape]:
        return [(*bottoms[0][:2], *self._size(bottoms[0][2:]))]

    def forward(self, x: Tensor) -> Tensor:
        size = self._size(tuple(x.shape[2:]))
        cut = [-self.before, -self.after] * 2
        return F.interpolate(F.pad(x, cut), size, mode="bilinear", align_corners=True)

    def reach(self, axis: int, top: int, bottom: int) -> Reach:
        if axis == 1:
            return Same()
        inputs, outputs = self.bottom_shapes[0][axis], self.top_shapes[0][axis]
        return _linear(inputs, outputs, self.before, self.after)

    @property
    def local(self) -> bool:
        return False


def _linear(inputs: int, outputs: int, before: int, after: int) -> Table:
    """Which two neighbours each output lies between."""
    cropped = inputs - before - after
    place = np.arange(outputs)[:, None] * ((cropped - 1) / max(outputs - 1, 1)) + before
    return Table(np.abs(np.arange(inputs) - place) < 1 - 1e-9)


class _Unpooled(Layer):
    """A pooled map, its values put where the mask of a MAX pooling says; 0 elsewhere.

    Bottoms: the map, and the mask: for each value a flat index in its channel of the top. Of values
    with one place the last stays.
    """

    size: tuple[int, int]  # of the top
    _pooling: Pooling | None = None  # made the mask

    def _check(self, x: Shape, mask: Shape) -> None:
        require(len(x) == 4 and x == mask, f"map and mask must have one shape, got {x} and {mask}")
        maker = self.sources[1].layer if len(self.sources) > 1 else None
        if isinstance(maker, Pooling):
            self._pooling = maker
            pooled = maker.bottom_shapes[0][2:]
            fits = prod(pooled) <= prod(self.size)
            require(fits, f"its mask is of a map of {pooled}, its top has only {self.size}")

    def infer(self, *bottoms: Shape) -> list[Shape]:
        return [(*bottoms[0][:2], *self.size)]

    def forward(self, x: Tensor, mask: Tensor, *like: Tensor) -> Tensor:
        values, places = x.flatten(2), mask.flatten(2).long()
        top = x.new_zeros(*x.shape[:2], prod(self.size) + 1)
        if self._pooling is None or self._pooling.overlaps:
            order = places.argsort(dim=2, stable=True)
            values, places = values.gather(2, order), places.gather(2, order)
            last = F.pad(places[..., 1:] != places[..., :-1], (0, 1), value=True)
            places = torch.where(last, places, top.shape[2] - 1)  # one more, that is cut off
        return top.scatter(2, places, values)[..., :-1].unflatten(2, self.size)

    def reach(self, axis: int, top: int, bottom: int) -> Reach:
        """What lies in the window of the pooling that made the mask, if it is known."""
        if axis == 1:
            return Same()
        if bottom == 2:  # only its size matters
            return Nothing()
        window = self._pooling and self._pooling.reach(axis, 0, 0)
        return Transposed(window) if isinstance(window, Window) else Whole()

    @property
    def local(self) -> bool:
        return False


@layer("Unpooling", least=2, most=3, fork=True)
class Unpooling(_Unpooled):
    """Undoes a MAX pooling (DeconvNet); a third bottom gives the size."""

    def setup(self, x: Shape, mask: Shape, *like: Shape) -> list[Blob]:
        message = self.message
        own = message.HasField("unpooling_param")
        param = message.unpooling_param if own else message.pooling_param
        if (param.unpool if own else param.pool) != 0:
            raise UnsupportedError("only MAX is defined: in Caffe the others add to what was there")
        kernel, stride, pad = (pair(param, name) for name in ("kernel_size", "stride", "pad"))
        axes = zip(x[2:], kernel, stride, pad, strict=True)
        height, width = ((n - 1) * s + k - 2 * p for n, k, s, p in axes)
        if own and (param.unpool_size or param.unpool_h):
            height, width = pair(param, "unpool_size")
        self.size = (like[0][2], like[0][3]) if like else (height, width)
        self._check(x, mask)
        return []


@layer("Upsample", most=2, fork=True)
class Upsample(_Unpooled):
    """With a mask undoes a MAX pooling (SegNet, ENet); without one repeats each value (YOLO)."""

    def setup(self, x: Shape, *mask: Shape) -> list[Blob]:
        param = self.message.upsample_param
        stated = param.HasField("scale") or mask
        require(bool(stated), "scale must be given: forks of Caffe have different defaults")
        scales = pair(param, "scale")
        require(len(x) == 4 and min(scales) > 0, f"cannot scale a blob {x} by {scales}")
        cut = int(param.pad_out_h), int(param.pad_out_w)
        self.size = (x[2] * scales[0] - cut[0], x[3] * scales[1] - cut[1])
        if param.upsample_h and param.upsample_w:
            self.size = param.upsample_h, param.upsample_w
        self.scales = scales
        if mask:
            self._check(x, mask[0])
        return []

    def forward(self, x: Tensor, *mask: Tensor) -> Tensor:
        if mask:
            return super().forward(x, *mask)
        rows, columns = self.scales
        return x.repeat_interleave(rows, 2).repeat_interleave(columns, 3)

    def reach(self, axis: int, top: int, bottom: int) -> Reach:
        if axis == 1 or len(self.bottom_shapes) > 1:
            return super().reach(axis, top, bottom)
        scale = self.scales[axis - 2]
        return Transposed(Window(scale, scale))
