"""What is written down of every row of a batch, on its device, without looking at values."""

from __future__ import annotations

import torch
from torch import Tensor

from cnnpref.optim.problem import Evaluation, Optimum, status_of


class Trace:
    """Values of every row; whether it is finite, ever had a gradient, and ever rose."""

    def __init__(self, x: Tensor, iterations: int) -> None:
        self.values = torch.full((len(x), iterations), torch.nan, device=x.device)
        self.finite = torch.ones(len(x), dtype=torch.bool, device=x.device)
        self.driven, self.better, self.risen = (torch.zeros_like(self.finite) for _ in range(3))
        self.peak = torch.full((len(x),), -torch.inf, device=x.device)

    def add(self, t: int, found: Evaluation, size: Tensor, more: Tensor | None = None) -> Tensor:
        """Take down iteration t; say which rows still run, (B,).

        Args:
            t: the iteration.
            found: of each row.
            size: of each row's gradient, (B,).
            more: which rows are to go on, as far as the caller knows.
        """
        self.finite = self.finite & found.activation.isfinite() & size.isfinite()
        self.driven = self.driven | (size > 0)
        running = self.finite if more is None else self.finite & more
        self.values[:, t] = torch.where(running, found.activation, torch.nan)
        self.better = running & (found.worth > self.peak)
        self.peak = torch.where(self.better, found.worth, self.peak)
        if t:
            self.risen = self.risen | self.better
        return running

    def optimum(self, x: Tensor, best: Tensor) -> Optimum:
        """What an optimiser returns of its last and its best iterates."""
        states = torch.stack([self.finite, self.driven, self.risen], 1).tolist()
        count = self.values.shape[1]
        statuses = [status_of(finite, driven, risen, count) for finite, driven, risen in states]
        return Optimum(x, best, self.values, statuses)
