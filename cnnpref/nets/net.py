"""The contract that every network fulfils, whatever it was made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cnnpref.errors import UserError, suggest
from cnnpref.geometry import Box, Mask, Shape, bounding_box, crop, full_box
from cnnpref.input_space import InputSpace
from cnnpref.nets.readout import Part, Readout
from cnnpref.unit_map import UnitMap, channel_maps, no_layer

Visit = Callable[[str, Tensor], None]
"""Is told a layer's name and output."""

Resize = int | tuple[int, int] | None
"""Pixels of a photograph's shorter side, or its (height, width), before the middle is taken."""


class Net(ABC):
    """A network in phase test, differentiable with respect to its images.

    Attributes:
        name: what it calls itself.
        layers: ordered {layer: shape without the batch}, in execution order: each layer's own
            output, before any in-place layer that follows it.
        refused: {layer: why its units cannot be had}, of layers that the net's definition has and
            `layers` has not.
        random: layers whose values random numbers may change, in execution order.
        unlisted: {name: why it is no layer}, of further names that one may take for layers.
        blobs: ordered {blob: shape without the batch}, as they are after a full pass.
        input_shape: (C, H, W) of the image, without the batch; also (n,) for a generator.
        space: how images are encoded for the net.
        makes: of a generator, the space of its images, if it was said; None: that of the net that
            looks at them.
        resize: how photographs became its images, if it is known; None: say, just so that they
            cover them.
        device: where it computes.
    """

    name: str
    layers: Mapping[str, Shape]
    refused: Mapping[str, str] = MappingProxyType({})
    unlisted: Mapping[str, str] = MappingProxyType({})
    random: Sequence[str] = ()
    blobs: Mapping[str, Shape]
    input_shape: Shape
    space: InputSpace
    makes: InputSpace | None = None
    resize: Resize = None
    device: torch.device

    @abstractmethod
    def activations(self, images: Tensor, layer: str) -> Tensor:
        """What `layer` gives for `images` (N, C, H, W) of the net's input space: (N, *shape).

        Differentiable with respect to the images; nothing after the layer is computed.

        Raises:
            UserError: the layer is unknown; names the nearest.
        """

    @abstractmethod
    def forward(self, inputs: Mapping[str, Tensor], blobs: Sequence[str]) -> dict[str, Tensor]:
        """The wanted blobs, as they are after a full pass, from any blobs that are given.

        What depends on the given blobs alone needs no other input.

        Raises:
            UserError: a name is not in `blobs`; the image is needed and not given.
        """

    def visit(self, images: Tensor, layers: Sequence[str], visit: Visit) -> None:
        """Tell what some layers give for images (N, C, H, W), as `activations` does.

        A net that can, computes all of them in one pass, and keeps none of them longer than it
        takes to visit it.

        Args:
            images: of the net's input space.
            layers: names in `layers`.
            visit: is given each layer's name and output, (N, *shape), which it must not change.

        Raises:
            UserError: a layer is unknown; names the nearest.
        """
        for layer in layers:
            visit(layer, self.activations(images, layer))

    def readout(self, layer: str, index: npt.ArrayLike) -> Readout:
        """The units `index` (B, K), flat in the layer, as a function of the images that they see.

        The index is on the host, where the readout is planned. One row (1, K) stands for the same
        units of any number of images.

        A net that can, computes no more than what reaches these units.
        """
        self.layer_shape(layer)
        return FullReadout.of(self, layer, index)

    def part(self, source: str, blob: str, box: Box) -> Part:
        """A part of the map of a blob, as a function of another blob.

        A net that can, computes no more than what reaches that part.
        """
        return full_part(self, source, blob, box)

    @abstractmethod
    def support(self, layer: str, mask: Mask) -> Mask:
        """The pixels of the image (H, W) that can change the masked units of a layer.

        Args:
            layer: a name in `layers`.
            mask: of the layer's shape.
        """

    @abstractmethod
    def parameters(self) -> Iterator[Tensor]:
        """All weights; they need no gradient unless told so."""

    @cached_property
    def maps(self) -> Mapping[str, UnitMap]:
        """Where the units are, of the layers that have any."""
        return channel_maps(self.layers)

    def unit_map(self, layer: str) -> UnitMap:
        """Where the units of a layer are among its values.

        Raises:
            UserError: the layer cannot be computed, is unknown, or has no units.
        """
        shape = self.layer_shape(layer)
        if layer not in self.maps:
            what = f"the shape {shape}" if shape else "a single value"
            raise UserError(f"layer {layer!r} has {what} and no units: give it as a mask")
        return self.maps[layer]

    def layer_weights(self, layer: str) -> list[Tensor]:
        """The weights of a layer; none where the net does not know what belongs to which layer."""
        return []

    def unit_weights(self, layer: str) -> list[Tensor]:
        """What the units of a layer multiply their inputs with, in the order of the units.

        For each group of units with the same inputs (units, inputs); none where a layer is no
        convolution, no linear layer, or the net does not know what belongs to which layer.
        """
        return []

    def weight_counts(self) -> Mapping[str, int]:
        """The number of weights of each layer that has any; shared ones count where they are first.

        A net that does not know what belongs to which layer gives none.
        """
        return {}

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W) of the images that it takes.

        Raises:
            UserError: it takes something else than images.
        """
        if len(self.input_shape) != 3:
            raise UserError(
                f"the net {self.name!r} takes {list(self.input_shape)}, not images [C, H, W]; "
                "give the net that looks at images, not a generator"
            )
        return self.input_shape[1], self.input_shape[2]

    @property
    def needs_company(self) -> bool:
        """Whether an image alone is computed in another order than among others.

        So are PyTorch's on a CPU: an image that is given with a copy of itself has the values, to
        the bit, that it has in any batch of several.
        """
        return self.device.type == "cpu"

    @property
    def input_blob(self) -> str:
        """The name of the input that takes the images: the first blob."""
        return next(iter(self.blobs))

    def noise(self, rows: int, seed: int = 0) -> Tensor:
        """Random inputs (rows, *input_shape): images of the whole range, or features in 0..1."""
        random = torch.Generator().manual_seed(seed)
        x = torch.rand(rows, *self.input_shape, generator=random)
        if len(self.input_shape) == 3 and len(self.space.order) == self.input_shape[0]:
            low, high = (torch.from_numpy(bound)[:, None, None] for bound in self.space.bounds())
            x = low + (high - low) * x
        return x.to(self.device)

    def layer_shape(self, layer: str) -> Shape:
        """The shape of a layer, without the batch.

        Raises:
            UserError: the layer cannot be computed; or it is unknown: names the nearest.
        """
        self._check_computable(layer)
        if layer not in self.layers:
            raise UserError(
                f"unknown layer {layer!r}{no_layer(layer, self.layers, self.unlisted)}; "
                f"the net {self.name!r} has: {', '.join(self.layers)}"
            )
        return self.layers[layer]

    def _check_computable(self, layer: str) -> None:
        if layer in self.refused:
            raise UserError(
                f"layer {layer!r} of the net {self.name!r} cannot be computed: "
                f"{self.refused[layer]}"
            )

    def check_blobs(self, names: Iterable[str]) -> None:
        """Let only names in `blobs` pass.

        Raises:
            UserError: a name is not among them; names the nearest.
        """
        for name in names:
            if name not in self.blobs:
                self._check_computable(name)
                raise UserError(
                    f"unknown blob of {self.name!r}: {name!r}{suggest(name, self.blobs)}; "
                    f"there are: {', '.join(self.blobs)}"
                )

    def receptive_field(
        self, layer: str, where: str | int | Sequence[int] | npt.NDArray[np.bool_] = "center"
    ) -> Box:
        """The smallest box of pixels that can change a unit: (top, left, bottom, right), half open.

        Args:
            layer: a name in `layers`.
            where: "center", (y, x), a token ...: all channels at that position of a map, together,
                see `UnitMap`; or a mask of the layer's shape, non-zero at the units. A layer
                without a map has no positions: whatever is given, all its units are meant.

        Raises:
            UserError: the net does not take images; the layer or the position does not exist.
        """
        if len(self.input_shape) != 3:
            raise UserError(
                f"the net {self.name!r} takes {list(self.input_shape)}, not images [C, H, W]: "
                "its units have no receptive fields"
            )
        return bounding_box(self.support(layer, self._targets(layer, where)))

    def _targets(
        self, layer: str, where: str | int | Sequence[int] | npt.NDArray[np.bool_]
    ) -> Mask:
        """The units of a layer that are meant, of its shape."""
        shape, given = self.layer_shape(layer), np.asarray(where)
        if given.shape == shape and shape and not isinstance(where, tuple | list):
            return given != 0
        allowed = f"give 'center', (y, x) or a mask of shape {shape}"
        if given.shape not in ((), (2,), (len(shape) - 1,)):
            raise UserError(f"no position or mask of the layer has shape {given.shape}; {allowed}")
        units = self.maps.get(layer)
        if units is None or not units.sizes:
            return np.ones(shape, bool)
        try:
            return units.mask(where if isinstance(where, str | int) else given.tolist())
        except ValueError as error:
            raise UserError(f"{error}; {allowed}") from None


@dataclass(frozen=True)
class FullReadout:
    """The readout of any net: the layer is computed whole, from the whole image.

    Attributes:
        net: the network.
        layer: a name in its `layers`.
        index: flat indices of the units in the layer, (B, K); (1, K): the same of any number of
            images.
    """

    net: Net
    layer: str
    index: Tensor

    @classmethod
    def of(cls, net: Net, layer: str, index: npt.ArrayLike) -> FullReadout:
        """The readout of some units, flat in the layer, (B, K)."""
        return cls(net, layer, torch.tensor(np.asarray(index), device=net.device))

    @property
    def box(self) -> Box:
        return full_box(self.net.input_shape)

    def __call__(self, images: Tensor) -> Tensor:
        values = self.net.activations(images, self.layer).reshape(len(images), -1)
        return values.gather(1, self.index.expand(len(values), -1))

    def rows(self, chosen: Sequence[int]) -> FullReadout:
        return FullReadout(self.net, self.layer, self.index[list(chosen)])


def full_part(net: Net, source: str, blob: str, box: Box) -> Part:
    """The part of any net's blob: the blob is computed whole and cut."""
    return lambda x: crop(net.forward({source: x}, [blob])[blob], box)
