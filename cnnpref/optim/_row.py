"""One row of a batch: what it does next, by the few numbers that are known of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from cnnpref.optim._line_search import LineSearch

_EPSILON = torch.finfo(torch.float64).eps
_LEAST_FALL = 1e7 * _EPSILON  # of the function, relative: SciPy's ftol
_LEAST_STEEPNESS = 1e-5  # of the projected gradient: SciPy's gtol
_TRIALS = 20  # of a line search
_FARTHEST = 1e10  # step of a line search


@dataclass
class Row:
    """From line search to line search, until the row stops.

    Attributes:
        number: its place in the whole batch.
        maxiter: most iterations.
        bounded: some variable has a bound.
        boxed: every variable has two.
        value: of the function at x.
        iterations: so far.
        pairs: in its history.
        search: the line search under way.
        turns: it needs a new direction.
        forgets: its history is to be dropped.
        moves: the point evaluated last becomes x.
        curvature: s'y of this move, to be remembered; 0 is none.
        done: it has stopped.
    """

    number: int
    maxiter: int
    bounded: bool
    boxed: bool
    value: float = 0.0
    iterations: int = 0
    pairs: int = 0
    search: LineSearch = field(init=False)
    turns: bool = True
    forgets: bool = False
    moves: bool = False
    curvature: float = 0.0
    done: bool = False

    def begin(self, finite: bool, value: float, steepness: float) -> None:
        """The first evaluation: function and steepness of the projected gradient."""
        self.value = value
        self.done = not finite or steepness <= _LEAST_STEEPNESS

    def turn(self, slope: float, length: float) -> None:
        """Take a direction, if it leads downhill.

        Args:
            slope: along it.
            length: of it; needed unless every variable has two bounds.
        """
        self.turns = False
        if not slope < 0:
            self._start_anew()
            return
        first, most = self.iterations == 0, 1.0 if self.bounded else _FARTHEST
        step = min(1 / length, most) if first and not self.boxed else 1.0
        self.search = LineSearch(self.value, slope, step)
        self.search.longest = most if first else None

    def needs_room(self, finite: bool, value: float, slope: float, _steepness: float) -> bool:
        """Whether `judge` must know the room."""
        return finite and self.search.longest is None and not self.search.suffices(value, slope)

    def judge(
        self, finite: bool, value: float, slope: float, steepness: float, room: float
    ) -> None:
        """An evaluation at `search.step`: go there, try another step, or stop.

        Args:
            finite: whether all has been, so far.
            value: of the function.
            slope: along the direction.
            steepness: of the projected gradient.
            room: the longest step within the bounds, where that is needed.
        """
        if self.search.longest is None:
            self.search.longest = min(room, _FARTHEST)
        step = self.search.step
        self.moves = finite and self.search.accepts(value, slope)
        if self.moves:
            self._learn(step, slope)
            self.iterations += 1
            fall, size = self.value - value, max(abs(self.value), abs(value), 1.0)
            level = steepness <= _LEAST_STEEPNESS or fall <= _LEAST_FALL * size
            self.done = level or self.iterations >= self.maxiter
            self.value, self.turns = value, True
        elif not finite:
            self.done = True
        elif self.search.trials >= _TRIALS:
            self._start_anew()

    def _learn(self, step: float, slope: float) -> None:
        rise, least = slope - self.search.slope, -_EPSILON * self.search.slope
        self.curvature = step * rise if rise > least else 0.0
        self.pairs += rise > least

    def _start_anew(self) -> None:
        """Without what it remembers; where that is nothing, there is no way down."""
        self.done = not self.pairs
        self.turns = self.forgets = not self.done
        self.pairs = 0
