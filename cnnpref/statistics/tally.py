"""What some images do to the units of a layer, as numbers that can be merged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnpref.geometry import Shape
from cnnpref.statistics.exact import LARGEST, Limbs, limbs, no_limbs
from cnnpref.statistics.sketch import Floats, Sketch

_CHUNK = 1 << 15  # values worked on at a time: they stay in a core's cache


@dataclass(frozen=True)
class Part:
    """What images, in their order, do to a layer's units: arrays, or data sets of a file.

    Attributes:
        maximum, maximum_at: of each image and unit, and its place in the flat map, (n, U).
        total: the sum over the map, (n, U).
        bottom, bottom_at, bottom_row: the lowest minima of each unit, ascending, with their places
            and images, (k, U); k is n where that is less.
        sums: exact ones of the activations and of their squares over all positions, (limbs, 2, U).
        bins, counts: how often which activations are, as `Distribution` has it.
    """

    maximum: Any
    maximum_at: Any
    total: Any
    bottom: Any
    bottom_at: Any
    bottom_row: Any
    sums: Any
    bins: Any
    counts: Any


class Tally:
    """Takes the activations of images, one after the other.

    Args:
        shape: of the layer, units first: (C,), (C, H, W) ...
        images: how many there will be, at most.
    """

    def __init__(self, shape: Shape, images: int) -> None:
        units, self._size = shape[0], int(np.prod(shape[1:], dtype=int))
        place = np.uint16 if self._size <= 1 << 16 else np.uint32
        self._maximum, self._minimum, self._total = (
            np.empty((images, units), np.float32) for _ in range(3)
        )
        self._maximum_at, self._minimum_at = (np.empty((images, units), place) for _ in range(2))
        self._sums, self._sketch, self._count = no_limbs(2, units), Sketch(units), 0

    def add(self, activations: Floats) -> bool:
        """Those of further images, (N, *shape); returns whether all of them are of a usual size."""
        values = activations.reshape(len(activations), -1, self._size)
        sums = np.empty((len(values), 2, values.shape[1]))
        for image, of_image in zip(values, sums, strict=True):
            self._add(image, of_image)
            self._count += 1
        images = min(len(values), max(1, _CHUNK // self._size))
        for part in self._chunks(images * self._size):  # a unit's bins stay in the cache, too
            for first in range(0, len(values), images):
                self._sketch.add(part.start, values[first : first + images, part])
        fits = bool((sums[:, 1] < LARGEST).all())  # NaN is not
        if fits:
            self._sums += limbs(sums)
        return fits

    def _add(self, image: Floats, sums: npt.NDArray[np.float64]) -> None:
        """The activations (U, n) of an image; the same operations whatever comes with it."""
        row = self._count
        for part in self._chunks(self._size):
            x = image[part]
            each = np.arange(len(x))
            self._maximum_at[row, part] = at = x.argmax(1)
            self._maximum[row, part] = x[each, at]
            self._minimum_at[row, part] = at = x.argmin(1)
            self._minimum[row, part] = x[each, at]
            doubles = x.astype(np.float64)
            sums[0, part] = doubles.sum(1)
            sums[1, part] = np.einsum("ij,ij->i", doubles, doubles)
        self._total[row] = sums[0]

    def _chunks(self, values: int) -> Iterator[slice]:
        """Units that are worked on at a time, with so many values each."""
        step = max(1, _CHUNK // values)
        units = self._total.shape[1]
        return (slice(first, min(first + step, units)) for first in range(0, units, step))

    def part(self, lowest: int, order: npt.NDArray[np.int64]) -> Part:
        """What was found.

        Args:
            lowest: how many of the lowest minima to keep.
            order: of the images, each by its place among those added.
        """
        bins, counts = self._sketch.compact()
        minimum, places = self._minimum[order], self._minimum_at[order]
        rows = first_rows(minimum, lowest)
        bottom, at = (np.take_along_axis(x, rows, 0) for x in (minimum, places))
        maxima = self._maximum[order], self._maximum_at[order], self._total[order]
        return Part(*maxima, bottom, at, rows, self._sums, bins, counts)


def first_rows(values: npt.NDArray[Any], count: int) -> npt.NDArray[np.int64]:
    """Of each column the rows of its lowest values, ascending, (count, U); the first of equals."""
    return np.argsort(values, axis=0, kind="stable")[:count]


def merged_sums(parts: list[Part]) -> Limbs:
    """Exact sums over all parts, (limbs, 2, U)."""
    return sum((np.asarray(part.sums) for part in parts[1:]), np.asarray(parts[0].sums))
