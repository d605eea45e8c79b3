"""Points within bounds that are the same for every row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Point(NamedTuple):
    """Points of B rows and what is known there, (B, N) each.

    Attributes:
        x: the variables.
        descent: the negative gradient.
        below: the lower bound as seen from x; not positive.
        above: the upper bound; not negative.
    """

    x: Tensor
    descent: Tensor
    below: Tensor
    above: Tensor

    def steepness(self) -> Tensor:
        """The largest entry of the projected gradient, (B,): 0 at a minimum within the bounds."""
        return self.descent.clamp(self.below, self.above).abs_().amax(1)

    def times(self, way: Tensor) -> Tensor:
        """When each variable of x + t * way meets a bound, (B, N).

        inf: never; NaN: it is at a bound and does not move.
        """
        return torch.maximum(self.below / way, self.above / way)

    def longest(self, way: Tensor) -> Tensor:
        """The longest step along `way` that stays within the bounds, (B,)."""
        return self.times(way).nan_to_num(nan=torch.inf, posinf=torch.inf).amin(1)


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

    def point(self, x: Tensor, descent: Tensor) -> Point:
        """A point inside, with its surroundings."""
        return Point(x, descent, self.lower - x, self.upper - x)
