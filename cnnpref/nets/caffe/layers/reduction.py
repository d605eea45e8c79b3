"""Layers that make few values of many: sums and maxima."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from cnnpref.geometry import Mask, Reach, Same, Shape, Whole
from cnnpref.nets.caffe.layers.base import (
    Blob,
    Layer,
    canonical_axis,
    collapsed,
    layer,
    require,
)


@layer("Reduction")
class Reduction(Layer):
    """Sum, sum of absolute values or squares, or mean over all axes from `axis` on."""

    def setup(self, x: Shape) -> list[Blob]:
        param = self.message.reduction_param
        self.axis, self.coeff = canonical_axis(param.axis, len(x)), param.coeff
        self.operation = param.ReductionOp.Name(param.operation)
        return []

    def forward(self, x: Tensor) -> Tensor:
        values = {"ASUM": torch.abs, "SUMSQ": torch.square}.get(self.operation, lambda v: v)(x)
        over = tuple(range(self.axis, x.ndim))
        reduced = values.mean(over) if self.operation == "MEAN" else values.sum(over)
        return reduced * self.coeff

    def pull_back(self, mask: Mask, top: int, bottom: int) -> Mask:
        return collapsed(mask, max(self.axis, 1), len(self.bottom_shapes[0]))


@layer("ArgMax")
class ArgMax(Layer):
    """Indices (and, with out_max_val, values) of the top_k largest; ties go to the larger index."""

    def setup(self, x: Shape) -> list[Blob]:
        param = self.message.argmax_param
        self.top_k, self.values = param.top_k, param.out_max_val
        self.whole = not param.HasField("axis")  # all values of an image in one
        self.axis = 1 if self.whole else canonical_axis(param.axis, len(x))
        size = prod(x[1:]) if self.whole else x[self.axis]
        require(1 <= self.top_k <= size, f"top_k {self.top_k} is not in 1..{size}")
        return []

    def forward(self, x: Tensor) -> Tensor:
        axis, ones = self.axis, (1,) * (x.ndim - 3)
        x = x.flatten(1) if self.whole else x
        order = torch.sort(x.flip(axis), dim=axis, descending=True, stable=True)
        values = order.values.narrow(axis, 0, self.top_k)
        indices = (x.shape[axis] - 1 - order.indices.narrow(axis, 0, self.top_k)).to(x.dtype)
        if self.whole:
            pairs = torch.stack([indices, values] if self.values else [indices], 1)
            return pairs.reshape(*pairs.shape, *ones)  # at least 3 axes, as many as the bottom
        return values if self.values else indices

    def reach(self, axis: int, top: int, bottom: int) -> Reach:
        return Whole() if self.whole or axis == self.axis else Same()
