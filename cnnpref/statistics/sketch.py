"""How often values lie where: counts in fine bins, which are the same for all units and images.

A bin holds the numbers of one sign, one exponent and the same first 6 bits of the fraction: it is
less than 1/64 as wide as its numbers are large. Numbers below 2^-32 count as 0, and all above 2^31
share the last bin.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from cnnpref.errors import UserError

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Counts = npt.NDArray[np.uint64]

BINS = 64  # of a histogram
ERROR = 1 / 64  # of a quantile, relative

_DAMAGED = "a shard is damaged: delete references/shards and run it again"
_SHIFT = 17  # bits of a float32 that are dropped
_CODES = 1 << (31 - _SHIFT)  # of sizes, with the remaining bits
_ZERO = (127 - 32) * 64 - 1  # the last code of a size that counts as 0
_SIZES = 64 * 64  # bins of sizes, from 0
PLACES = 2 * _SIZES - 1  # bins, by value; the middle one is that of 0


def _places() -> npt.NDArray[np.int64]:
    """The bin of each code, with the sign as its highest bit."""
    sizes = (np.arange(_CODES) - _ZERO).clip(0, _SIZES - 1)
    return np.concatenate([_SIZES - 1 + sizes, _SIZES - 1 - sizes])


def _lowest() -> Floats:
    """The lowest number of each bin."""
    codes = np.arange(_ZERO, _ZERO + _SIZES, dtype=np.uint32)
    sizes = (codes << np.uint32(_SHIFT)).view(np.float32)
    negative = np.nextafter(-sizes[:0:-1], np.float32(0))  # -x itself is in the bin before
    return np.concatenate([np.array([-np.inf], np.float32), negative, sizes[1:]])


_PLACE, _LOWEST = _places(), _lowest()


class Sketch:
    """Counts of the values of some units.

    Attributes:
        counts: (units, PLACES).
    """

    def __init__(self, units: int) -> None:
        self.counts = np.zeros((units, PLACES), np.uint32)
        self._first = np.arange(units, dtype=np.int64)[:, None] * PLACES
        self._flat = self.counts.reshape(-1)

    def add(self, first: int, values: Floats) -> None:
        """Count the values (N, R, n) of N images and of R units, from `first` on."""
        codes = (values.view(np.uint32) >> np.uint32(_SHIFT)).astype(np.int64)
        places = np.take(_PLACE, codes, mode="clip")  # within bounds: it saves the check
        places += self._first[first : first + values.shape[1]]
        np.add.at(self._flat, places.reshape(-1), np.uint32(1))

    def compact(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint32]]:
        """The bins that anything fell in, ascending, and the counts of these, (units, bins)."""
        used: npt.NDArray[np.bool_] = self.counts.max(axis=0) > 0
        places = np.flatnonzero(used).astype(np.int32)
        return places, self.counts[:, places]


class Distribution:
    """How the values of units are distributed: merged counts.

    Attributes:
        bins: places of the bins that anything fell in, ascending, (B,).
        counts: (U, B).
        low, high: exact extremes, (U,).

    Raises:
        UserError: there are no such bins; units have no values, or different numbers of them.
    """

    def __init__(
        self, bins: npt.NDArray[np.integer[Any]], counts: Counts, low: Floats, high: Floats
    ) -> None:
        if not bins.size or bins.min() < 0 or bins.max() >= PLACES:
            raise UserError(f"counts of reference images: they are of unknown bins; {_DAMAGED}")
        self.low, self.high, self._bins = low, high, bins
        self._starts = _LOWEST[bins]
        self._ends = np.append(_LOWEST, np.float32(np.inf))[bins + 1]
        self._below = np.cumsum(counts, axis=1, dtype=np.uint64)
        totals, falls = self._below[:, -1:], self._below[:, 1:] < self._below[:, :-1]  # overflow
        if falls.any() or not totals.all() or (totals != totals[0]).any():
            raise UserError(
                "counts of reference images: units have no values, or different numbers of them;"
                f" {_DAMAGED}"
            )

    def quantile(self, q: float) -> Doubles:
        """The number that a share q of the values lies below, (U,); within `ERROR` of it."""
        count = int(self._below[0, -1])
        rank = int(q * (count - 1))
        place = (self._below <= rank).sum(1)  # the bin of the value of that rank
        before = np.where(place > 0, self._below[np.arange(len(place)), place - 1], 0)
        inside = self._below[np.arange(len(place)), place] - before
        share = (rank - before.astype(np.float64) + 0.5) / inside
        start = np.maximum(self._starts[place], self.low).astype(np.float64)
        end = np.minimum(self._ends[place], self.high).astype(np.float64)
        return start + share * (end - start)

    def histogram(self) -> tuple[Counts, Floats]:
        """Counts (U, 64) and their edges (U, 65).

        The first and the last edge are the extremes; those between are even but for a shift, to the
        nearest end of a fine bin. Counts are exact for these edges, as `numpy.histogram` has them.
        """
        pairs = (self._histogram(unit) for unit in range(len(self.low)))
        counts, edges = zip(*pairs, strict=True)
        return np.stack(counts), np.stack(edges)

    def _histogram(self, unit: int) -> tuple[Counts, Floats]:
        low, high = self.low[unit], self.high[unit]
        first, last = np.searchsorted(_LOWEST, [low, high], "right")  # ends within the extremes
        edges, less = np.full(BINS + 1, low), np.zeros(BINS + 1, np.uint64)
        if last > first:
            even = np.linspace(float(low), float(high), BINS + 1)[1:-1]
            places = first + _nearest(_LOWEST[first:last].astype(np.float64), even)
            edges[1:-1] = _LOWEST[places]
            less[1:-1] = np.append(np.uint64(0), self._below[unit])[
                np.searchsorted(self._bins, places)
            ]
        edges[-1], less[-1] = high, self._below[unit, -1]
        return np.diff(less), edges


def _nearest(numbers: Doubles, wanted: Doubles) -> npt.NDArray[np.int64]:
    """For each wanted number the place of the nearest in ascending ones."""
    after = np.searchsorted(numbers, wanted).clip(0, len(numbers) - 1)
    before = (after - 1).clip(0)
    return np.where(wanted - numbers[before] <= numbers[after] - wanted, before, after)
