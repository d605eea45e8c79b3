"""Where in an image a unit's activation comes from: the size of its gradient, over all steps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cnnpref.ascent.pixel_ops import blur, percentile
from cnnpref.geometry import Box, crop, grown, relative

_SMOOTH = 2.5  # pixels
_MOST = 90  # per cent of the pixels matter less than what is shown as 1


class Sensitivity:
    """Mean size of the gradients at each pixel, summed over the steps, (B, h, w)."""

    def __init__(self) -> None:
        self._sum: Tensor | None = None

    def add(self, gradients: Tensor, rows: Sequence[int] | None = None) -> None:
        """The gradients (b, C, h, w) of a step, of some of the rows; at first of all of them."""
        size = gradients[:, 0].abs()  # channel by channel: much faster than over this axis
        for channel in range(1, gradients.shape[1]):
            size.add_(gradients[:, channel].abs())
        size.div_(gradients.shape[1])
        if self._sum is None:
            self._sum = size
        elif rows is None or len(rows) == len(self._sum):
            self._sum = self._sum + size
        else:
            self._sum.index_add_(0, torch.tensor(rows, device=size.device), size)

    def importance(self, canvas: Box, size: tuple[int, int]) -> Tensor:
        """A plane of the image for each row, (B, H, W) in 0..1.

        Args:
            canvas: where the pixels are in the image.
            size: (H, W) of the image.
        """
        assert self._sum is not None
        smooth = blur(self._sum[:, None], _SMOOTH)[:, 0]
        most = percentile(smooth.flatten(1), _MOST)[:, None, None].clamp(min=1e-30)
        return in_image((smooth / most).clamp(max=1), canvas, size)


def in_image(planes: Tensor, canvas: Box, size: tuple[int, int]) -> Tensor:
    """Planes (..., h, w) of a canvas in their place in the image, (..., H, W), with zeros around.

    Args:
        planes: what reaches beyond the image is left out.
        canvas: of the planes.
        size: (H, W) of the image.
    """
    whole = planes.new_zeros(*planes.shape[:-2], *size)
    inside = grown(canvas, 0, size)
    crop(whole, inside)[:] = crop(planes, relative(inside, canvas))
    return whole
