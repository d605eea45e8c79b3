"""Units of a layer as a function of the part of the image that they see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from cnnpref.geometry import Box, Shape, box_of, full_box
from cnnpref.nets.caffe.execution import Execution, local_patch
from cnnpref.nets.caffe.graph import Graph
from cnnpref.nets.caffe.layers.base import Patch
from cnnpref.nets.caffe.layers.head import Head
from cnnpref.nets.caffe.node import Node

Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class CaffeReadout:
    """A readout that computes what reaches its units and no more: see `nets.net.Readout`.

    Attributes:
        box: the part of the image that the units see.
        execution: from the image to the layer, or where there is a head to the one before it.
        image: the image's value in the graph.
        index: of the units in what comes out, (B, K); (1, K): the same of any number of images.
        head: gives one channel for each image.
        edges: the padding before the head, as `F.pad` takes it.
    """

    box: Box
    execution: Execution
    image: int
    index: Tensor
    head: Head | None = None
    edges: tuple[int, ...] = ()

    @classmethod
    def of(
        cls, graph: Graph, image: int, value: int, index: Places, device: torch.device
    ) -> CaffeReadout:
        """The readout of the units `index` (B, K), flat in a value of the graph."""
        shape = graph.shapes[value][1:]
        channel = index // prod(shape[1:])
        box = _box_of(shape, index)
        node = next((node for node in graph.nodes if value in node.tops), None)
        patch = local_patch(node.layer, box) if node and box else None
        head = _head(node, channel, box, patch, device)
        if node and head:
            wanted: dict[int, Box | None] = {node.bottoms[0]: patch.needs[0] if patch else None}
        else:
            wanted = {value: box}
        execution = Execution(graph, wanted, [image], sum_parts=True)
        place = _place(shape, index, channel if head is None else None, box)
        seen = execution.boxes.get(image) or full_box(graph.shapes[image])
        rows, columns = patch.edges[0] if patch and head else ((0, 0), (0, 0))
        there = torch.from_numpy(place).to(device)
        return cls(seen, execution, image, there, head, (*columns, *rows))

    def __call__(self, images: Tensor) -> Tensor:
        (value,) = self.execution.wanted
        x = self.execution({self.image: images})[value]
        if self.head:
            x = self.head(F.pad(x, self.edges) if any(self.edges) else x)
        return x.reshape(len(x), -1).gather(1, self.index.expand(len(x), -1))

    def rows(self, chosen: Sequence[int]) -> CaffeReadout:
        chosen = list(chosen)
        head = self.head.rows(chosen) if self.head else None
        return replace(self, index=self.index[chosen], head=head)


def _head(
    node: Node | None,
    channel: Places,
    box: Box | None,
    patch: Patch | None,
    device: torch.device,
) -> Head | None:
    """None where an image has units in several channels, or the layer no way to do it."""
    if node is None or len(node.bottoms) > 1 or len(node.tops) > 1 or (box and not patch):
        return None
    single = bool((channel == channel[:, :1]).all())
    return node.layer.head(torch.from_numpy(channel[:, 0]).to(device)) if single else None


def _box_of(shape: Shape, index: Places) -> Box | None:
    """Around the positions of the units in a map; None without a map."""
    if len(shape) != 3:
        return None
    row, column = _position(shape, index)
    return box_of(*((int(axis.min()), int(axis.max()) + 1) for axis in (row, column)))


def _position(shape: Shape, index: Places) -> tuple[Places, Places]:
    """Rows and columns of units in a map (C, H, W)."""
    place = index % (shape[1] * shape[2])
    return place // shape[2], place % shape[2]


def _place(shape: Shape, index: Places, channel: Places | None, box: Box | None) -> Places:
    """Flat indices in a part of the map, of all channels or of one alone."""
    if len(shape) != 3:
        return index if channel is not None else index % prod(shape[1:])
    top, left, bottom, right = box or full_box(shape)
    row, column = _position(shape, index)
    inside = (row - top) * (right - left) + column - left
    return inside if channel is None else channel * (bottom - top) * (right - left) + inside
