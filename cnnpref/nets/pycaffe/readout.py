"""Readouts of live units that see a part of the image: the rest of it is left blank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cnnpref.geometry import Box, crop, full_box
from cnnpref.nets.net import FullReadout, Net

_TRIED = 2  # images of noise on which a field is tried
_CLOSE = 1e-5  # of the largest value; Caffe's kernels differ by less where they differ at all


@dataclass(frozen=True)
class FieldReadout:
    """The readout of units of a map, from the part of the image that they see.

    Attributes:
        full: from the whole image.
        box: the part.
    """

    full: FullReadout
    box: Box

    def __call__(self, images: Tensor) -> Tensor:
        return self.full(on_blank(images, self.box, self.full.net.image_size))

    def rows(self, chosen: Sequence[int]) -> FieldReadout:
        return replace(self, full=self.full.rows(chosen))


def on_blank(images: Tensor, box: Box, size: tuple[int, int]) -> Tensor:
    """Images (N, C, h, w) of a box in images of a size, which are 0 around it."""
    top, left, bottom, right = box
    return F.pad(images, (left, size[1] - right, top, size[0] - bottom))


@torch.no_grad()
def field_of(net: Net, layer: str, index: Tensor) -> Box | None:
    """The part of the image that units see; None if it is all of it, or cannot be told.

    What gradients show is a lower estimate: it counts if all channels at the units' positions are
    what they are of the whole image.

    Args:
        net: the live net.
        layer: a name in its `layers`.
        index: of the units, flat in the layer.
    """
    shape, full = net.layer_shape(layer), full_box(net.input_shape)
    if len(shape) != 3:
        return None
    _, row, column = np.unravel_index(index.unique().numpy(), shape)
    mask = np.zeros(shape, bool)
    mask[:, row, column] = True
    with torch.enable_grad():
        box = net.receptive_field(layer, mask)
    if box == full or not (box[0] < box[2] and box[1] < box[3]):
        return None
    for seed in range(_TRIED):
        image = net.noise(1, seed)
        part = on_blank(crop(image, box), box, net.image_size)
        whole, found = (net.activations(x, layer)[0][:, row, column] for x in (image, part))
        if not (whole - found).abs().max() <= _CLOSE * whole.abs().max():
            return None
    return box
