"""What natural images do to the units of a layer, as scores compare with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cnnpref.statistics.exact import Doubles
from cnnpref.statistics.layer import LayerReferences
from cnnpref.unit_map import Position

Units = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Natural:
    """Activations of the C units of a layer over references, (C,) each.

    Attributes:
        sign: 1; or -1: the images that units like least are looked for, and all four are of the
            activations with their sign changed.
    """

    median: Doubles
    max: Doubles
    mean: Doubles
    sd: Doubles
    sign: int = 1

    @classmethod
    def of(
        cls, references: LayerReferences, position: Position = "center", sign: int = 1
    ) -> Natural:
        """Over all positions of all images; over images' sums where a target is the whole map."""
        of_map = position == "all" and len(references.shape) > 1
        found = references.sums if of_map else references.values
        if sign > 0:
            return cls(found.median, found.max, found.mean, found.sd)
        lowest = references.bottom.activation[:, 0].astype(np.float64)
        highest = np.full_like(lowest, np.nan) if of_map else -lowest  # sums' lowest is not known
        return cls(-found.median, highest, -found.mean, found.sd, sign)

    def rise(self, values: Doubles, units: Units) -> Doubles:
        """By how much activations (N,) of units exceed the median of the references."""
        return self.sign * values - self.median[units]

    def gain(self, values: Doubles, units: Units) -> Doubles:
        """Activations of units (N,): 0 at the median of the references, 1 at their best.

        NaN where all references are alike.
        """
        return ratio(self.rise(values, units), self.max[units] - self.median[units])

    def standardised(self, values: Doubles) -> Doubles:
        """Activations of all units (N, C), in standard deviations from the mean."""
        return ratio(self.sign * values - self.mean, np.broadcast_to(self.sd, values.shape))


def ratio(value: Doubles, unit: Doubles) -> Doubles:
    """A quotient; NaN where the divisor is not above 0."""
    return np.divide(value, unit, out=np.full_like(value, np.nan), where=unit > 0)
