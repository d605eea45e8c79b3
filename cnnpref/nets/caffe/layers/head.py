"""The last layer before units that lie in one channel for each image: computes nothing else.

A layer computes all channels of every image, but a batch of units wants another single one of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class Head(Protocol):
    """A function of the layer's bottom, padded where its patch reaches past the map."""

    def __call__(self, x: Tensor) -> Tensor:
        """One channel of each image, (B, ...) from (B, C, ...)."""

    def rows(self, chosen: Sequence[int]) -> Head:
        """The same for some of the images."""


@dataclass(frozen=True)
class InnerProductHead:
    """Of an inner product over all of the bottom.

    Attributes:
        weight: (B, inputs).
        bias: (B,), or None.
    """

    weight: Tensor
    bias: Tensor | None

    def __call__(self, x: Tensor) -> Tensor:
        top = (x.flatten(1) * self.weight).sum(1)
        return top if self.bias is None else top + self.bias

    def rows(self, chosen: Sequence[int]) -> Head:
        return replace(self, weight=self.weight[chosen], bias=_some(self.bias, chosen))


@dataclass(frozen=True)
class ConvolutionHead:
    """Of a convolution.

    Attributes:
        weight: (B, C / groups, kh, kw).
        bias: (B,), or None.
        group: which group of the bottom's channels each image's channel looks at, (B,).
        groups: how many there are.
        stride, dilation: of rows and columns.
    """

    weight: Tensor
    bias: Tensor | None
    group: Tensor
    groups: int
    stride: tuple[int, int]
    dilation: tuple[int, int]

    def __call__(self, x: Tensor) -> Tensor:
        """(B, h, w) from (B, C, ...)."""
        if self.groups > 1:
            x = x.unflatten(1, (self.groups, -1))[torch.arange(len(x), device=x.device), self.group]
        top = self._product(x)
        return top if self.bias is None else top + self.bias[:, None, None]

    def _product(self, x: Tensor) -> Tensor:
        kernel = self.weight.shape[2:]
        extent = tuple(d * (k - 1) + 1 for d, k in zip(self.dilation, kernel, strict=True))
        if x.shape[2:] == extent:  # a single position
            taps = x[:, :, :: self.dilation[0], :: self.dilation[1]]
            # flat: sums over several axes are in an order that depends on the number of images
            return (taps.flatten(1) * self.weight.flatten(1)).sum(1)[:, None, None]
        if kernel == (1, 1):
            x = x[:, :, :: self.stride[0], :: self.stride[1]]
            return (self.weight.flatten(1)[:, None] @ x.flatten(2)).reshape(len(x), *x.shape[2:])
        batch = (1, x.shape[0] * x.shape[1], *x.shape[2:])  # a group for each image
        top = F.conv2d(
            x.reshape(batch), self.weight, None, self.stride, 0, self.dilation, len(self.weight)
        )
        return top[0]

    def rows(self, chosen: Sequence[int]) -> Head:
        return replace(
            self,
            weight=self.weight[chosen],
            bias=_some(self.bias, chosen),
            group=self.group[chosen],
        )


def _some(values: Tensor | None, chosen: Sequence[int]) -> Tensor | None:
    return None if values is None else values[chosen]
