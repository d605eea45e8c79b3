"""Units that get nowhere from where they start: they are told, and start anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import cnnpref
from cnnpref.ascent.solution import Solution
from cnnpref.ascent.variables import Generator
from cnnpref.methods import METHODS, resolve
from cnnpref.nets.caffe import CaffeNet
from cnnpref.nets.shut_relus import ShutRelusPass

SHORT: dict[str, dict[str, Any]] = {
    "gd": {"iter_n": 30, "image_jitter": False, "image_blur": False}
}
SHORT |= {
    "lbfgs": {"maxiter": 8},
    "dgn_gd": {"iter_n": 20},
    "dgn_lbfgs": {"maxiter": 8},
    "spectral": {"steps": 20},
    "maco": {"steps": 20},
}
UNITS = [4, 0, 7, 2]
SHUT = [0, 2]


def run(
    net: CaffeNet,
    generator: Generator,
    method: str,
    units: list[int],
    layer: str = "relu1",
    **options: Any,
) -> Solution:
    objective = cnnpref.Objective.units(net, layer, units)
    chosen = resolve(method, "higher", SHORT[method] | options)
    return cnnpref.maximise(net, objective, method, chosen, seeds=5, generator=generator)


@contextmanager
def shut(net: CaffeNet, generator: Generator, method: str) -> Iterator[None]:
    """Some units of relu1 have a bias that no start reaches, and a search does."""
    share = 0.05 if method == "gd" else 0.5  # gd leaves 0..255, where awaking stays
    from_noise = {"initial_image": None} if method == "lbfgs" else {}
    starts, peaks = [], []
    for seed in range(6):
        objective = cnnpref.Objective.units(net, "conv1", SHUT)
        chosen = resolve(method, "higher", SHORT[method] | from_noise | {"retries": 0})
        found = cnnpref.maximise(
            net, objective, method, chosen, seeds=seed, generator=generator
        ).activations
        starts.append([trace[0] for trace in found])
        peaks.append([trace.max() for trace in found])
    first, most = np.max(starts, 0), np.min(peaks, 0)
    assert (most > first).all()
    bias = list(net.parameters())[1]
    kept = bias.clone()
    bias[SHUT] -= torch.from_numpy(first + share * (most - first)).to(bias)
    try:
        yield
    finally:
        bias.copy_(kept)


@pytest.mark.parametrize("method", METHODS)
def test_units_behind_a_shut_relu_are_revived_in_any_batch(
    net: CaffeNet, generator: Generator, method: str
) -> None:
    with shut(net, generator, method):
        dead = run(net, generator, method, UNITS, retries=3, revive="dead")
        batch = run(net, generator, method, UNITS)
        backwards = run(net, generator, method, UNITS[::-1])
        alone = run(net, generator, method, [0])
    closed = [UNITS.index(unit) for unit in SHUT]
    for row in range(4):
        if row in closed:
            assert dead.earlier[row]
            assert batch.status[row] == "ok"
            assert batch.earlier[row][0] == dead.earlier[row][0]
            assert max(batch.scores_best[row], *batch.activations[row]) > 0  # or in a view
        for other, place in ((backwards, 3 - row), (alone, 0)):
            if other is alone and row != UNITS.index(0):
                continue
            assert np.array_equal(batch.images[row], other.images[place])
            assert np.array_equal(batch.activations[row], other.activations[place])
            assert batch.earlier[row] == other.earlier[place]
    once = [row for row in range(4) if not batch.earlier[row] and not dead.earlier[row]]
    for row in once:  # these are what they were
        assert np.array_equal(batch.images[row], dead.images[row])


def test_a_unit_that_likes_its_black_start_most_is_stuck_there(
    net: CaffeNet, generator: Generator
) -> None:
    """All of its gradient points below 0: L-BFGS never moves, and noise leads to black."""
    weight = next(iter(net.parameters()))
    kept = weight[3].clone()
    weight[3] = -weight[3].abs()
    try:
        left = run(net, generator, "lbfgs", [5, 3], "conv1", retries=0)
        found = run(net, generator, "lbfgs", [5, 3], "conv1", maxiter=40)
        alone = run(net, generator, "lbfgs", [3], "conv1", maxiter=40)
    finally:
        weight[3] = kept
    assert left.status[1] == "stuck"
    assert np.abs(left.images[1]).max() < 1
    assert found.status[1] == "ok"
    assert found.earlier[1] == ("stuck",)
    assert found.scores[1] > found.activations[1][0]
    assert np.array_equal(found.images[1], alone.images[0])
    top, left_edge, bottom, right = net.receptive_field("conv1")
    around = np.ones(found.images[1].shape[:2], bool)
    around[top:bottom, left_edge:right] = False
    assert np.abs(found.images[1][around]).max() < 1  # black as at the first start


def test_where_the_caller_said_to_start_stuck_units_stay(net: CaffeNet) -> None:
    objective = cnnpref.Objective.units(net, "fc", [0, 1])
    still = resolve("gd", "reference", {"iter_n": 3, "lr_start": 0, "image_blur": False})
    still = resolve("gd", "higher", {**vars(still), "decay_start": 0, "decay_end": 0, "retries": 2})
    still = resolve("gd", "higher", {**vars(still), "revive": "all", "image_jitter": False})
    grey = np.full(3, 100.0)
    given = cnnpref.maximise(net, objective, "gd", still, initial=[grey, grey])
    drawn = cnnpref.maximise(net, objective, "gd", still)
    assert given.status == drawn.status == ["stuck", "stuck"]
    assert given.earlier == [(), ()]
    assert drawn.earlier == [("stuck", "stuck")] * 2


@pytest.mark.parametrize("method", METHODS)
def test_what_a_unit_likes_least(net: CaffeNet, generator: Generator, method: str) -> None:
    chosen = resolve(method, "higher", SHORT[method])
    scores = []
    for sign in (1, -1):
        objective = cnnpref.Objective.units(net, "fc", [0, 1, 2], weight=2.0, sign=sign)
        solution = cnnpref.maximise(net, objective, method, chosen, generator=generator)
        assert solution.status == ["ok"] * 3
        assert all(sign * (solution.scores_best - solution.scores) >= 0)
        scores.append(solution.scores_best)
        trace = sign * solution.activations[0]
        assert trace.max() > trace[0]
    assert (scores[0] > scores[1]).all()


@pytest.mark.parametrize("objective", ["lead", "margin"])
def test_a_unit_driven_down_is_below_its_mates(net: CaffeNet, objective: str) -> None:
    target = cnnpref.Objective.units(net, "fc", [0, 5], sign=-1)
    chosen = resolve("spectral", "higher", {"steps": 60, "objective": objective})
    images = cnnpref.maximise(net, target, "spectral", chosen).images
    values = net.activations(torch.from_numpy(net.space.encode(images)), "fc")
    ranks = (values < values[[0, 1], [0, 5]][:, None]).sum(1)
    assert (ranks <= 1).all()


RELUS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "in place": lambda: nn.ReLU(inplace=True),
    "relu6": nn.ReLU6,
}


@pytest.mark.parametrize("kind", RELUS)
def test_modules_behind_a_shut_relu(kind: str) -> None:
    convolution, last = nn.Conv2d(3, 4, 3), nn.Linear(4 * 36, 2)
    with torch.no_grad():
        convolution.weight.fill_(0.1)
        convolution.bias.fill_(-5)  # a white image gives about 0.1 * 27 * 2
        last.weight.fill_(0.1)
    module = nn.Sequential(convolution, RELUS[kind](), nn.Flatten(), last)
    net = cnnpref.load_torch(module, (3, 8, 8), mean=(0.5,) * 3, std=(0.25,) * 3)
    objective = cnnpref.Objective.units(net, "3", [0, 1])
    options = resolve("lbfgs", "higher", {"maxiter": 8})
    solution = cnnpref.maximise(net, objective, "lbfgs", options)
    assert solution.earlier == [("zero-gradient",)] * 2
    assert solution.status == ["ok", "ok"]


def test_a_shut_relu_lets_through_what_opens_it_and_only_where_nothing_else_is() -> None:
    def gradient(x: Tensor, way: Tensor) -> Tensor:
        x = x.clone().requires_grad_()
        with ShutRelusPass():
            y = torch.relu(x)
        assert torch.equal(y, x.clamp(min=0))
        return torch.autograd.grad((way * y).sum(), x)[0]

    way = torch.tensor([[-1.0, 2.0]])
    assert gradient(torch.tensor([[-1.0, -1.0]]), way).tolist() == [[-1, 0]]
    assert gradient(torch.tensor([[-1.0, 1.0]]), way).tolist() == [[0, 2]]
    both = gradient(torch.tensor([[-1.0, -1.0], [-1.0, 1.0]]), way.expand(2, 2))
    assert both.tolist() == [[-1, 0], [0, 2]]
