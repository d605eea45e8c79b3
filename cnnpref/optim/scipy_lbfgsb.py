"""L-BFGS-B by SciPy, for a batch of independent problems that share their evaluations.

SciPy minimises one problem and calls a function for every evaluation. Here each problem has a
thread of its own, which only waits: as soon as all problems still running have asked, their points
are evaluated together, in one pass.
"""

from __future__ import annotations

from queue import Queue
from threading import Thread

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import Bounds, minimize
from torch import Tensor

from cnnpref.optim._record import Record
from cnnpref.optim.problem import Evaluate, Evaluation, Observe, Optimum

Vector = npt.NDArray[np.float64]


class _StoppedError(Exception):
    """The evaluation of the batch has failed: a problem's thread ends."""


class _Problem(Thread):
    """SciPy's minimisation of one row; asks by `inbox`, is answered by `answer`."""

    def __init__(
        self, row: int, start: Vector, bounds: Bounds, maxiter: int, inbox: Queue[_Problem]
    ) -> None:
        super().__init__(daemon=True)
        self.row, self.start_point, self.bounds, self.maxiter = row, start, bounds, maxiter
        self.inbox, self.answer = inbox, Queue[tuple[float, Vector] | None]()
        self.point: Vector | None = start  # what to evaluate next; None: finished
        self.x = start

    def run(self) -> None:
        try:
            options = {"maxiter": self.maxiter}
            result = minimize(
                self._ask,
                self.start_point,
                jac=True,
                method="L-BFGS-B",
                bounds=self.bounds,
                options=options,
            )
            self.x = result.x
        except _StoppedError:
            pass
        finally:
            self.point = None
            self.inbox.put(self)

    def _ask(self, x: Vector) -> tuple[float, Vector]:
        self.point = x.copy()
        self.inbox.put(self)
        answer = self.answer.get()
        if answer is None:
            raise _StoppedError
        return answer


def minimise(
    evaluate: Evaluate,
    x: Tensor,
    lower: Tensor,
    upper: Tensor,
    maxiter: int,
    observe: Observe | None = None,
) -> Optimum:
    """Minimise every row of a batch within bounds, by SciPy's defaults.

    m = 10, ftol 2.2e-9, gtol 1e-5, maxls 20, in double precision; the function and its gradient
    are float32. (Byrd, Lu, Nocedal and Zhu 1995; version 3.0 of the Fortran code.)

    Args:
        evaluate: called with the points of the rows that still run, and their numbers.
        x: start, (B, ...), within the bounds.
        lower: broadcast against one row of x.
        upper: the same.
        maxiter: most iterations of a row; an iteration takes one evaluation or a few.
        observe: called after each shared evaluation, with the last points of all rows.

    Returns:
        Optimum; a row stops for itself. A row whose function is not finite keeps its best iterate.
    """
    inbox: Queue[_Problem] = Queue()
    low, high = (_flat(bound.expand_as(x[0])) for bound in (lower, upper))
    problems = [
        _Problem(row, _flat(start), Bounds(low, high), maxiter, inbox)
        for row, start in enumerate(x)
    ]
    record = Record(x, observe)
    for problem in problems:
        problem.start()
    running = problems
    try:
        while running := _next_round(inbox, running):
            points = torch.stack([_like(problem.point, x[0]) for problem in running])
            rows = [problem.row for problem in running]
            _answer(running, record, points, evaluate(points, rows))
    finally:
        for problem in problems:
            problem.answer.put(None)
        for problem in problems:
            problem.join()
    return record.optimum(torch.stack([_like(problem.x, x[0]) for problem in problems]))


def _next_round(inbox: Queue[_Problem], running: list[_Problem]) -> list[_Problem]:
    """Wait until every running problem has asked or finished; those that have asked."""
    heard = [inbox.get() for _ in running]
    return sorted((p for p in heard if p.point is not None), key=lambda problem: problem.row)


def _answer(problems: list[_Problem], record: Record, points: Tensor, found: Evaluation) -> None:
    sizes = found.gradient.flatten(1).abs().amax(1).tolist()
    told = (found.activation, found.loss, found.worth)
    activations, losses, worths = (each.tolist() for each in told)
    gradients = found.gradient.cpu().double().flatten(1).numpy()
    rows = [problem.row for problem in problems]
    record.add(rows, points, activations, losses, sizes, worths)
    for problem, loss, gradient in zip(problems, losses, gradients, strict=True):
        problem.answer.put((loss, gradient))


def _flat(x: Tensor) -> Vector:
    return x.detach().cpu().double().numpy().ravel()


def _like(point: Vector | None, row: Tensor) -> Tensor:
    return torch.from_numpy(np.asarray(point)).to(row.dtype).to(row.device).reshape(row.shape)
