"""Parts of what a network computes, as functions: what maximisation asks for over and over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from torch import Tensor

from cnnpref.geometry import Box

Part = Callable[[Tensor], Tensor]
"""(N, C, h, w), a part of a blob's map, from another blob (N, ...); differentiable."""


class Readout(Protocol):
    """A function from images to some units of a layer, other ones for each image."""

    @property
    def box(self) -> Box:
        """The part of the image that it looks at, and is given."""

    def __call__(self, images: Tensor) -> Tensor:
        """The units' activations (B, K) from images (B, C, h, w) of the box; differentiable."""

    def rows(self, chosen: Sequence[int]) -> Readout:
        """The same for some of the images."""
