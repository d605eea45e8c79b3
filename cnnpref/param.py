"""What is optimised and how an image is made of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cnnpref.errors import UserError
from cnnpref.nets.net import Net


class Draws(Protocol):
    """A source of random numbers: a NumPy RandomState, or the module `numpy.random` itself."""

    def randint(self, low: int, high: int, size: Any) -> npt.NDArray[np.int64]:
        """Integers in low .. high - 1."""


class Pixels:
    """The image itself, in the net's input space: variables (B, 3, H, W).

    Raises:
        UserError: the net does not take images of 3 channels.
    """

    def __init__(self, net: Net) -> None:
        if len(net.input_shape) != 3 or net.input_shape[0] != 3:
            raise UserError(
                f"the net {net.name!r} takes {list(net.input_shape)}, not an image [3, H, W]"
            )
        self.net = net

    def noise(self, draws: Draws) -> npt.NDArray[np.int64]:
        """Uniform integers 0..255, (H, W, 3)."""
        _, height, width = self.net.input_shape
        return draws.randint(0, 256, (height, width, 3))

    def start(self, images: Sequence[npt.ArrayLike]) -> Tensor:
        """Variables (B, 3, H, W) from RGB images (H, W, 3), 0..255, or single colours (3,).

        Raises:
            UserError: an image has another size than the net's input.
        """
        _, height, width = self.net.input_shape
        try:
            full = [np.broadcast_to(np.asarray(i, np.float32), (height, width, 3)) for i in images]
        except ValueError:
            raise UserError(
                f"the initial image must have shape ({height}, {width}, 3), got "
                f"{', '.join(sorted({str(np.shape(i)) for i in images}))}"
            ) from None
        return torch.from_numpy(self.net.space.encode(np.stack(full))).to(self.net.device)

    def image(self, variables: Tensor) -> Tensor:
        """The net's input (B, 3, H, W) from the variables; differentiable."""
        return variables

    def picture(self, variables: Tensor) -> npt.NDArray[np.float32]:
        """RGB pictures (B, H, W, 3), 0..255, not clipped."""
        return self.net.space.decode(variables.detach().cpu().numpy())
