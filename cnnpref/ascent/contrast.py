"""Targets among the other channels of their layer: units that excel there."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from cnnpref.ascent.objective import Objective
from cnnpref.ascent.task import Task, passed
from cnnpref.nets.net import Net
from cnnpref.unit_map import UnitMap

_SHARPNESS = 0.5  # of the soft maximum, in standard deviations over the channels


class Channels:
    """All channels of a layer at the positions of one-channel targets: (B, C), their means.

    Args:
        net: the network.
        objective: each row is one channel, all at the same positions, see `Objective.units`.
        units: where those of its layer are.
    """

    @classmethod
    def of(cls, net: Net, objective: Objective) -> Channels | None:
        """None where a target is not one channel, or they are at different positions."""
        if not objective.shape:
            return None
        units = net.maps.get(objective.layer, UnitMap(objective.shape))
        channel, places = units.split(objective.index)
        alike = (channel == channel[:, :1]).all() and (places == places[:1]).all()
        even = (objective.weight == objective.weight[:, :1]).all() and (objective.member == 1).all()
        return cls(net, objective, units) if alike and even else None

    def __init__(self, net: Net, objective: Objective, units: UnitMap) -> None:
        channel = units.split(objective.index[:, 0])[0]
        self.channel = torch.from_numpy(channel).to(net.device)
        places = units.split(objective.index[0])[1]
        index = units.index(np.arange(units.count)[:, None], places)
        self._readout = net.readout(objective.layer, index.reshape(1, -1))
        self._count = len(places)

    def __call__(self, net_input: Tensor) -> Tensor:
        """From the net's input (B, C, h, w); differentiable."""
        return passed(self._readout, net_input).unflatten(1, (-1, self._count)).mean(2)

    def of_target(self, means: Tensor) -> Tensor:
        """The target's own, (B,)."""
        return means.gather(1, self.channel[:, None])[:, 0]

    def lead(self, means: Tensor) -> Tensor:
        """By how much the target is above the mean of all channels, (B,)."""
        return self.of_target(means) - means.mean(1)

    def margin(self, means: Tensor) -> Tensor:
        """By how much the target is above a soft maximum of the others, (B,).

        M_u - T log sum over j != u of exp(M_j / T), where T is half a standard deviation of M over
        the channels.
        """
        temperature = (_SHARPNESS * means.detach().std(1, keepdim=True)).clamp(min=1e-6)
        own = torch.zeros_like(means, dtype=torch.bool).scatter_(1, self.channel[:, None], True)
        others = (means / temperature).masked_fill(own, -torch.inf)
        return self.of_target(means) - temperature[:, 0] * torch.logsumexp(others, 1)


Score = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
"""From the net's input: what is maximised, the unit's own part of that, what is reported; (B,)."""


def score_of(objective: str, task: Task) -> Score:
    """What rates the images of a task.

    Args:
        objective: "activation"; "lead" or "margin", see `Channels`. Targets that are not one
            channel each have no mates to compare with: for them it is their activation.
        task: whose targets.
    """
    channels = None if objective == "activation" else Channels.of(task.net, task.objective)
    weight = torch.from_numpy(task.objective.weight[:, 0]).to(task.net.device)
    count = task.objective.index.shape[1]
    sign = torch.where(weight < 0, -1.0, 1.0)  # a unit driven down is to be below its mates

    def alone(net_input: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        score, activation = task.score(net_input)
        return score, score, activation

    def among(net_input: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        assert channels
        means = sign[:, None] * channels(net_input)
        own = channels.of_target(means)
        ahead = channels.margin(means) if objective == "margin" else channels.lead(means)
        return weight.abs() * ahead, weight.abs() * own, sign * count * own.detach()

    return among if channels else alone
