"""Activations of targets in pictures, in batches of one size, whatever the number of pictures."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from cnnpref.geometry import Box
from cnnpref.images.pictures import Bytes
from cnnpref.nets.kernels import doubles, fast_kernels
from cnnpref.nets.net import Net
from cnnpref.statistics.exact import Doubles
from cnnpref.unit_map import Position, UnitMap

# Pictures of a pass. Always so many, if need be with copies: kernels sum in an order that depends
# on their number, but not on a picture's place or company.
BATCH = 16
_LUMA = (0.299, 0.587, 0.114)


def full_batches(pictures: npt.NDArray[Any]) -> Iterator[tuple[slice, npt.NDArray[Any]]]:
    """Pictures 16 at a time, the last ones with copies: which, and 16 pictures."""
    for start in range(0, len(pictures), BATCH):
        some = pictures[start : start + BATCH]
        copies = [some[-1:]] * (BATCH - len(some))
        yield slice(start, start + len(some)), np.concatenate([some, *copies])


def shown_to(net: Net, pictures: npt.NDArray[Any]) -> Tensor:
    """Pictures (N, H, W, C) of any size as a net takes them: scaled, of its channels, encoded."""
    x = torch.from_numpy(np.ascontiguousarray(np.moveaxis(pictures, -1, 1))).float()
    if tuple(x.shape[2:]) != net.image_size:
        x = F.interpolate(x, net.image_size, mode="bilinear", antialias=True)
    channels = net.input_shape[0]
    if x.shape[1] == 3 and channels == 1:
        x = (x * torch.tensor(_LUMA)[:, None, None]).sum(1, keepdim=True)
    elif x.shape[1] == 1:
        x = x.expand(-1, channels, -1, -1)
    return torch.from_numpy(net.space.encode(x.movedim(1, -1).numpy())).to(net.device)


class Targets:
    """The units of a layer, at a position of its map or summed over it.

    Args:
        net: the network.
        layer: a name in its layers.
        position: "center", (y, x), "all" ..., see `UnitMap`.
        sign: 1; or -1: the lowest activations are wanted.
    """

    def __init__(self, net: Net, layer: str, position: Position = "center", sign: int = 1) -> None:
        self.net, self.layer, self.position, self.sign = net, layer, position, sign
        self.where = net.unit_map(layer)
        if position != "all":
            self.place = self.where.place(position) if self.where.sizes else ()

    @property
    def is_sum(self) -> bool:
        """Whether a target is the sum over a map."""
        return self.position == "all" and bool(self.where.sizes)

    @cached_property
    def box(self) -> Box:
        """What a target sees."""
        where = np.ones(self.where.shape, bool) if self.is_sum else self.position
        return self.net.receptive_field(self.layer, where)

    def seen(self, pictures: Bytes) -> Bytes:
        """The part of whole pictures (N, H, W, C) that a target sees."""
        top, left, bottom, right = self.box
        return pictures[:, top:bottom, left:right]

    def values(self, pictures: npt.NDArray[Any], reach: int = 0) -> Doubles:
        """Activations of all targets, (N, C).

        Args:
            pictures: (N, H, W, C).
            reach: the best activation within so many pixels of the position counts.
        """
        found = []
        for rows, batch in full_batches(pictures):
            with torch.no_grad(), fast_kernels():
                a = self.net.activations(shown_to(self.net, batch), self.layer)
            values = doubles(self._targets(units_first(a, self.where), reach)).cpu().numpy()
            found.append(values[: rows.stop - rows.start])
        return np.concatenate(found)

    def _targets(self, a: Tensor, reach: int) -> Tensor:
        """(N, C) from the layer's output (N, C, ...)."""
        if self.is_sum:
            return doubles(a).flatten(2).sum(2)
        if not self.where.sizes:
            return a
        near = a[(slice(None), slice(None), *self._near(reach))].flatten(2)
        return near.amax(2) if self.sign > 0 else near.amin(2)

    def _near(self, reach: int) -> list[slice]:
        """Of a map's rows and columns those within so many pixels; of times and tokens the one."""
        steps = [0] * len(self.place)
        if len(self.place) > 1:
            pairs = zip(self.net.image_size, self.where.sizes[-2:], strict=True)
            steps[-2:] = [reach // max(1, round(pixels / count)) for pixels, count in pairs]
        return [
            slice(max(0, at - step), at + step + 1)
            for at, step in zip(self.place, steps, strict=True)
        ]


def units_first(values: Tensor, where: UnitMap) -> Tensor:
    """A layer's output (N, *shape) as (N, C, ...)."""
    return values.movedim(1 + where.axis, 1)


def ranks(values: Doubles, own: Doubles) -> Doubles:
    """The rank of each row's own value (N,) among its values (N, C), 1 for the highest.

    NaN where the own value is none.
    """
    return np.where(np.isnan(own), np.nan, 1.0 + (values > own[:, None]).sum(1))
