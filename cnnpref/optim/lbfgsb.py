"""L-BFGS-B for a batch of independent problems, on their device.

The algorithm of Byrd, Lu, Nocedal and Zhu (1995) in version 3.0 of its authors' code, which is
SciPy's: it takes the same steps, up to rounding, while the function gives the same values. Every
row has a line search, a history and a stopping of its own. The vectors of all rows are worked on
together; the host sees a few numbers of each.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cnnpref.optim._box import Box, Point
from cnnpref.optim._direction import model_minimum
from cnnpref.optim._history import History
from cnnpref.optim._ragged import Room, close_gaps, sent
from cnnpref.optim._record import Record
from cnnpref.optim._row import Row
from cnnpref.optim.problem import Evaluate, Observe, Optimum

_WIDTH = 16  # the history wants a multiple of it


def minimise(
    evaluate: Evaluate,
    x: Tensor,
    lower: Tensor,
    upper: Tensor,
    maxiter: int,
    observe: Observe | None = None,
    looks: bool | None = None,
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
        looks: whether the host may look at values as often as that spares work. If not, it does so
            twice in an iteration, whatever the batch; seldom once more. None: on a CPU alone, for a
            look stalls a GPU.

    Returns:
        Optimum; a row whose function or gradient is not finite stops, and keeps its best iterate.
    """
    record, room = Record(x, observe), None if looks or (looks is None and x.is_cpu) else Room()
    return record.optimum(_Solver(evaluate, x, lower, upper, maxiter, record, room).run())


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
        room: Room | None,
    ) -> None:
        self._evaluate, self._record, self._last = evaluate, record, x.clone()
        self._room = room
        self._box = box = Box(*(_wide(bound.expand_as(x[:1]))[0] for bound in (lower, upper)))
        start = box.clip(_wide(x))
        self._history = History(len(x), start.shape[1], x.device)
        bounded, self._boxed = box.is_bounded, box.is_closed
        self._rows = [Row(number, maxiter, bounded, self._boxed) for number in range(len(x))]
        self._point, told, _ = self._look(start)
        self._target, self._way = start, torch.zeros_like(start)
        for row, (finite, value, _, steepness) in zip(self._rows, told, strict=True):
            row.begin(finite, value, steepness)
        self._settle()

    def run(self) -> Tensor:
        """Until every row has stopped; their last iterates, (B, ...)."""
        while self._rows:
            while self._places("turns"):
                self._turn()
            if self._rows:
                self._advance()
        return self._last

    def _turn(self) -> None:
        """New directions where they are due; the other rows find again what they have."""
        slopes, lengths = self._aim()
        for row, slope, length in zip(self._rows, slopes, lengths, strict=True):
            if row.turns:
                row.turn(slope, length)
        self._settle()

    def _aim(self) -> tuple[list[float], list[float]]:
        """Set a target for each row; the slopes and lengths of the ways there."""
        freedom = self._history.freedom
        aim = model_minimum(self._history, self._box, self._point, self._room)
        self._target, self._way = aim.target, aim.way
        lengths = aim.slope if self._boxed else aim.way.norm(dim=1)  # of no use in a closed box
        numbers = torch.stack([aim.slope, lengths])
        took = numbers[:0] if aim.took is None else aim.took
        slopes, told, *counts = torch.cat([numbers, took]).tolist()
        if self._room and not self._room.suffices(*counts):
            self._history.restore(freedom)
            return self._aim()
        return slopes, told

    def _advance(self) -> None:
        """Evaluate one more step of every row."""
        point, told, rooms = self._look(self._trials(), self._way)
        needed = any(c.needs_room(*seen) for c, seen in zip(self._rows, told, strict=True))
        if needed and not rooms:
            rooms = self._point.longest(self._way).tolist()
        for row, seen, room in zip(self._rows, told, rooms or [math.inf] * len(told), strict=True):
            row.judge(*seen, room)
        moved = self._places("moves")
        learnt = [place for place in moved if self._rows[place].curvature]
        if learnt:
            s, y = point.x - self._point.x, self._point.descent - point.descent
            curvatures = [self._rows[place].curvature for place in learnt]
            self._history.append(learnt, s, y, curvatures)
        self._point = _put(self._point, moved, point)
        self._settle()

    def _trials(self) -> Tensor:
        """The points to evaluate; where the step is whole, the target to the last digit."""
        steps = {place: row.search.step for place, row in enumerate(self._rows)}
        partial = {place: step for place, step in steps.items() if step != 1}
        if not partial:
            return self._target
        device, points = self._way.device, self._target.clone()
        at, shares = sent([*partial], device), sent([*partial.values()], device, torch.float64)
        points[at] = self._box.clip(self._point.x[at] + shares[:, None] * self._way[at])
        return points

    def _look(
        self, points: Tensor, way: Tensor | None = None
    ) -> tuple[Point, list[tuple[bool, float, float, float]], list[float]]:
        """Evaluate (B, N); of each row: finite?, value, slope along its way, steepness.

        Also how far each could go along its way, where the host shall look only once. Without a
        way, the slope is that along the steepest descent.
        """
        rows, x = [row.number for row in self._rows], self._narrow(points)
        found = self._evaluate(x, rows)
        point = self._box.point(points, _wide(found.gradient).neg_())
        slopes = -torch.linalg.vecdot(point.descent, point.descent if way is None else way)
        numbers = [found.activation, found.worth, found.loss, slopes, point.steepness()]
        if self._room and way is not None:
            numbers.append(self._point.longest(way))
        told = torch.stack([each.double() for each in numbers]).tolist()
        activations, worths, losses, slopes_told, steepness = told[:5]
        finite = self._record.add(rows, x, activations, losses, slopes_told, worths)
        judged = list(zip(finite, losses, slopes_told, steepness, strict=True))
        return point, judged, told[5] if len(told) > 5 else []

    def _settle(self) -> None:
        """Drop the histories and the rows that have been given up."""
        forgetting, done = self._places("forgets"), self._places("done")
        self._history.forget(forgetting)
        for place in forgetting:
            self._rows[place].forgets = False
        if not done:
            return
        for place in done:
            self._last[self._rows[place].number] = self._narrow(self._point.x[place : place + 1])[0]
        self._point = Point(*(close_gaps(part, done) for part in self._point))
        self._target, self._way = close_gaps(self._target, done), close_gaps(self._way, done)
        self._history.close_gaps(done)
        self._rows = close_gaps(self._rows, done)

    def _places(self, state: str) -> list[int]:
        """The rows of which something is the case."""
        return [place for place, row in enumerate(self._rows) if getattr(row, state)]

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


def _put(old: Point, rows: list[int], new: Point) -> Point:
    """`old` with some rows of `new`."""
    if len(rows) == len(old.x):
        return new
    at = sent(rows, old.x.device)
    for kept, part in zip(old, new, strict=True):
        kept[at] = part[at]
    return old
