"""What a config says of reference images: which, in which shards, and what is asked of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from itertools import groupby
from typing import TYPE_CHECKING, Any

from cnnpref.errors import UserError
from cnnpref.geometry import Shape
from cnnpref.images.index import Image, Index, find_images
from cnnpref.images.pictures import Frame
from cnnpref.planning.config import Config

if TYPE_CHECKING:  # a plan is made without PyTorch
    from cnnpref.nets import NetDescription

# Part of every key. Raise it when the same images give other numbers or other files.
REFERENCES_VERSION = 1


@dataclass(frozen=True)
class Shard:
    """Some of the images: what one job shows to the net.

    Attributes:
        number: its place among all.
        images: ordered by their digests, which all lie in its range of digests.
        digest: hexadecimal sha256 over all that determines its file.
    """

    number: int
    images: tuple[Image, ...]
    digest: str

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.number}-{self.digest[:8]}"


@dataclass(frozen=True)
class References:
    """The reference images of a run, and what is asked of them.

    Attributes:
        index: the images.
        frame: how they become the net's.
        layers: {name: shape, units first} of those whose units are asked.
        top: how many of the best images are named.
        stores_crops: whether what units saw is copied.
        size: how many images a shard has, about.
        origin: the net, as a series has it.
    """

    index: Index
    frame: Frame
    layers: Mapping[str, Shape]
    top: int
    stores_crops: bool
    size: int
    origin: Mapping[str, Any]

    @cached_property
    def digest(self) -> str:
        """Hexadecimal sha256 over the pixels that the net is shown, whatever the net computes."""
        return _digest(self._shown, [image.sha256 for image in self.index.images])

    @cached_property
    def key(self) -> str:
        """Hexadecimal sha256 over all that determines the files about layers."""
        return _digest(self.stores_crops, [shard.digest for shard in self.shards])

    @cached_property
    def images_key(self) -> str:
        """Hexadecimal sha256 over what determines the file about pixels, and the images' names.

        Layers count: it has the spectra of what their units see.
        """
        return _digest(self._shown, [*self.layers.items()], self.origin, _told(self.index.images))

    @cached_property
    def shards(self) -> tuple[Shard, ...]:
        """All images; a new one changes the shard that its digest falls into, and no other."""
        images = self.index.images
        count = max(1, round(len(images) / self.size))
        groups = groupby(images, lambda image: int(image.sha256[:8], 16) * count >> 32)
        return tuple(self._shard(number, tuple(some)) for number, some in groups)

    def _shard(self, number: int, images: tuple[Image, ...]) -> Shard:
        asked = [*self.layers.items()], self.top, self.origin
        return Shard(number, images, _digest(self._shown, asked, _told(images)))

    @property
    def _shown(self) -> tuple[object, ...]:
        return self.frame.size, self.frame.channels, self.frame.resize


def plan_references(
    config: Config, net: NetDescription, origin: Mapping[str, Any], layers: Mapping[str, Shape]
) -> References | None:
    """What a resolved config asks of reference images, if it has any.

    Args:
        config: from `resolve_config`.
        net: whose units are asked.
        origin: the net's section, with digests for files.
        layers: {name: shape, units first} of the layers of the config.

    Raises:
        UserError: there are no images, or they cannot be made the net's.
    """
    if "references" not in config:
        return None
    if len(net.input_shape) != 3:
        raise UserError("config: references: the net takes no images; leave the key out")
    if "nature" in layers:
        raise UserError(
            "config: references: no file of a layer can be named 'nature'; leave it out"
        )
    given = config["references"]
    resize = given["resize"] or net.resize
    frame = Frame(
        (net.input_shape[1], net.input_shape[2]),
        net.input_shape[0],
        tuple(resize) if isinstance(resize, list) else resize,
    )
    index = find_images(given["images"])
    stores = given["store"] == "crops"
    return References(index, frame, layers, given["top"], stores, given["shard"], origin)


def _told(images: tuple[Image, ...]) -> list[tuple[str, str]]:
    return [(image.name, image.sha256) for image in images]


def _digest(*everything: object) -> str:
    text = json.dumps([REFERENCES_VERSION, *everything], sort_keys=True)
    return sha256(text.encode()).hexdigest()
