"""L-BFGS-B as on a GPU, where each look of the host at values stalls it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fake_gpu import counted_reads
from test_lbfgsb import Loss, minimise, noise, waves
from torch import Tensor

from cnnpref.optim.problem import Optimum

SHORT = 2  # times that there was too little room


def blind(loss: Loss, x: Tensor, **more: Any) -> Optimum:
    """As on a GPU, where the host looks at values as seldom as it can."""
    return minimise(loss, x, looks=False, **more)


@pytest.mark.parametrize("bound", [0.3, 1.0, torch.inf])
@pytest.mark.parametrize("size", [5, 90, 400])
def test_without_looks_it_takes_the_same_steps(size: int, bound: float) -> None:
    x = noise(6, size, seed=size)
    given: dict[str, Any] = {"lower": -bound, "upper": bound, "maxiter": 12}
    ours, theirs = (solve(waves, x, **given) for solve in (blind, minimise))
    assert ours.status == theirs.status
    assert ours.values.shape == theirs.values.shape
    torch.testing.assert_close(ours.values, theirs.values, equal_nan=True, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(ours.x, theirs.x, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("rows", [1, 4, 32])
def test_without_looks_the_host_reads_twice_in_an_iteration(rows: int) -> None:
    """Once about the directions, once about the values there; at first about the bounds."""
    x = noise(rows, 4000, seed=3)
    with counted_reads() as told:
        found = blind(waves, x, lower=-1.0, upper=1.0, maxiter=40)
    evaluations = found.values.shape[1]
    assert evaluations > 40
    assert len(told.reads) <= 2 + 2 * evaluations + SHORT


def test_with_looks_the_count_sees_more() -> None:
    with counted_reads() as told:
        found = minimise(waves, noise(4, 4000, seed=3), maxiter=40)
    assert len(told.reads) > 4 * found.values.shape[1]
