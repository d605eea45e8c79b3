"""L-BFGS-B for a batch of independent problems, on their device.

The algorithm of Byrd, Lu, Nocedal and Zhu (1995) in version 3.0 of its authors' code, which is
SciPy's: it takes the same steps, up to rounding, while the function gives the same values. Every
row has a line search, a history and a stopping of its own. The vectors of all rows are worked on
together; the host sees a few numbers of each.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cnnpref.optim._box import Box
from cnnpref.optim._course import Course
from cnnpref.optim._direction import model_minimum
from cnnpref.optim._history import History
from cnnpref.optim._places import close_gaps
from cnnpref.optim._record import Record
from cnnpref.optim.problem import Evaluate, Observe
from cnnpref.solution import Optimum

_WIDTH = 16  # the history wants a multiple of it


def minimise(
    evaluate: Evaluate,
    x: Tensor,
    lower: Tensor,
    upper: Tensor,
    maxiter: int,
    observe: Observe | None = None,
) -> Optimum:
    """Minimise every row of a batch within bounds.

    A row stops when an iteration lowers its function by no more than 2.2e-9, relative to the larger
    of its size and 1; when no entry of its projected gradient exceeds 1e-5; when no step along the
    steepest descent lowers it; or after `maxiter` iterations.

    Args:
        evaluate: called with the points of the rows that still run, and their numbers.
        x: start, (B, ...); moved into the bounds.
        lower: broadcast against one row of x.
        upper: the same.
        maxiter: most iterations of a row; an iteration takes one evaluation or a few.
        observe: called after each evaluation, with the last points of the rows that have stopped.

    Returns:
        Optimum; a row whose function or gradient is not finite stops, and keeps its best iterate.
    """
    record = Record(x, observe)
    return record.optimum(_Solver(evaluate, x, lower, upper, maxiter, record).run())


class _Solver:
    """The rows that still run; their places change as others stop."""

    def __init__(
        self,
        evaluate: Evaluate,
        x: Tensor,
        lower: Tensor,
        upper: Tensor,
        maxiter: int,
        record: Record,
    ) -> None:
        self._evaluate, self._record, self._last = evaluate, record, x.clone()
        self._box = box = Box(*(_wide(bound.expand_as(x[:1]))[0] for bound in (lower, upper)))
        self._x = self._target = box.clip(_wide(x))  # (B, N), as all of them
        self._gradient = self._way = torch.zeros_like(self._x)
        self._history = History(*self._x.shape, x.device)
        bounded, boxed = box.is_bounded, box.is_closed
        self._courses = [Course(row, maxiter, bounded, boxed) for row in range(len(x))]

    def run(self) -> Tensor:
        """Until every row has stopped; their last iterates, (B, ...)."""
        self._begin()
        while self._courses:
            while self._places("turns"):
                self._turn()
            if self._courses:
                self._advance()
        return self._last

    def _begin(self) -> None:
        self._gradient, told = self._look(self._x)
        for course, (finite, value, _, steepness) in zip(self._courses, told, strict=True):
            course.begin(finite, value, steepness)
        self._settle()

    def _turn(self) -> None:
        """New directions where they are due; the other rows find again what they have."""
        turning, learnt = self._places("turns"), self._places("curvature")
        state = (self._history, self._box, self._x, self._gradient)
        self._target, slopes = model_minimum(*state, learnt)
        self._way = self._target - self._x
        longest, lengths = self._box.longest(self._x, self._way), self._way.norm(dim=1)
        told = torch.stack([slopes, longest, lengths], 1).tolist()
        for place in turning:
            self._courses[place].turn(*told[place])
        self._settle()

    def _advance(self) -> None:
        """Evaluate one more step of every row."""
        points = self._trials()
        gradient, told = self._look(points)
        for course, seen in zip(self._courses, told, strict=True):
            course.judge(*seen)
        learnt, moved = self._places("curvature"), self._places("moves")
        if learnt:
            curvatures = [self._courses[place].curvature for place in learnt]
            self._history.append(learnt, points - self._x, gradient - self._gradient, curvatures)
        self._x = _put(self._x, moved, points)
        self._gradient = _put(self._gradient, moved, gradient)
        self._settle()

    def _trials(self) -> Tensor:
        """The points to evaluate; where the step is whole, the target to the last digit."""
        steps = [course.search.step for course in self._courses]
        partial = [place for place, step in enumerate(steps) if step != 1]
        shares = self._x.new_tensor(steps)[partial, None]
        points = self._target.clone() if partial else self._target
        points[partial] = self._box.clip(self._x[partial] + shares * self._way[partial])
        return points

    def _look(self, points: Tensor) -> tuple[Tensor, list[tuple[bool, float, float, float]]]:
        """Gradient (B, N), and of each row: finite?, value, slope along its way, steepness."""
        rows, x = [course.row for course in self._courses], self._narrow(points)
        found = self._evaluate(x, rows)
        gradient = _wide(found.gradient)
        numbers = [
            found.activation,
            gradient.abs().amax(1),
            found.loss,
            torch.linalg.vecdot(gradient, self._way),
            self._box.steepness(points, gradient),
        ]
        activations, sizes, *judged = torch.stack([n.double() for n in numbers]).tolist()
        finite = self._record.add(rows, x, activations, judged[0], sizes)
        return gradient, list(zip(finite, *judged, strict=True))

    def _settle(self) -> None:
        """Drop the histories and the rows that have been given up."""
        forgetting, done = self._places("forgets"), self._places("done")
        self._history.forget(forgetting)
        for place in forgetting:
            self._courses[place].forgets = False
        if not done:
            return
        for place in done:
            self._last[self._courses[place].row] = self._narrow(self._x[place : place + 1])[0]
        for name in ("_x", "_gradient", "_target", "_way"):
            setattr(self, name, close_gaps(getattr(self, name), done))
        self._history.close_gaps(done)
        self._courses = close_gaps(self._courses, done)

    def _places(self, state: str) -> list[int]:
        """The rows of which something is the case."""
        return [place for place, course in enumerate(self._courses) if getattr(course, state)]

    def _narrow(self, points: Tensor) -> Tensor:
        """(B, N) as the variables that were given, (B, ...)."""
        shape = self._last.shape[1:]
        return points[:, : shape.numel()].to(self._last.dtype).reshape(-1, *shape)


def _wide(x: Tensor) -> Tensor:
    """A copy as (B, N) in double precision, filled up with zeros."""
    size = x[0].numel()
    wide = x.new_zeros(len(x), -(-size // _WIDTH) * _WIDTH, dtype=torch.float64)
    wide[:, :size] = x.flatten(1)
    return wide


def _put(old: Tensor, rows: list[int], new: Tensor) -> Tensor:
    """`old` with some rows of `new`."""
    if len(rows) == len(old):
        return new
    old[rows] = new[rows]
    return old
