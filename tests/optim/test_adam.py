"""Adam and NAdam in batches: PyTorch's own steps, row by row."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from cnnpref.optim import nadam
from cnnpref.optim.adam import minimise
from cnnpref.optim.problem import Evaluation, Optimum

TARGETS = torch.tensor([[3.0, -2.0, 0.5], [0.0, 0.0, 0.0], [1e3, 1.0, -1.0]])
START = torch.tensor([[0.0, 1.0, 2.0], [5.0, -5.0, 0.1], [0.0, 0.0, 0.0]])


def run(
    rows: Sequence[int],
    steps: int = 25,
    spoil: int | None = None,
    minimise: Callable[..., Optimum] = minimise,
) -> Optimum:
    """The squared distance from targets, which fade from step to step; a row that breaks at 10."""

    def evaluate(x: Tensor, t: int) -> Evaluation:
        off = x - TARGETS[list(rows)] * 0.99**t
        loss = (off**2).sum(1)
        if spoil is not None and t == 10:
            loss[spoil] = torch.nan
        return Evaluation(-loss, loss, 2 * off, -loss)

    def project(x: Tensor, t: int) -> Tensor:
        return x.clamp(max=2.0) if t % 2 else x

    return minimise(evaluate, START[list(rows)], lambda t: 0.3 / (t + 1), steps, project)


@pytest.mark.parametrize(
    ("ours", "theirs"), [(minimise, torch.optim.Adam), (nadam.minimise, torch.optim.NAdam)]
)
def test_the_steps_are_those_of_torch(
    ours: Callable[..., Optimum], theirs: Callable[..., torch.optim.Optimizer]
) -> None:
    x = START.clone().requires_grad_()
    adam = theirs([x], lr=1.0)
    for t in range(25):
        adam.param_groups[0]["lr"] = 0.3 / (t + 1)
        adam.zero_grad()
        ((x - TARGETS * 0.99**t) ** 2).sum().backward()
        adam.step()
        with torch.no_grad():
            x.copy_(x.clamp(max=2.0) if t % 2 else x)
    found = run([0, 1, 2], minimise=ours).x
    torch.testing.assert_close(found, x.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("ours", [minimise, nadam.minimise])
@pytest.mark.parametrize("rows", [[0], [2, 0], [1, 1, 0, 2]])
def test_rows_do_not_depend_on_each_other(rows: list[int], ours: Callable[..., Optimum]) -> None:
    every, some = run([0, 1, 2], minimise=ours), run(rows, minimise=ours)
    for place, row in enumerate(rows):
        assert torch.equal(some.x[place], every.x[row])
        assert torch.equal(some.values[place], every.values[row])


def test_a_row_that_is_not_finite_stays_where_it_was() -> None:
    spoilt = run([0, 1], spoil=1)
    assert spoilt.status == ["ok", "diverged"]
    assert torch.equal(spoilt.x[0], run([0]).x[0])
    assert torch.equal(spoilt.x[1], run([1], steps=10).x[0])
    assert spoilt.values[1].isfinite().sum() == 10


def test_rows_that_never_rise_are_told() -> None:
    """Their gradients lead the wrong way."""
    fallen = minimise(
        lambda x, _t: Evaluation(x.sum(1), -x.sum(1), torch.ones_like(x), x.sum(1)),
        START,
        lambda _t: 1.0,
        3,
        lambda x, _t: x,
    )
    assert fallen.status == ["stuck"] * 3


def test_a_row_without_gradient_is_told() -> None:
    still = minimise(
        lambda x, _t: Evaluation(x.sum(1), -x.sum(1), torch.zeros_like(x), x.sum(1)),
        START,
        lambda _t: 1.0,
        3,
        lambda x, _t: x,
    )
    assert still.status == ["zero-gradient"] * 3
    assert torch.equal(still.x, START)
