"""Bounds on the variables, the same for every row."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Box:
    """Lower and upper bounds, (N,) each; infinite ones are none."""

    lower: Tensor
    upper: Tensor

    @property
    def is_bounded(self) -> bool:
        """Whether some variable has a bound."""
        return bool((self.lower.isfinite() | self.upper.isfinite()).any())

    @property
    def is_closed(self) -> bool:
        """Whether every variable has two."""
        return bool((self.lower.isfinite() & self.upper.isfinite()).all())

    def clip(self, x: Tensor) -> Tensor:
        """The nearest point inside."""
        return x.clamp(self.lower, self.upper)

    def steepness(self, x: Tensor, gradient: Tensor) -> Tensor:
        """The largest entry of the projected gradient, (B,): 0 at a minimum within the bounds."""
        return gradient.clamp(x - self.upper, x - self.lower).abs().amax(1)

    def times(self, x: Tensor, direction: Tensor) -> Tensor:
        """When each variable of x + t * direction meets a bound, (B, N).

        inf: never; NaN: it is at a bound and does not move.
        """
        direction = direction + 0.0  # no negative zeros
        return torch.maximum((self.lower - x) / direction, (self.upper - x) / direction)

    def longest(self, x: Tensor, direction: Tensor) -> Tensor:
        """The longest step from x along a direction that stays inside, (B,)."""
        times = self.times(x, direction)
        return times.nan_to_num(nan=torch.inf, posinf=torch.inf).amin(1)
