"""Those who take part, each as images times iterations per second of a case.

An iteration of lbfgs is an evaluation. What comes before the first iteration and after the last,
which a real run pays once in hundreds of iterations, does not count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter

import numpy as np
import plain
import torch
from cases import Case

import cnnpref
from cnnpref.ascent.solution import Solution
from cnnpref.methods import DgnGdOptions, GdOptions, LbfgsOptions

ENOUGH = 0.5  # seconds for which the plain way runs, image after image
_SETTLING = 6  # evaluations on a GPU: in one of them it may record a pass, once in a real run


class Watch:
    """Takes the time of every call; a GPU does so when it gets there, nobody waits for it."""

    def __init__(self, device: str) -> None:
        self.device = torch.device(device)
        self._calls: list[float | torch.cuda.Event] = []

    def __call__(self, *_: object) -> None:
        if self.device.type != "cuda":
            self._calls.append(perf_counter())
            return
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.device))
        self._calls.append(event)

    @property
    def times(self) -> list[float]:
        """Of all calls, in seconds."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        first = self._calls[0]
        return [
            call if isinstance(call, float) else first.elapsed_time(call) / 1000
            for call in self._calls
        ]

    @property
    def seconds(self) -> float:
        """From the first call to the last."""
        times = self.times
        return times[-1] - times[0]


def ours(case: Case) -> float:
    """Speed of a batch."""
    return measured(case)[0]


def measured(case: Case) -> tuple[float, float]:
    """Speed of a batch, and how many evaluations of an image an iteration took."""
    watch = Watch(case.device)
    solution = maximised(case, watch)
    evaluations = [len(trace) for trace in solution.activations]
    per_iteration = sum(evaluations) / (case.batch * case.iterations)
    if "lbfgs" in case.method:  # rows stop one by one
        return sum(count - 1 for count in evaluations) / watch.seconds, per_iteration
    times = watch.times[_SETTLING if case.device != "cpu" else 0 :]
    return case.batch * (len(times) - 1) / (times[-1] - times[0]), per_iteration


def maximised(
    case: Case,
    observe: Callable[[object], object] | None = None,
    draws: Sequence[np.random.RandomState] | None = None,
) -> Solution:
    """A batch of ours."""
    return cnnpref.maximise(
        case.nets.ours,
        case.objective(),
        case.method.removesuffix("_field"),
        case.options(case.iterations),
        generator=case.generator(),
        observe=observe,
        draws=draws,
    )


def plainly(case: Case) -> float:
    """Speed of the plain way."""
    done, seconds, seed = 0, 0.0, 0
    while seconds < ENOUGH:
        watch = Watch(case.device)
        plain_image(case, np.random.RandomState(seed), watch)
        done += len(watch.times) - 1
        seconds += watch.seconds
        seed += 1
    return done / seconds


def plain_image(case: Case, draws: np.random.RandomState, watch: plain.Tick) -> np.ndarray:
    """One image the plain way, as the net sees it, or the features of one."""
    o, net = case.options(case.iterations), case.nets.ours
    target = plain_target(case)
    if isinstance(o, GdOptions):
        draws.randint(0, 256, (*net.input_shape[1:], 3))  # the original draws it for a scale
        return plain.gd(target, plain_start(case, draws), o, draws, watch)
    start = plain_start(case, draws)
    if isinstance(o, DgnGdOptions):
        return plain.dgn_gd(target, start, o, watch)
    lower, upper = np.float32(plain.LOWEST), np.float32(plain.HIGHEST)
    if isinstance(o, LbfgsOptions):
        lower, upper = (bound[:, None, None] for bound in net.space.bounds())
    return plain.lbfgs(target, start, lower, upper, o.maxiter, watch)


def plain_target(case: Case) -> plain.Target:
    """The first of the case's units."""
    unit, weight = case.units[0], case.options().feature_weight
    return plain.Target(case.module(), case.layer, unit, case.position, weight, case.device)


def plain_start(case: Case, draws: np.random.RandomState) -> np.ndarray:
    """A random image in the net's space (black for lbfgs), or random features."""
    if case.generates:
        return (10 * draws.standard_normal(4096).clip(min=0)).astype(np.float32)
    net = case.nets.ours
    size = (*net.input_shape[1:], 3)
    black = case.method == "lbfgs"
    return net.space.encode(np.zeros(size) if black else draws.randint(0, 256, size))


def disagreement(case: Case) -> float:
    """How far ours is from the plain way, relative to its size.

    Descent: the images or features after the case's iterations. lbfgs, where two right solvers
    may go different ways: the activation at the start.
    """
    net = case.nets.ours
    solution = maximised(case, draws=[np.random.RandomState(row) for row in range(case.batch)])
    if "lbfgs" in case.method:
        target = plain_target(case)
        loss, _ = target(plain_start(case, np.random.RandomState(0)))
        return abs(solution.activations[0][0] * target.weight / -loss - 1)
    wanted = plain_image(case, np.random.RandomState(0), lambda: None)
    latents = solution.latents
    found = net.space.encode(solution.images[0]) if latents is None else latents[0]
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))
