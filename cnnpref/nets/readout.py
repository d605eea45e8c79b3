"""Parts of what a network computes, as functions: what maximisation asks for over and over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from cnnpref.geometry import Box, crop

if TYPE_CHECKING:
    from cnnpref.nets.net import Net

Part = Callable[[Tensor], Tensor]
"""(N, C, h, w), a part of a blob's map, from another blob (N, ...); differentiable."""


class Readout(Protocol):
    """A function from images to some units of a layer, other ones for each image."""

    @property
    def box(self) -> Box:
        """The part of the image that it looks at, and is given."""

    def __call__(self, images: Tensor) -> Tensor:
        """The units' activations (B, K) from images (B, 3, h, w) of the box; differentiable."""

    def rows(self, chosen: Sequence[int]) -> Readout:
        """The same for some of the images."""


@dataclass(frozen=True)
class FullReadout:
    """The readout of any net: the layer is computed whole, from the whole image.

    Attributes:
        net: the network.
        layer: a name in its `layers`.
        index: flat indices of the units in the layer, (B, K).
    """

    net: Net
    layer: str
    index: Tensor

    @property
    def box(self) -> Box:
        _, height, width = self.net.input_shape
        return 0, 0, height, width

    def __call__(self, images: Tensor) -> Tensor:
        return self.net.activations(images, self.layer).flatten(1).gather(1, self.index)

    def rows(self, chosen: Sequence[int]) -> Readout:
        return FullReadout(self.net, self.layer, self.index[list(chosen)])


def full_part(net: Net, source: str, blob: str, box: Box) -> Part:
    """The part of any net's blob: the blob is computed whole and cut."""
    return lambda x: crop(net.forward({source: x}, [blob])[blob], box)
