"""The contract that every network fulfils, whatever it was made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cnnpref.errors import UserError, suggest
from cnnpref.geometry import Box, Mask, bounding_box, map_size, unit_position
from cnnpref.image import InputSpace

Shape = tuple[int, ...]


class Net(ABC):
    """A network in phase test, differentiable with respect to its images.

    Attributes:
        name: what it calls itself.
        layers: ordered {layer: shape without the batch}, in execution order: each layer's own
            output, before any in-place layer that follows it.
        blobs: ordered {blob: shape without the batch}, as they are after a full pass.
        input_shape: (3, H, W) of the image, without the batch; (n,) or (C, H, W) for a generator.
        space: how RGB pictures are encoded for the net.
        device: where it computes.
    """

    name: str
    layers: Mapping[str, Shape]
    blobs: Mapping[str, Shape]
    input_shape: Shape
    space: InputSpace
    device: torch.device

    @abstractmethod
    def activations(self, images: Tensor, layer: str) -> Tensor:
        """What `layer` gives for `images` (N, 3, H, W) of the net's input space: (N, *shape).

        Differentiable with respect to the images; nothing after the layer is computed.

        Raises:
            UserError: the layer is unknown; names the nearest.
        """

    @abstractmethod
    def forward(self, inputs: Mapping[str, Tensor], blobs: Sequence[str]) -> dict[str, Tensor]:
        """The wanted blobs, as they are after a full pass, from any blobs that are given.

        What depends on the given blobs alone needs no other input.

        Raises:
            UserError: a name is not in `blobs`; an input that is needed is not given.
        """

    @abstractmethod
    def support(self, layer: str, mask: Mask) -> Mask:
        """The pixels of the image (H, W) that reach the masked positions of a layer's map."""

    @abstractmethod
    def parameters(self) -> Iterator[Tensor]:
        """All weights; they need no gradient unless told so."""

    def layer_shape(self, layer: str) -> Shape:
        """The shape of a layer, without the batch.

        Raises:
            UserError: the layer is unknown; names the nearest.
        """
        if layer not in self.layers:
            raise UserError(
                f"unknown layer {layer!r}{suggest(layer, self.layers)}; "
                f"the net {self.name!r} has: {', '.join(self.layers)}"
            )
        return self.layers[layer]

    def check_blobs(self, names: Iterable[str]) -> None:
        """Let only names in `blobs` pass.

        Raises:
            UserError: a name is not among them; names the nearest.
        """
        for name in names:
            if name not in self.blobs:
                raise UserError(
                    f"unknown blob of {self.name!r}: {name!r}{suggest(name, self.blobs)}; "
                    f"there are: {', '.join(self.blobs)}"
                )

    def receptive_field(
        self, layer: str, where: str | Sequence[int] | npt.NDArray[np.bool_] = "center"
    ) -> Box:
        """The smallest box of pixels that can change a unit: (top, left, bottom, right), half open.

        The channels of a position count together: where branches are concatenated along the
        channels, the widest of them.

        Args:
            layer: a name in `layers`.
            where: "center" or (y, x) of a map, or a mask of the layer's shape, non-zero at the
                targets. Without meaning for a layer that has no map.
        """
        return bounding_box(self.support(layer, _targets(self.layer_shape(layer), where)))


def _targets(shape: Shape, where: str | Sequence[int] | npt.NDArray[np.bool_]) -> Mask:
    """The positions of a layer's map that hold targets."""
    given = np.asarray(where)
    if given.shape == shape and given.shape != (2,):
        return (given != 0).reshape(-1, *map_size(shape)).any(0)
    allowed = f"give 'center', (y, x) or a mask of shape {shape}"
    if given.shape not in ((), (2,)):
        raise UserError(f"no position or mask of the layer has shape {given.shape}; {allowed}")
    if len(shape) != 3:
        return np.ones((1, 1), bool)
    try:
        y, x = unit_position(shape, where if isinstance(where, str) else list(where))
    except ValueError as error:
        raise UserError(f"{error}; {allowed}") from None
    mask = np.zeros(map_size(shape), bool)
    mask[y, x] = True
    return mask
