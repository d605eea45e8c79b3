"""L-BFGS-B on batches: SciPy's steps, bounds, rows of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import basics
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cnnpref.optim import lbfgsb, scipy_lbfgsb
from cnnpref.optim.problem import Evaluate, Evaluation, Optimum
from cnnpref.status import Status

Loss = Callable[[Tensor, Tensor], Tensor]
"""(variables (b, n), row numbers (b,)) -> (b,)."""
SOLVERS = {"batched": lbfgsb.minimise, "scipy": scipy_lbfgsb.minimise}


def evaluating(loss: Loss) -> Evaluate:
    def evaluate(x: Tensor, rows: Sequence[int]) -> Evaluation:
        x = x.detach().requires_grad_()
        values = loss(x, torch.tensor(rows))
        (gradient,) = torch.autograd.grad(values.sum(), x)
        return Evaluation(-values.detach(), values.detach(), gradient, -values.detach())

    return evaluate


def minimise(
    loss: Loss, x: Tensor, lower: Any = -1.0, upper: Any = 1.0, maxiter: int = 500, **more: Any
) -> Optimum:
    solver = SOLVERS[more.pop("solver", "batched")]
    bounds = (torch.as_tensor(bound, dtype=x.dtype) for bound in (lower, upper))
    return solver(evaluating(loss), x, *bounds, maxiter, **more)


noise = partial(basics.noise, dtype=torch.float64)


def rosenbrock(x: Tensor, _rows: Tensor) -> Tensor:
    return (100 * (x[:, 1:] - x[:, :-1] ** 2) ** 2 + (1 - x[:, :-1]) ** 2).sum(1)


def waves(x: Tensor, rows: Tensor) -> Tensor:
    """Not convex, another one in each row."""
    places = torch.arange(x.shape[1], dtype=x.dtype)
    pull = (1 + places % 7) * (x - torch.sin(places + rows[:, None])) ** 2
    return pull.sum(1) + torch.cos(3 * x).sum(1) + 0.3 * (x[:, 1:] * x[:, :-1]).sum(1)


def quadratics(rows: int, size: int, spread: float, seed: int) -> Loss:
    """Convex ones, whose curvatures differ by a factor of 10 ** spread."""
    basis = torch.linalg.qr(noise(rows, size, size, seed=seed)).Q
    curvatures = torch.logspace(0, spread, size, dtype=torch.float64)
    matrices, wishes = basis * curvatures @ basis.mT, 3 * noise(rows, size, seed=seed + 1)

    def loss(x: Tensor, chosen: Tensor) -> Tensor:
        off = (x - wishes[chosen])[:, :, None]
        return (off.mT @ matrices[chosen] @ off)[:, 0, 0] / 2

    return loss


def lowest(optimum: Optimum) -> Tensor:
    return -optimum.values.nan_to_num(-torch.inf).amax(1)


@given(
    size=st.integers(1, 40),
    spread=st.floats(0, 3),
    seed=st.integers(0, 1000),
    share=st.sampled_from([0.0, 0.3, 1.0]),
)
@settings(max_examples=40)
def test_convex_quadratics_reach_the_minimum(
    size: int, spread: float, seed: int, share: float
) -> None:
    """SciPy's value; at the end no entry of the projected gradient is left (KKT)."""
    loss, bounded = quadratics(3, size, spread, seed), torch.arange(size) < share * size
    upper = torch.where(bounded, noise(size, seed=seed + 3).abs() + 0.1, torch.inf)
    start = noise(3, size, seed=seed + 4).clamp(-upper, upper)
    ours, theirs = (
        minimise(loss, start, -upper, upper, solver=solver) for solver in ("batched", "scipy")
    )
    assert torch.allclose(lowest(ours), lowest(theirs), rtol=1e-6, atol=1e-6 * 10**spread)
    assert (ours.x.abs() <= upper).all()
    gradient = evaluating(loss)(ours.x, range(3)).gradient
    left = gradient.clamp(ours.x - upper, ours.x + upper).abs().amax(1)
    assert (left <= 3e-3 * 10**spread).all()


@pytest.mark.parametrize("loss", [rosenbrock, waves])
@pytest.mark.parametrize("size", [2, 10, 100])
@pytest.mark.parametrize("upper", [0.4, 1.5, torch.inf])
def test_takes_the_steps_of_scipy(loss: Loss, size: int, upper: float) -> None:
    start = noise(5, size).clamp(-upper, upper)
    ours, theirs = (
        minimise(loss, start, -upper, upper, maxiter=12, solver=solver).values
        for solver in ("batched", "scipy")
    )
    assert ours.shape == theirs.shape
    assert torch.allclose(ours, theirs, rtol=1e-6, equal_nan=True)


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_a_row_does_not_depend_on_its_batch(precision: torch.dtype) -> None:
    """To the bit: alone, in reverse, and with others that stop sooner."""
    for size in (5, 147, 2000, 5000):
        start = noise(8, size).clamp(-1, 1).to(precision)
        start[3] = torch.sin(torch.arange(size) + 3.0)
        batch = minimise(waves, start, maxiter=30)
        for rows in ([6], [0, 1], list(range(8))[::-1]):
            picked = torch.tensor(rows)
            part = minimise(
                lambda x, r, picked=picked: waves(x, picked[r]), start[picked], maxiter=30
            )
            length = part.values.shape[1]
            assert torch.equal(part.x, batch.x[picked])
            assert torch.equal(part.best, batch.best[picked])
            assert torch.equal(
                part.values.nan_to_num(9), batch.values[picked, :length].nan_to_num(9)
            )


def test_a_row_that_has_stopped_is_not_evaluated_again() -> None:
    """And its neighbours do not notice."""
    asked, strength = [], torch.tensor([1.0, 1.0, 1000.0, 1.0])

    def loss(x: Tensor, rows: Tensor) -> Tensor:
        asked.append(rows.tolist())
        easy = (x**2).sum(1)
        return torch.where(rows % 2 == 0, rosenbrock(x, rows), easy) * strength[rows]

    optimum = minimise(loss, noise(4, 6).clamp(-1, 1))
    counts = optimum.values.isfinite().sum(1).tolist()
    assert asked[0] == [0, 1, 2, 3]
    assert [sum(row in rows for rows in asked) for row in range(4)] == counts
    assert counts[1] < counts[0]
    assert lowest(optimum).max() < 1e-6


def test_stays_within_the_bounds_at_every_evaluation() -> None:
    lower, upper = -noise(30, seed=1).abs(), noise(30, seed=2).abs()
    seen: list[Tensor] = []
    start = noise(4, 30).clamp(lower, upper)
    minimise(
        waves, start, lower, upper, observe=lambda _count, points, _values: seen.append(points)
    )
    assert all(((points >= lower) & (points <= upper)).all() for points in seen)
    assert any((points == upper).any() for points in seen)


def test_a_start_outside_is_moved_inside() -> None:
    optimum = minimise(waves, 5 * noise(3, 20))
    assert (optimum.x.abs() <= 1).all()
    assert torch.equal(optimum.x, minimise(waves, (5 * noise(3, 20)).clamp(-1, 1)).x)


def test_single_precision_and_any_shape() -> None:
    start = noise(2, 3, 4, 5).float().clamp(-1, 1)
    optimum = minimise(lambda x, rows: waves(x.flatten(1), rows), start, -torch.ones(3, 1, 1))
    flat = minimise(waves, start.flatten(1), -1.0)
    assert optimum.x.dtype == torch.float32
    assert optimum.x.shape == (2, 3, 4, 5)
    assert torch.equal(optimum.x.flatten(1), flat.x)


@pytest.mark.parametrize("solver", SOLVERS)
def test_statuses(solver: str) -> None:
    """A row without gradient, and rows that are not finite at once or later, harm nobody."""
    start, factors = noise(5, 12).clamp(-1, 1), torch.tensor([1.0, 0, torch.nan, 1, 1])

    def loss(x: Tensor, rows: Tensor) -> Tensor:
        far = (x.detach() - start[rows]).abs().amax(1) > 0.05
        barrier = torch.where((rows == 3) & far, torch.inf, 0.0)
        return rosenbrock(x, rows) * factors[rows] + barrier

    optimum = minimise(loss, start, solver=solver)
    wanted = [Status.OK, Status.ZERO_GRADIENT, Status.DIVERGED, Status.DIVERGED, Status.OK]
    assert optimum.status == wanted
    assert torch.equal(optimum.x[[1, 2]], start[[1, 2]])
    assert optimum.x.isfinite().all()
    assert torch.equal(optimum.x[3], optimum.best[3])


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_row_whose_gradient_leads_nowhere_is_stuck(solver: str) -> None:
    """At a kink, every step along the gradient's way makes the second row worse."""
    start = torch.zeros(2, 12)

    def loss(x: Tensor, rows: Tensor) -> Tensor:
        kink = torch.where(x >= 0, x, -2 * x).sum(1)
        return torch.where(rows == 1, kink, ((x - 0.5) ** 2).sum(1))

    optimum = minimise(loss, start, solver=solver)
    assert optimum.status == [Status.OK, Status.STUCK]
    assert torch.equal(optimum.x[1], start[1])
    assert optimum.values[1].isfinite().sum() >= 1
    others = torch.tensor([1, 0])
    alone = minimise(lambda x, rows: loss(x, others[rows]), start[others], solver=solver)
    assert torch.equal(optimum.x[others], alone.x)


def test_every_iteration_lowers_the_function() -> None:
    start, values = noise(3, 25).clamp(-1, 1), []
    for maxiter in range(1, 12):
        optimum = minimise(waves, start, maxiter=maxiter)
        values.append(waves(optimum.x, torch.arange(3)))
        assert optimum.values.shape[1] >= maxiter + 1
    falls = torch.stack(values).diff(dim=0)
    assert (falls <= 0).all()
    assert (falls < 0).any(1).all()


def test_a_linear_function_ends_in_the_corner() -> None:
    slopes = noise(3, 40)
    slopes[:, ::5] = 0
    optimum = minimise(lambda x, rows: (slopes[rows] * x).sum(1), torch.zeros(3, 40).double())
    assert torch.equal(optimum.x, -slopes.sign())
    assert (optimum.values.isfinite().sum(1) < 60).all()


def test_variables_without_room_stay() -> None:
    lower = torch.where(torch.arange(20) % 3 == 0, 0.5, -1.0).double()
    upper = torch.where(torch.arange(20) % 3 == 0, 0.5, 1.0).double()
    ours, theirs = (
        minimise(waves, noise(3, 20).clamp(lower, upper), lower, upper, solver=solver)
        for solver in ("batched", "scipy")
    )
    assert (ours.x[:, ::3] == 0.5).all()
    assert torch.allclose(lowest(ours), lowest(theirs), rtol=1e-8)


@pytest.mark.parametrize("corner", [-1.0, 1.0])
def test_starts_from_a_corner(corner: float) -> None:
    start = torch.full((3, 20), corner, dtype=torch.float64)
    ours, theirs = (minimise(waves, start, solver=solver) for solver in ("batched", "scipy"))
    assert torch.allclose(lowest(ours), lowest(theirs), rtol=1e-8)


def test_a_start_at_the_minimum_is_evaluated_once() -> None:
    wish = torch.ones(2, 9).double()
    optimum = minimise(lambda x, _rows: ((x - 3) ** 2).sum(1), wish)
    assert optimum.values.shape == (2, 1)
    assert torch.equal(optimum.x, wish)
    assert optimum.status == [Status.OK] * 2


def test_a_cliff_ends_the_search() -> None:
    """The gradient says that it goes down, and it does not."""

    def loss(x: Tensor, _rows: Tensor) -> Tensor:
        return (x - x.detach() + 100 * (x.detach() ** 2)).sum(1)

    start = torch.zeros(2, 3).double()
    for solver in SOLVERS:
        optimum = minimise(loss, start, solver=solver)
        assert torch.equal(optimum.x, start)
        assert optimum.values.shape == (2, 21)


def test_the_observer_sees_every_evaluation() -> None:
    counts, shown = [], []

    def observe(count: int, points: Tensor, values: Tensor) -> None:
        counts.append(count)
        shown.append((points, values))

    start = noise(3, 8).clamp(-1, 1)
    optimum = minimise(waves, start, observe=observe)
    assert counts == list(range(1, optimum.values.shape[1] + 1))
    assert torch.equal(shown[0][0], start)
    for (points, values), column in zip(shown, optimum.values.T, strict=True):
        running = column.isfinite()
        assert torch.equal(values[running].float(), column[running].float())
        assert torch.allclose(values, -waves(points, torch.arange(3)))


def test_a_failing_evaluation_is_told() -> None:
    def loss(_x: Tensor, _rows: Tensor) -> Tensor:
        raise RuntimeError("out of memory")

    for solver in SOLVERS:
        with pytest.raises(RuntimeError, match="out of memory"):
            minimise(loss, noise(2, 4), solver=solver)


def test_many_bounds_are_met_at_once() -> None:
    """The path to the Cauchy point passes thousands of bounds, among them many at the same time."""
    size = 6000
    strength = torch.as_tensor(np.random.default_rng(0).choice([0.01, 0.1, 1, 3], size))
    wish = torch.where(noise(2, size) > 0, 40.0, -0.2).double()

    def loss(x: Tensor, rows: Tensor) -> Tensor:
        return (strength * (x - wish[rows]) ** 2).sum(1) + 0.1 * (x.diff(dim=1) ** 4).sum(1)

    start = torch.zeros(2, size).double()
    ours, theirs = (
        minimise(loss, start, -0.1, 2.0, maxiter=15, solver=solver) for solver in SOLVERS
    )
    assert torch.allclose(ours.values, theirs.values, rtol=1e-6, equal_nan=True)
    alone = minimise(lambda x, rows: loss(x, rows + 1), start[1:], -0.1, 2.0, maxiter=15)
    assert torch.equal(alone.x[0], ours.x[1])
