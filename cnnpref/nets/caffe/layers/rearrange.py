"""Layers that join, split or reorder blobs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from itertools import pairwise
from math import prod

import torch
from torch import Tensor

from cnnpref.geometry import Mask, Nothing, Reach, Same, Wrapped
from cnnpref.nets.caffe.files.schema import SCHEMA
from cnnpref.nets.caffe.layers.base import (
    Blob,
    Layer,
    SameShape,
    Shape,
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


@layer("Eltwise", least=2, most=math.inf)
class Eltwise(SameShape):
    """Sum (with coefficients), product or maximum of bottoms of the same shape."""

    def setup(self, *shapes: Shape) -> list[Blob]:
        param = self.message.eltwise_param
        require(len(set(shapes)) == 1, f"bottoms must have one shape, got {shapes}")
        self.operation, self.coeff = param.EltwiseOp.Name(param.operation), list(param.coeff)
        require(len(self.coeff) in (0, len(shapes)), "coeff must be given for all bottoms or none")
        require(not self.coeff or self.operation == "SUM", "coeff is for the operation SUM only")
        return []

    def forward(self, *bottoms: Tensor) -> Tensor:
        if self.operation == "PROD":
            return reduce(torch.mul, bottoms)
        if self.operation == "MAX":
            return self._maximum(bottoms)
        scaled = (
            [c * x for c, x in zip(self.coeff, bottoms, strict=True)] if self.coeff else bottoms
        )
        return reduce(torch.add, scaled)

    @staticmethod
    def _maximum(bottoms: Sequence[Tensor]) -> Tensor:
        """At ties the gradient goes to bottom 1 rather than 0, but to the earlier of the others."""
        top = torch.where(bottoms[0] > bottoms[1], bottoms[0], bottoms[1])
        for x in bottoms[2:]:
            top = torch.where(x > top, x, top)
        return top


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

    A first dimension equal to the declared batch follows the batch at run time.
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
        if start == 0 and self.dims and self.dims[0] == x[0]:
            self.dims[0] = 0
        shape = self._shape(x)
        require(prod(shape) == prod(x), f"{x} ({prod(x)} values) cannot become {shape}")
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

    def pull_back(self, mask: Mask, top: int, bottom: int) -> Mask:
        return reshaped(mask, self.top_shapes[0], self.bottom_shapes[0])

    @property
    def local(self) -> bool:
        return False


@layer("Crop", least=2, most=2)
class Crop(Layer):
    """The first bottom, cut from `offset` to the size of the second, from `axis` on."""

    def setup(self, x: Shape, reference: Shape) -> list[Blob]:
        param = self.message.crop_param
        self.axis, cropped = canonical_axis(param.axis, len(x)), len(x) - param.axis % len(x)
        offsets = list(param.offset) or [0]
        require(len(offsets) in (1, cropped), f"{cropped} cropped axes, but offsets {offsets}")
        self.offsets = offsets * cropped if len(offsets) == 1 else offsets
        for size, wanted, offset in zip(
            x[self.axis :], reference[self.axis :], self.offsets, strict=True
        ):
            require(offset + wanted <= size, f"{wanted} from offset {offset} exceeds {size}")
        return []

    def forward(self, x: Tensor, reference: Tensor) -> Tensor:
        for i, offset in enumerate(self.offsets, self.axis):
            x = x.narrow(i, offset, reference.shape[i])
        return x

    def reach(self, axis: int, top: int, bottom: int) -> Reach:
        if bottom == 1:  # only its size matters
            return Nothing()
        return Same(self.offsets[axis - self.axis]) if axis >= self.axis else Same()


@layer("Tile")
class Tile(Layer):
    """`tiles` copies of the bottom along an axis."""

    def setup(self, x: Shape) -> list[Blob]:
        param = self.message.tile_param
        self.axis, self.tiles = canonical_axis(param.axis, len(x)), param.tiles
        require(self.tiles > 0, "tiles must be given and positive")
        return []

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
