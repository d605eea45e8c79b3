"""What other networks think of pictures: a judge of classes, and nets held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cnnpref.images.pictures import Bytes
from cnnpref.nets.kernels import doubles, fast_kernels
from cnnpref.nets.net import Net
from cnnpref.scoring.scorer import Scores
from cnnpref.scoring.targets import Targets, full_batches, ranks, shown_to, units_first
from cnnpref.statistics.exact import Doubles

_TOP = 5
_SUM = 1e-3  # by which the sum of probabilities may miss 1


@dataclass(frozen=True)
class Judge:
    """A classifier that the pictures were not made for.

    Attributes:
        net: the network.
        layer: whose units are its classes: logits, or their probabilities; a map is averaged.
        classes: {unit: its class}.
    """

    net: Net
    layer: str
    classes: Mapping[int, int]

    def __call__(self, pictures: Bytes, units: Sequence[int]) -> Scores:
        """Probability and rank of their units' classes in pictures (N, H, W, C) of any size.

        NaN for units without a class, and for pictures that have a logit of NaN or infinity.
        """
        wanted = np.array([self.classes.get(unit, -1) for unit in units])
        logits = self._logits(pictures)
        logits[(wanted < 0) | ~(logits < np.inf).all(1)] = np.nan
        rows, own = np.arange(len(wanted)), wanted.clip(0)
        rank = ranks(logits, logits[rows, own])
        return {
            "judge_p": _probabilities(logits)[rows, own],
            "judge_rank": rank,
            "judge_top5": np.where(np.isnan(rank), np.nan, rank <= _TOP),
        }

    def _logits(self, pictures: Bytes) -> Doubles:
        """What the layer gives, (N, classes)."""
        found, where = [], self.net.unit_map(self.layer)
        for rows, batch in full_batches(pictures):
            with torch.no_grad(), fast_kernels():
                a: Tensor = self.net.activations(shown_to(self.net, batch), self.layer)
            a = units_first(doubles(a), where)
            a = a.flatten(2).mean(2) if where.sizes else a
            found.append(a.cpu().numpy()[: rows.stop - rows.start])
        return np.concatenate(found)


def _probabilities(values: Doubles) -> Doubles:
    """The softmax of each row, unless a row is one already: not negative, with the sum 1."""
    done = (values >= 0).all(1) & (np.abs(values.sum(1) - 1) < _SUM)
    powers = np.exp(values - values.max(1, keepdims=True))
    return np.where(done[:, None], values, powers / powers.sum(1, keepdims=True))


@dataclass(frozen=True)
class HeldOut:
    """The same units in another net, which the pictures were not made for.

    Attributes:
        name: of the score.
        targets: the units of the layer of that name.
    """

    name: str
    targets: Targets

    def __call__(self, pictures: Bytes, units: Sequence[int]) -> Scores:
        """Their activations in pictures (N, H, W, C) of any size, and ranks among the layer's."""
        every = self.targets.values(pictures)
        value = every[np.arange(len(every)), list(units)]
        sign = self.targets.sign
        return {self.name: value, f"{self.name}_rank": ranks(sign * every, sign * value)}
