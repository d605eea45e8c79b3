"""Which units of a layer are like another one."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from cnnpref.show.site.material import Material

MOST = 8
LEAST = 0.2  # correlation of pictures that are called similar
_ROWS = 512  # of the matrix of correlations that are in memory at once


class Alike:
    """The units most like each, by what natural images do to them, or else by their pictures.

    Args:
        material: of the layer.
        prints: of the pictures by its first method, of mean 0 and norm 1, by unit.

    Attributes:
        title: of the section.
        about: how likeness was measured.
    """

    def __init__(self, material: Material, prints: Mapping[int, npt.NDArray[np.float32]]) -> None:
        self._references = material.references
        self._known = set(material.units)
        if self._references:
            self.title = "Units that answer alike"
            self.about = "Correlation r of their highest activations over the reference images."
            self._near: Mapping[int, list[tuple[int, float]]] = {}
        else:
            self.title = "Units with similar pictures"
            method = next(iter(material.methods))
            self.about = (
                f"Correlation r of the pictures by {method}, reduced to 12 × 12 pixels: what units"
                " answer to in natural images is known only with references."
            )
            self._near = _by_pictures(prints)

    def to(self, unit: int) -> list[tuple[int, float]]:
        """Units of the run and r, the most alike first."""
        if self._references:
            near = self._references.nearest(unit) if unit in self._references else []
        else:
            near = self._near.get(unit, [])
        return [(other, r) for other, r in near if other in self._known and other != unit][:MOST]


def _by_pictures(
    prints: Mapping[int, npt.NDArray[np.float32]],
) -> dict[int, list[tuple[int, float]]]:
    if len(prints) < 2:
        return {}
    units = np.array(list(prints))
    matrix = np.stack(list(prints.values()))
    most = min(MOST + 1, len(units))  # the unit itself is one of them
    near = {}
    for start in range(0, len(units), _ROWS):
        block = matrix[start : start + _ROWS] @ matrix.T
        chosen = np.argpartition(-block, most - 1, axis=1)[:, :most]
        for unit, row, places in zip(units[start:].tolist(), block, chosen, strict=False):
            ordered = places[np.lexsort((places, -row[places]))]
            found = [(int(units[p]), float(row[p])) for p in ordered]
            near[unit] = [(other, r) for other, r in found if r >= LEAST]
    return near
