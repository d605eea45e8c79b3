"""Readouts of units that see a part of the image: the module runs on that part alone.

A module's code is its own, so it is run as it is, on a smaller image. At the edges of that image
its layers pad with zeros where the whole one has pixels; but what they spoil lies outside of what
the units see. For the layers' windows to fall on the same pixels the part starts at a multiple of
their strides. Whether that is all there is to a module shows when it is tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from cnnpref.errors import UserError
from cnnpref.geometry import Box, crop
from cnnpref.nets.net import FullReadout, Net
from cnnpref.nets.readout import Readout

_COARSER = (1, 2, 4, 8)  # layers before the units' one may have longer strides, see U-Net
_CLOSE = 1e-4  # of the largest value; kernels of PyTorch differ by 1e-6 for other sizes


@dataclass(frozen=True)
class CroppedReadout:
    """The readout of units of a map, from the part of the image that they see.

    Attributes:
        net: the network.
        layer: a name in its `layers`, of shape (C, H, W).
        box: the part of the image.
        edges: rows above, and columns left of it, that are there for the strides' sake alone.
        channel, row, column: of the units in the layer's map for that part, (B, K).
    """

    net: Net
    layer: str
    box: Box
    edges: tuple[int, int]
    channel: Tensor
    row: Tensor
    column: Tensor

    def __call__(self, images: Tensor) -> Tensor:
        values = self.map(images)
        return values[_rows_of(values), self.channel, self.row, self.column]

    def map(self, images: Tensor) -> Tensor:
        """The layer (N, C, h, w) for images of the box."""
        above, left = self.edges
        return self.net.activations(F.pad(images, (left, 0, above, 0)), self.layer)

    def rows(self, chosen: Sequence[int]) -> CroppedReadout:
        rows = list(chosen)
        units = {name: getattr(self, name)[rows] for name in ("channel", "row", "column")}
        return replace(self, **units)


def smallest_readout(net: Net, layer: str, index: npt.NDArray[np.int64]) -> Readout:
    """The units `index` (B, K), flat in the layer, from as small a part of the image as will do."""
    full, shape = FullReadout.of(net, layer, index), net.layer_shape(layer)
    units_first = layer in net.maps and net.maps[layer].axis == 0
    if len(shape) != 3 or len(net.input_shape) != 3 or not units_first:
        return full
    channel, row, column = np.unravel_index(index, shape)
    mask = np.zeros(shape, bool)
    mask[:, row, column] = True
    box = net.receptive_field(layer, mask)
    if not (box[0] < box[2] and box[1] < box[3]) or box == full.box:
        return full
    strides = [
        _stride(net, layer, (int(row.min()), int(column.min())), axis) if box[axis] else 1
        for axis in (0, 1)
    ]
    for coarser in _COARSER if min(strides) > 0 else ():
        edges = box[0] % (strides[0] * coarser), box[1] % (strides[1] * coarser)
        first = [(box[axis] - edges[axis]) // strides[axis] for axis in (0, 1)]
        places = channel, row - first[0], column - first[1]
        units = (torch.from_numpy(each).to(net.device) for each in places)
        found = CroppedReadout(net, layer, box, edges, *units)
        if _agrees(found, row, column, first):
            return found
    return full


def _stride(net: Net, layer: str, place: tuple[int, int], axis: int) -> int:
    """By how many pixels what is seen moves from a position to the next one; 0: not at all."""
    size = net.layer_shape(layer)[1 + axis]
    first = min(place[axis], size - 2)
    if first < 0:
        return 0
    places = [(at, place[1]) if axis == 0 else (place[0], at) for at in (first, first + 1)]
    start, following = (net.receptive_field(layer, each)[axis] for each in places)
    return max(0, following - start)


@torch.no_grad()
def _agrees(
    readout: CroppedReadout, row: np.ndarray, column: np.ndarray, first: Sequence[int]
) -> bool:
    """Whether all channels at the units' positions are what the whole image gives: of noise.

    Args:
        readout: of the units.
        row: of the units in the whole map.
        column: the same.
        first: row and column of the whole map at which the readout's part of it starts.
    """
    net = readout.net
    noise = np.random.RandomState(0).uniform(0, 255, (1, *net.input_shape[1:], 3))
    image = torch.from_numpy(net.space.encode(noise)).to(net.device)
    whole = net.activations(image, readout.layer)[0][:, row, column]
    try:
        part = readout.map(crop(image, readout.box))[0]
    except UserError:  # its code wants images of one size
        return False
    places = zip((row - first[0], column - first[1]), part.shape[1:], strict=True)
    if part.ndim != 3 or not all(at.min() >= 0 and at.max() < size for at, size in places):
        return False
    close = (part[:, readout.row, readout.column] - whole).abs().max() <= _CLOSE * whole.abs().max()
    return bool(close) and bool(whole.any())


def _rows_of(values: Tensor) -> Tensor:
    """(N, 1): which image each unit is of."""
    return torch.arange(len(values), device=values.device)[:, None]
