"""What is maximised: which units of a layer, with which weights, for each image of a batch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

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

    They are arrays, as what computes them is planned on the host. `score` and `worth` work on the
    net's device, with copies that are made once.

    Attributes:
        layer: the layer's name.
        shape: its shape, without the batch.
        index: flat indices of the target units, int64 (B, K).
        weight: their weights, float32 (B, K).
        member: 1 for a target, 0 for the padding of shorter rows, float32 (B, K).
        device: where the activations are.
    """

    layer: str
    shape: Shape
    index: npt.NDArray[np.int64]
    weight: npt.NDArray[np.float32]
    member: npt.NDArray[np.float32]
    device: torch.device
    _weight: Tensor = field(init=False, repr=False)  # on the device
    _member: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("weight", "member"):
            values = torch.from_numpy(getattr(self, name)).to(self.device)
            object.__setattr__(self, f"_{name}", values)

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
        offsets = np.array(_offsets(layer, where, position), np.int64)
        index = where.index(np.array(list(units), np.int64)[:, None], offsets)
        ones = np.ones(index.shape, np.float32)
        weights = np.full_like(ones, sign * weight)
        return cls(layer, where.shape, index, weights, ones, net.device)

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
        return cls(layer, shape, *_rows(chosen, factors.reshape(chosen.shape)), net.device)

    def __len__(self) -> int:
        return len(self.index)

    def rows(self, chosen: Sequence[int]) -> Objective:
        """Some of the targets, in that order; a row may come more than once."""
        rows = list(chosen)
        parts = {name: getattr(self, name)[rows] for name in ("index", "weight", "member")}
        return replace(self, **parts)

    def score(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        """What to maximise (weighted) and what to report (the plain sum), (B,) each.

        Args:
            targets: the activations of the units `index`, (B, K).
        """
        return (targets * self._weight).sum(1), (targets.detach() * self._member).sum(1)

    def worth(self, score: Tensor, activation: Tensor) -> Tensor:
        """By which images are compared, larger is better, (B,).

        The activation; where some of a row's weights are negative, what is maximised.
        """
        return torch.where((self._weight >= 0).all(1), activation, score.detach())

    def identity(self, row: int) -> bytes:
        """A digest of one target: the layer, the units, the weights; not its place in the batch."""
        member = self.member[row] > 0
        content = np.stack([self.index[row][member], self.weight[row][member]], dtype=np.float64)
        return hashlib.sha256(self.layer.encode() + content.tobytes()).digest()


def _rows(
    chosen: npt.NDArray[np.bool_], factors: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Index, weight and member of the chosen units, from masks and weights (B, N)."""
    width = int(chosen.sum(1).max())
    order = np.argsort(~chosen, axis=1, kind="stable")[:, :width]  # the targets come first
    member = np.take_along_axis(chosen, order, 1).astype(np.float32)
    weight = np.take_along_axis(factors, order, 1) * member
    return np.where(member > 0, order, order[:, :1]), weight, member


def _offsets(layer: str, where: UnitMap, position: str | int | Sequence[int]) -> list[int]:
    """Flat offsets in the map of each unit; a layer without a map has one."""
    if not where.sizes:
        return [0]
    try:
        return where.offsets(position)
    except ValueError as error:
        raise UserError(f"layer {layer!r}: {error}; allowed: {where.allowed}") from None
