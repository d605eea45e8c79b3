"""What is written down of every row of a batch, on its device, without looking at values."""

from __future__ import annotations

import torch
from torch import Tensor

from cnnpref.optim.problem import Optimum
from cnnpref.status import Status


class Trace:
    """Values of every row, and whether it is finite and has ever had a gradient."""

    def __init__(self, x: Tensor, iterations: int) -> None:
        self.values = torch.full((len(x), iterations), torch.nan, device=x.device)
        self.finite = torch.ones(len(x), dtype=torch.bool, device=x.device)
        self.moved = torch.zeros_like(self.finite)

    def add(self, t: int, values: Tensor, size: Tensor, more: Tensor | None = None) -> Tensor:
        """Take down iteration t; say which rows still run, (B,).

        Args:
            t: the iteration.
            values: of each row, (B,).
            size: of each row's gradient, (B,).
            more: which rows are to go on, as far as the caller knows.
        """
        self.finite = self.finite & values.isfinite() & size.isfinite()
        self.moved = self.moved | (size > 0)
        running = self.finite if more is None else self.finite & more
        self.values[:, t] = torch.where(running, values, torch.nan)
        return running

    def optimum(self, x: Tensor, best: Tensor) -> Optimum:
        """What an optimiser returns of its last and its best iterates."""
        states = zip(self.finite.tolist(), self.moved.tolist(), strict=True)
        statuses = [
            Status.DIVERGED if not finite else Status.OK if moved else Status.ZERO_GRADIENT
            for finite, moved in states
        ]
        return Optimum(x, best, self.values, statuses)
