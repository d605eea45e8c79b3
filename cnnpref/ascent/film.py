"""A few images of every ascent, evenly spaced on its evaluations."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cnnpref.ascent.task import Moment

Frames = npt.NDArray[np.uint8]


class Film:
    """Keeps images of each row while it is maximised; an observer.

    What is kept of a row depends on that row alone. Where nobody knows beforehand how many
    evaluations a row takes, it keeps every image at first; whenever it has twice as many as are
    wanted, it drops every other one, and from then on takes half as many.

    Args:
        frames: how many images to keep, n.
        length: how many evaluations there are; None: nobody knows.
    """

    def __init__(self, frames: int, length: int | None) -> None:
        self._count = frames
        self._planned = None if length is None else {*_even(frames, length)}
        self._reels: list[_Reel] = []

    def __call__(self, moment: Moment) -> None:
        """Look at all rows after an iteration or evaluation."""
        self._reels = self._reels or [_Reel(2 * self._count) for _ in moment.variables]
        if rows := self._wanting(moment):
            images = moment.images()
            for row in rows:
                self._reels[row].add(moment.count, _bytes(images[row]))

    def _wanting(self, moment: Moment) -> list[int]:
        """The rows of which to keep an image; where that is planned, nothing is read."""
        if self._planned is not None:
            return [*range(len(self._reels))] if moment.count in self._planned else []
        told = zip(self._reels, moment.activations.tolist(), strict=True)
        return [row for row, (reel, value) in enumerate(told) if reel.wants(moment.count, value)]

    def cut(self, row: int, length: int) -> tuple[Frames, npt.NDArray[np.int32]]:
        """The images of a row and after which evaluation, from 1, each was taken.

        Args:
            row: its number.
            length: how many evaluations it had.

        Returns:
            At most n images (n, H, W, C) and n numbers, ascending.
        """
        steps = [step for step in self._reels[row].frames if step <= length] if self._reels else []
        wanted = _even(self._count, length)
        nearest = (min(steps, key=lambda step: abs(step - each)) for each in wanted if steps)
        chosen = sorted(set(nearest))
        frames = [self._reels[row].frames[step] for step in chosen]
        return np.array(frames, np.uint8), np.array(chosen, np.int32)


class _Reel:
    """The images of one row, by the evaluation after which they were taken: fewer than `most`."""

    def __init__(self, most: int) -> None:
        self.frames: dict[int, Frames] = {}
        self._most, self._every, self._before = most, 1, float("nan")

    def wants(self, count: int, activation: float) -> bool:
        """Whether to take the image after this evaluation: not of a row that has stopped."""
        has_stopped, self._before = activation == self._before, activation
        return not has_stopped and (count - 1) % self._every == 0

    def add(self, count: int, image: Frames) -> None:
        self.frames[count] = image
        if len(self.frames) == self._most and self._most > 2:
            self._every *= 2
            kept = [step for step in self.frames if (step - 1) % self._every == 0]
            self.frames = {step: self.frames[step] for step in kept}


def _even(count: int, length: int) -> list[int]:
    """So many numbers from 1 to `length`; the last alone where it is one."""
    first = 1 if count > 1 else length
    return [int(step) for step in np.linspace(first, length, count).round()]


def _bytes(image: npt.NDArray[np.float32]) -> Frames:
    return np.rint(image).clip(0, 255).astype(np.uint8)
