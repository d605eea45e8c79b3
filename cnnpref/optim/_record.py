"""What an optimiser takes down of every row while it runs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from cnnpref.optim._ragged import sent
from cnnpref.optim.problem import Observe, Optimum, status_of


class Record:
    """Traces, best iterates and statuses of all rows.

    Args:
        x: start, (B, ...).
        observe: called after each evaluation, with the last points of all rows.
    """

    def __init__(self, x: Tensor, observe: Observe | None = None) -> None:
        self._observe, self._evaluations, self._points = observe, 0, x.clone()
        self._best = x.clone()
        self._traces: list[list[float]] = [[] for _ in x]
        self._peak = [-math.inf] * len(x)
        self._activations = [math.nan] * len(x)
        self._finite = [True] * len(x)
        self._driven, self._risen = [False] * len(x), [False] * len(x)

    def add(
        self,
        rows: Sequence[int],
        x: Tensor,
        activations: Sequence[float],
        losses: Sequence[float],
        slopes: Sequence[float],
        worths: Sequence[float],
    ) -> list[bool]:
        """Take down an evaluation of some rows.

        Args:
            rows: their numbers.
            x: the points, (len(rows), ...).
            activations: what is reported.
            losses: what is minimised.
            slopes: some measure of the gradients, 0 only where all of a gradient is 0.
            worths: by which iterates are compared, larger is better.

        Returns:
            Whether each of the rows has been finite so far.
        """
        self._tell(rows, x, activations)
        better = []
        for place, row in enumerate(rows):
            seen = (activations[place], losses[place], slopes[place])
            self._finite[row] &= all(map(math.isfinite, seen))
            if self._finite[row]:
                self._driven[row] |= slopes[place] != 0
                self._traces[row].append(activations[place])
                if worths[place] > self._peak[row]:
                    self._risen[row] |= len(self._traces[row]) > 1
                    self._peak[row] = worths[place]
                    better.append(place)
        there = sent([rows[place] for place in better], x.device)
        self._best[there] = x[sent(better, x.device)]
        return [self._finite[row] for row in rows]

    def _tell(self, rows: Sequence[int], x: Tensor, activations: Sequence[float]) -> None:
        self._evaluations += 1
        if self._observe:
            self._points = self._points.clone()  # an observer may keep what it was shown
            self._points[sent(rows, x.device)] = x
            for row, activation in zip(rows, activations, strict=True):
                self._activations[row] = activation
            told = sent(self._activations, x.device, self._points.dtype)
            self._observe(self._evaluations, self._points, told)

    def optimum(self, x: Tensor) -> Optimum:
        """The result, with the last iterates (B, ...) of the rows that were finite throughout."""
        values = torch.full((len(x), max(map(len, self._traces), default=0)), torch.nan)
        for row, trace in enumerate(self._traces):
            values[row, : len(trace)] = torch.tensor(trace)
        counts = map(len, self._traces)
        states = zip(self._finite, self._driven, self._risen, counts, strict=True)
        statuses = [status_of(*each) for each in states]
        last = x.clone()
        lost = [row for row, finite in enumerate(self._finite) if not finite]
        last[lost] = self._best[lost]
        return Optimum(last, self._best, values, statuses)
