"""Gradient descent on batches: rows that have stopped."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cnnpref.optim.descent import Steps, descend
from cnnpref.optim.problem import Evaluation, Optimum
from cnnpref.optim.schedule import Linear
from cnnpref.status import Status

STEPS = 60


def climb(wishes: Tensor, asked: list[list[int]]) -> Optimum:
    """From 0 towards wishes (B, n), no step larger than 0.1: a near wish is soon passed."""

    def evaluate(x: Tensor, rows: Sequence[int]) -> Evaluation:
        asked.append(list(rows))
        off = x - wishes[list(rows)]
        values = -(off**2).sum(1)
        return Evaluation(values, -values, 2 * off, values)

    rate, momentum = Linear(0.1, 0.1, STEPS), Linear(0.0, 0.0, STEPS)
    return descend(evaluate, torch.zeros_like(wishes), rate, momentum, Steps(), patience=5)


def test_a_row_that_has_stopped_is_not_evaluated_for_long() -> None:
    asked: list[list[int]] = []
    wishes = torch.tensor([[4.0], [1.0], [torch.nan], [3.0]]).expand(4, 3)
    optimum = climb(wishes, asked)
    evaluated = [sum(row in rows for rows in asked) for row in range(4)]
    lengths = optimum.values.isfinite().sum(1).tolist()
    assert optimum.status == [Status.OK, Status.OK, Status.DIVERGED, Status.OK]
    assert evaluated[2] <= 11
    assert evaluated[1] < evaluated[3] < evaluated[0]
    assert all(0 <= n - length <= 11 for n, length in zip(evaluated, lengths, strict=True))
    for row in range(4):
        alone = climb(wishes[[row]], [])
        length = alone.values.isfinite().sum()
        assert length == lengths[row]
        assert torch.equal(alone.values[0, :length], optimum.values[row, :length])
        assert torch.equal(alone.x[0], optimum.x[row])
        assert alone.status == [optimum.status[row]]
