"""What is maximised: which units of a layer, with which weights, for each image of a batch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cnnpref.errors import UserError
from cnnpref.geometry import Shape
from cnnpref.nets.pycaffe import AnyNet, as_net
from cnnpref.unit_map import UnitMap


@dataclass(frozen=True)
class Objective:
    """One target for each of B images: a set of units of one layer, with weights.

    Attributes:
        layer: the layer's name.
        shape: its shape, without the batch.
        index: flat indices of the target units, (B, K).
        weight: their weights, (B, K).
        member: 1 for a target, 0 for the padding of shorter rows, (B, K).
    """

    layer: str
    shape: Shape
    index: Tensor
    weight: Tensor
    member: Tensor

    @classmethod
    def units(
        cls,
        net: AnyNet,
        layer: str,
        units: Sequence[int],
        position: str | int | Sequence[int] = "center",
        weight: float = 1.0,
        sign: int = 1,
    ) -> Objective:
        """One unit per image.

        Args:
            net: the network, or a live pycaffe net.
            layer: a name in `net.layers`.
            units: channels; a channel may come more than once.
            position: in a layer with a map "center", (y, x), a token ..., see `UnitMap`; or "all"
                for the sum over the map.
            weight: multiplies the activation.
            sign: 1; or -1: the images that the units like least.

        Raises:
            UserError: the layer, a unit or the position does not exist.
        """
        net = as_net(net)
        where = net.unit_map(layer)
        outside = [u for u in units if not 0 <= u < where.count]
        if outside:
            raise UserError(
                f"layer {layer!r} has units 0..{where.count - 1}, got "
                f"{', '.join(map(str, outside))}"
            )
        offsets = torch.tensor(_offsets(layer, where, position))
        index = where.index(torch.tensor(list(units), dtype=torch.long)[:, None], offsets)
        ones = torch.ones(index.shape)
        return cls(layer, where.shape, index, sign * weight * ones, ones).to(net.device)

    @classmethod
    def masks(
        cls, net: AnyNet, layer: str, masks: npt.ArrayLike, weights: npt.ArrayLike = 1.0
    ) -> Objective:
        """Any set of units per image.

        Args:
            net: the network, or a live pycaffe net.
            layer: a name in `net.layers`.
            masks: (B, *shape), 1 at the targets.
            weights: broadcast against the masks; negative ones drive a unit down.

        Raises:
            UserError: a mask has another shape or no target; a weight is not finite.
        """
        net = as_net(net)
        shape = net.layer_shape(layer)
        given = np.asarray(masks)
        if given.shape[1:] != shape:
            raise UserError(
                f"a mask of layer {layer!r} must have shape {shape}, got {given.shape[1:]}"
            )
        chosen = (given == 1).reshape(len(given), -1)
        if not chosen.any(1).all():
            raise UserError(f"a mask of layer {layer!r} has no 1 in it: no unit to maximise")
        factors = np.broadcast_to(np.asarray(weights, np.float32), given.shape)
        if not np.isfinite(factors).all():
            raise UserError(f"the weights of layer {layer!r} must be finite")
        return cls._from_rows(layer, shape, chosen, factors.reshape(chosen.shape)).to(net.device)

    @classmethod
    def _from_rows(
        cls,
        layer: str,
        shape: Shape,
        chosen: npt.NDArray[np.bool_],
        factors: npt.NDArray[np.float32],
    ) -> Objective:
        width = int(chosen.sum(1).max())
        order = np.argsort(~chosen, axis=1, kind="stable")[:, :width]  # the targets come first
        member = np.take_along_axis(chosen, order, 1).astype(np.float32)
        weight = np.take_along_axis(factors, order, 1) * member
        index = np.where(member > 0, order, order[:, :1])
        return cls(layer, shape, *(torch.from_numpy(a) for a in (index, weight, member)))

    def __len__(self) -> int:
        return len(self.index)

    def to(self, device: torch.device) -> Objective:
        """The same on another device."""
        tensors = (t.to(device) for t in (self.index, self.weight, self.member))
        return Objective(self.layer, self.shape, *tensors)

    def rows(self, chosen: Sequence[int]) -> Objective:
        """Some of the targets, in that order; a row may come more than once."""
        tensors = (t[list(chosen)] for t in (self.index, self.weight, self.member))
        return Objective(self.layer, self.shape, *tensors)

    def score(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        """What to maximise (weighted) and what to report (the plain sum), (B,) each.

        Args:
            targets: the activations of the units `index`, (B, K).
        """
        return (targets * self.weight).sum(1), (targets.detach() * self.member).sum(1)

    def worth(self, score: Tensor, activation: Tensor) -> Tensor:
        """By which images are compared, larger is better, (B,).

        The activation; where some of a row's weights are negative, what is maximised.
        """
        return torch.where((self.weight >= 0).all(1), activation, score.detach())

    def identity(self, row: int) -> bytes:
        """A digest of one target: the layer, the units, the weights; not its place in the batch."""
        member = self.member[row] > 0
        content = torch.stack([self.index[row][member].double(), self.weight[row][member].double()])
        return hashlib.sha256(self.layer.encode() + content.cpu().numpy().tobytes()).digest()


def _offsets(layer: str, where: UnitMap, position: str | int | Sequence[int]) -> list[int]:
    """Flat offsets in the map of each unit; a layer without a map has one."""
    if not where.sizes:
        return [0]
    try:
        return where.offsets(position)
    except ValueError as error:
        raise UserError(f"layer {layer!r}: {error}; allowed: {where.allowed}") from None
