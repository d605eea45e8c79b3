"""The scores of pictures of a layer's units by the net that they were made for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cnnpref.images.pictures import Bytes
from cnnpref.scoring.disturb import KINDS, REACH, disturbed
from cnnpref.scoring.likeness import colour, spectrum
from cnnpref.scoring.natural import Natural, Units, ratio
from cnnpref.scoring.targets import Targets, ranks
from cnnpref.statistics.exact import Doubles
from cnnpref.statistics.nature import Nature

_LEAST = 0.1  # gain of a picture of whose activation small changes can leave a share

Scores = dict[str, Doubles]
"""By name, (N,) each; NaN where a score cannot be computed."""


@dataclass(frozen=True)
class Scorer:
    """Scores pictures by what they do to their units; a picture's do not depend on the others.

    Attributes:
        targets: what the pictures are to excite.
        natural: what references do to the layer's units; None: unknown.
        nature: what the pixels of references are like; None: unknown.
    """

    targets: Targets
    natural: Natural | None = None
    nature: Nature | None = None

    def __call__(self, pictures: Bytes, units: Sequence[int]) -> Scores:
        """The scores of pictures (N, H, W, C) of these units, those that can be computed."""
        own = np.asarray(units, np.int64)
        every = self.targets.values(pictures)
        value = every[np.arange(len(own)), own]
        found = {"activation_8bit": value}
        if self.natural:
            found["gain"] = self.natural.gain(value, own)
            found |= self._kept(self.natural, pictures, own, value)
            found |= _selectivity(self.natural, every, own)
        if self.nature:
            found |= self._likeness(self.nature, pictures)
        return found

    def _kept(self, natural: Natural, pictures: Bytes, units: Units, value: Doubles) -> Scores:
        """What is left of the activation after small changes: by kind, and the mean over kinds."""
        whole = natural.rise(value, units)
        whole[natural.gain(value, units) < _LEAST] = 0  # a ratio to it would be anything
        reach = 0 if self.targets.is_sum else REACH
        kinds: dict[str, list[Doubles]] = {kind: [] for kind in KINDS}
        for kind, changed in disturbed(pictures):
            left = self.targets.values(changed, reach)[np.arange(len(units)), units]
            kinds[kind].append(ratio(natural.rise(left, units), whole))
        means = {f"keep_{kind}": np.mean(parts, axis=0) for kind, parts in kinds.items()}
        return {"keep": np.mean(list(means.values()), axis=0), **means}

    def _likeness(self, nature: Nature, pictures: Bytes) -> Scores:
        """How natural what the unit sees looks."""
        seen = self.targets.seen(pictures)
        if not seen.size:
            return {}
        found = {"colour": np.array([colour(picture, nature) for picture in seen])}
        if known := nature.spectra.get(seen.shape[1:3]):
            found["spectrum"] = np.array([spectrum(picture, *known) for picture in seen])
        return found


def _selectivity(natural: Natural, every: Doubles, units: Units) -> Scores:
    """Each unit's standardised activation, and its rank among its layer's."""
    z = natural.standardised(every)
    lead = z[np.arange(len(units)), units]
    return {"selectivity_rank": ranks(z, lead), "selectivity_z": lead}
