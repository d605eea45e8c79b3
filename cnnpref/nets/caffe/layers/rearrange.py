"""Layers that join, split or reorder blobs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from math import prod

import numpy as np
import torch
from torch import Tensor

from cnnpref.geometry import Mask, Reach, Same, Shape, Table, Wrapped
from cnnpref.nets.caffe.files.schema import SCHEMA
from cnnpref.nets.caffe.layers.base import (
    Blob,
    Layer,
    SameShape,
    canonical_axis,
    layer,
    require,
    reshaped,
)


@layer("Split")
class Split(Layer):
    """Every top is the bottom."""

    shares_memory = True

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(x for _ in self.message.top)


@layer("Silence", most=math.inf)
@layer("HDF5Output", most=math.inf)
class Silence(Layer):
    """Takes bottoms, gives nothing."""

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return ()


@layer("Concat", most=math.inf)
class Concat(Layer):
    """The bottoms one after another along an axis."""

    commutes_with_relu = True

    def setup(self, *shapes: Shape) -> list[Blob]:
        param = self.message.concat_param
        axis = param.concat_dim if param.HasField("concat_dim") else param.axis
        self.axis = canonical_axis(axis, len(shapes[0]))
        rests = {s[: self.axis] + s[self.axis + 1 :] for s in shapes}
        require(len(rests) == 1, f"bottoms {shapes} differ outside axis {self.axis}")
        return []

    def infer(self, *bottoms: Shape) -> list[Shape]:
        size, first = sum(shape[self.axis] for shape in bottoms), bottoms[0]
        return [(*first[: self.axis], size, *first[self.axis + 1 :])]

    def forward(self, *bottoms: Tensor) -> Tensor:
        return torch.cat(bottoms, self.axis)

    def reach(self, axis: int, top: int, bottom: int) -> Reach:
        before = sum(shape[self.axis] for shape in self.bottom_shapes[:bottom])
        return Same(-before) if axis == self.axis else Same()


@layer("Slice")
class Slice(Layer):
    """The bottom cut along an axis, at the slice points or into equal parts."""

    def setup(self, x: Shape) -> list[Blob]:
        param = self.message.slice_param
        axis = param.slice_dim if param.HasField("slice_dim") else param.axis
        self.axis, points = canonical_axis(axis, len(x)), list(param.slice_point)
        size, tops = x[self.axis], len(self.message.top)
        if not points:
            require(size % tops == 0, f"{tops} tops do not divide {size} along axis {self.axis}")
            points = [i * size // tops for i in range(1, tops)]
        edges = [0, *points, size]
        require(len(edges) == tops + 1, f"{tops} tops need {tops - 1} slice points, got {points}")
        require(
            all(a < b for a, b in pairwise(edges)), f"slice points {points} do not cut 0..{size}"
        )
        self.edges = edges
        return []

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        # an axis cut into equal parts may be the batch, of any size
        size = x.shape[self.axis]
        edges = [*self.edges[:-1], size]
        return tuple(x.narrow(self.axis, a, b - a) for a, b in pairwise(edges))

    def reach(self, axis: int, top: int, bottom: int) -> Reach:
        return Same(self.edges[top]) if axis == self.axis else Same()


@layer("Permute", fork=True)
class Permute(Layer):
    """The axes in another order (SSD)."""

    def setup(self, x: Shape) -> list[Blob]:
        given = list(self.message.permute_param.order)
        self.order = given + [axis for axis in range(len(x)) if axis not in given]
        fits = sorted(self.order) == list(range(len(x)))
        require(fits, f"order {given} names an axis twice, or one that {x} does not have")
        return []

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(self.order)

    def why_mixed(self) -> str:
        return f"order {self.order} moves the axis of the images" if self.order[0] else ""

    def pull_back(self, mask: Mask, top: int, bottom: int) -> Mask:
        if self.order[0]:
            return np.full((1,) * mask.ndim, mask.any())
        return mask.transpose(np.argsort([axis - 1 for axis in self.order[1:]]))

    @property
    def local(self) -> bool:
        return False


@layer("ShuffleChannel", fork=True)
class ShuffleChannel(SameShape):
    """The channels of `group` groups in turns: the first of each, the second ... (ShuffleNet)."""

    def setup(self, x: Shape) -> list[Blob]:
        self.group = self.message.shuffle_channel_param.group
        fits = self.group > 0 and x[1] % self.group == 0
        require(fits, f"group {self.group} does not divide {x[1]} channels")
        source = np.arange(x[1]).reshape(self.group, -1).T.ravel()
        self.table = Table(source[:, None] == np.arange(x[1]))
        return []

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (self.group, -1)).transpose(1, 2).flatten(1, 2)

    def reach(self, axis: int, top: int, bottom: int) -> Reach:
        return self.table if axis == 1 else Same()


@layer("Flatten")
class Flatten(Layer):
    """Axes `axis` to `end_axis` as one."""

    shares_memory = True

    def setup(self, x: Shape) -> list[Blob]:
        param = self.message.flatten_param
        self.axis = canonical_axis(param.axis, len(x))
        self.end = canonical_axis(param.end_axis, len(x))
        return []

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(self.axis, self.end)

    def pull_back(self, mask: Mask, top: int, bottom: int) -> Mask:
        return reshaped(mask, self.top_shapes[0], self.bottom_shapes[0])

    @property
    def local(self) -> bool:
        return False


@layer("Reshape")
class Reshape(Layer):
    """New dimensions for a span of axes: 0 copies one, -1 infers one.

    A first dimension that is the declared batch follows the batch at run time.
    """

    shares_memory = True

    def setup(self, x: Shape) -> list[Blob]:
        param = self.message.reshape_param
        start = param.axis if param.axis >= 0 else len(x) + param.axis + 1
        require(0 <= start <= len(x), f"axis {param.axis} is out of range for {len(x)} axes")
        end = len(x) if param.num_axes == -1 else start + param.num_axes
        require(end <= len(x), f"num_axes {param.num_axes} from axis {start} reaches past {len(x)}")
        self.start, self.end, self.dims = start, end, list(param.shape.dim)
        require(self.dims.count(-1) <= 1, f"more than one -1 in dimensions {self.dims}")
        shape = self._shape(x)
        require(prod(shape) == prod(x), f"{x} ({prod(x)} values) cannot become {shape}")
        if start == 0 < end and self.dims and shape[0] == x[0]:
            self.dims[0] = 0
        return []

    def _shape(self, x: Sequence[int]) -> list[int]:
        require(
            all(d != 0 or self.start + i < len(x) for i, d in enumerate(self.dims)),
            f"dimension 0 in {self.dims} copies an axis that {tuple(x)} does not have",
        )
        middle = [x[self.start + i] if d == 0 else d for i, d in enumerate(self.dims)]
        shape = [*x[: self.start], *middle, *x[self.end :]]
        if -1 in shape:
            known = prod(d for d in shape if d != -1)
            require(known > 0 and prod(x) % known == 0, f"{tuple(x)} does not fit {self.dims}")
            shape[shape.index(-1)] = prod(x) // known
        return shape

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(self._shape(x.shape))

    def why_mixed(self) -> str:
        if self.start > 0 or (self.end > 0 and self.dims[:1] == [0]):
            return ""
        before, after = self.bottom_shapes[0], self.top_shapes[0]
        return f"{list(before)} becomes {list(after)}: its axis 0 is not that of the images"

    def pull_back(self, mask: Mask, top: int, bottom: int) -> Mask:
        return reshaped(mask, self.top_shapes[0], self.bottom_shapes[0])

    @property
    def local(self) -> bool:
        return False


@layer("Tile")
class Tile(Layer):
    """`tiles` copies of the bottom along an axis."""

    def setup(self, x: Shape) -> list[Blob]:
        param = self.message.tile_param
        self.axis, self.tiles = canonical_axis(param.axis, len(x)), param.tiles
        require(self.tiles > 0, "tiles must be given and positive")
        return []

    def infer(self, *bottoms: Shape) -> list[Shape]:
        (x,) = bottoms
        return [(*x[: self.axis], x[self.axis] * self.tiles, *x[self.axis + 1 :])]

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x] * self.tiles, self.axis)

    def reach(self, axis: int, top: int, bottom: int) -> Reach:
        return Wrapped() if axis == self.axis else Same()


@layer("Parameter", least=0, most=0)
class Parameter(Layer):
    """A weight blob as a top."""

    def setup(self) -> list[Blob]:
        return [Blob(tuple(self.message.parameter_param.shape.dim))]

    def forward(self) -> Tensor:
        return self.weights[0]


class View(Layer):
    """A blob whose memory an in-place layer changed under another name; the graph makes these."""

    def __init__(self, blob: str, bottom: Shape, shape: Shape) -> None:
        super().__init__(SCHEMA["LayerParameter"](name=f"{blob} (view)", type="View"))
        self.shape = shape
        self.bottom_shapes, self.top_shapes = [bottom], [shape]

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(-1, *self.shape[1:])

    def pull_back(self, mask: Mask, top: int, bottom: int) -> Mask:
        return reshaped(mask, self.top_shapes[0], self.bottom_shapes[0])

    @property
    def local(self) -> bool:
        return False
