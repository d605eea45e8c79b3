"""What a maximisation returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnpref.status import Status


@dataclass(frozen=True)
class Solution:
    """What `maximise` returns, for a batch of B units.

    Attributes:
        images: last iterates, float32 (B, H, W, 3), RGB, 0..255 scale, not clipped.
        images_best: of all evaluated iterates and the last, the one of the highest activation; the
            lowest where the target's weight is negative.
        activations: the trace of each unit, one float32 per evaluation, before the update.
        scores, scores_best: activation of `images` and of `images_best` as they are, (B,).
        status: one per unit.
        earlier: the statuses of each unit's attempts before this one.
        latents: last iterates in the generator's input space, (B, ...), or None.
        importance: how much each pixel mattered, uint8 (B, H, W), 255 is most; or None.
        frames: images of each ascent, uint8 (n, H, W, 3), n as many as were to be kept or fewer.
        frame_steps: after which evaluation, from 1, each of them was taken, int32 (n,).
    """

    images: npt.NDArray[np.float32]
    images_best: npt.NDArray[np.float32]
    activations: list[npt.NDArray[np.float32]]
    scores: npt.NDArray[np.float32]
    scores_best: npt.NDArray[np.float32]
    status: list[Status]
    earlier: list[tuple[Status, ...]]
    latents: npt.NDArray[np.float32] | None = None
    importance: npt.NDArray[np.uint8] | None = None
    frames: list[npt.NDArray[np.uint8]] | None = None
    frame_steps: list[npt.NDArray[np.int32]] | None = None

    def __len__(self) -> int:
        return len(self.status)

    def first(self, count: int) -> Solution:
        """The first rows alone."""
        cut: dict[str, Any] = {
            name: None if v is None else v[:count] for name, v in vars(self).items()
        }
        return Solution(**cut)

    def replace(self, rows: Sequence[int], other: Solution) -> None:
        """Put the rows of another attempt in the place of these rows."""
        before = [(*self.earlier[row], self.status[row]) for row in rows]
        for name, value in vars(self).items():
            for place, row in enumerate(rows):
                if value is not None:
                    value[row] = getattr(other, name)[place]
        for row, statuses in zip(rows, before, strict=True):
            self.earlier[row] = statuses


def look_alike(
    some: npt.NDArray[np.float32], others: npt.NDArray[np.float32]
) -> npt.NDArray[np.bool_]:
    """Of which images (B, H, W, C) no value differs by a grey level, within 0..255; (B,)."""
    pairs = zip(some, others, strict=True)
    return np.array([np.abs(a.clip(0, 255) - b.clip(0, 255)).max() < 1 for a, b in pairs])
