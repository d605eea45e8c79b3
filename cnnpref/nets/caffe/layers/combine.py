"""Layers that compute one blob of several."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

from cnnpref.geometry import Mask, Reach, Same, Shape, Whole, anywhere
from cnnpref.nets.caffe.layers.base import Blob, Layer, SameShape, layer, require


@layer("Eltwise", most=math.inf)
class Eltwise(SameShape):
    """Sum (with coefficients), product or maximum of bottoms of the same shape.

    Of a single one, which the deepsim branch of Caffe allows: that one, times its coefficient.
    """

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
        first, *others = bottoms
        top = torch.where(first > others[0], first, others[0]) if others else first
        for x in others[1:]:
            top = torch.where(x > top, x, top)
        return top


@layer("Axpy", least=3, most=3, fork=True)
class Axpy(Layer):
    """a x + y, with one a per image and channel: bottoms a (N, C, 1, 1), x and y (N, C, H, W)."""

    def setup(self, a: Shape, x: Shape, y: Shape) -> list[Blob]:
        require(x == y, f"its last two bottoms must have one shape, got {x} and {y}")
        fits = a[:2] == x[:2] and set(a[2:]) <= {1}
        require(fits, f"its first bottom must be one number per channel, got {a} for {x}")
        return []

    def infer(self, *bottoms: Shape) -> list[Shape]:
        return [bottoms[1]]

    def forward(self, a: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return a.reshape(*x.shape[:2], *(1,) * (x.ndim - 2)) * x + y

    def reach(self, axis: int, top: int, bottom: int) -> Reach:
        return Whole() if axis > 1 and bottom == 0 else Same()

    def pull_back(self, mask: Mask, top: int, bottom: int) -> Mask:
        if bottom == 0 and len(self.bottom_shapes[0]) == 2:
            return anywhere(mask, tuple(range(1, mask.ndim)))
        return super().pull_back(mask, top, bottom)
