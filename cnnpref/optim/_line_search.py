"""The line search of Moré and Thuente (1994), with the constants that L-BFGS-B gives to it."""

from __future__ import annotations

import math
from typing import NamedTuple

_DECREASE, _CURVATURE = 1e-3, 0.9  # the slopes of the Wolfe conditions, relative to the first
_NARROW = 0.1  # relative width at which an interval is not searched further
_SHRINK = 0.66  # an interval shrinks at least by this factor in two trials
_NEAREST, _FARTHEST = 1.1, 4.0  # extrapolation, relative to the way from the best step to the last


class _Trial(NamedTuple):
    """A step along the direction, the function there, and its slope along the direction."""

    step: float
    value: float
    slope: float

    def less(self, slope: float) -> _Trial:
        """The same of the function less a line of that slope."""
        return _Trial(self.step, self.value - self.step * slope, self.slope - slope)


class LineSearch:
    """Looks along a direction for a lower value with a flatter slope, or takes the longest step.

    Args:
        value: of the function at the start.
        slope: along the direction at the start; negative.
        step: the first to try.

    Attributes:
        step: where to evaluate next.
        slope: as given.
        trials: how many values it has been told.
        longest: the longest step allowed; to be set before `accepts`, unless `suffices`.
    """

    def __init__(self, value: float, slope: float, step: float) -> None:
        self.step, self.slope, self.trials = step, slope, 0
        self.longest: float | None = None
        self._value = value
        self._best = self._other = _Trial(0.0, value, slope)  # a minimum lies between them
        self._low, self._high = 0.0, (1 + _FARTHEST) * step  # limits of the next step
        self._widths: tuple[float, float] | None = None  # of the last two intervals
        self._bracketed, self._descending = False, True

    def suffices(self, value: float, slope: float) -> bool:
        """Whether the function at `step` has fallen and flattened enough to end the search."""
        allowed = self._value + self.step * _DECREASE * self.slope
        return value <= allowed and abs(slope) <= -_CURVATURE * self.slope

    def accepts(self, value: float, slope: float) -> bool:
        """Whether `step`, where the function is as told, ends the search; else `step` is the next.

        Args:
            value: of the function, finite.
            slope: along the direction, finite.
        """
        self.trials += 1
        if self.suffices(value, slope):
            return True
        trial, line = _Trial(self.step, value, slope), _DECREASE * self.slope
        allowed = self._value + trial.step * line
        farthest = trial.step == self.longest and value <= allowed and slope <= line
        if farthest or (self._bracketed and self._is_exhausted(trial.step)):
            return True
        self._descending &= value > allowed or slope < 0
        relative = self._descending and allowed < value <= self._best.value
        self._advance(trial, line if relative else 0.0)
        return False

    def _is_exhausted(self, step: float) -> bool:
        inside = self._low < step < self._high
        return not inside or self._high - self._low <= _NARROW * self._high

    def _advance(self, trial: _Trial, line: float) -> None:
        """Choose the next step and the interval around it, by the function less a line."""
        best, other, last = (t.less(line) for t in (self._best, self._other, trial))
        turned = last.slope * math.copysign(1, best.slope) < 0
        step = _next_step(best, other if self._bracketed else None, last, self._low, self._high)
        self._bracketed |= last.value > best.value or turned
        if last.value > best.value:
            self._other = trial
        else:
            self._other = self._best if turned else self._other
            self._best = trial
        self._choose(step)

    def _choose(self, step: float) -> None:
        """The next step, if it is within the interval, which halves where it shrinks slowly."""
        assert self.longest is not None
        start, end = self._best.step, self._other.step
        if self._bracketed:
            before, last = self._widths or (2 * self.longest, self.longest)
            if abs(end - start) >= _SHRINK * before:
                step = start + (end - start) / 2
            self._widths = last, abs(end - start)
            self._low, self._high = min(start, end), max(start, end)
        else:
            self._low, self._high = (step + k * (step - start) for k in (_NEAREST, _FARTHEST))
        self.step = min(max(step, 0.0), self.longest)
        if self._bracketed and self._is_exhausted(self.step):
            self.step = start


def _next_step(best: _Trial, other: _Trial | None, last: _Trial, low: float, high: float) -> float:
    """A step near the minimum of cubics and parabolas through the trials.

    Args:
        best: the lowest so far.
        other: the other end of the interval that holds a minimum, once there is one.
        last: the newest.
        low: the least step to extrapolate to.
        high: the largest.
    """
    ahead, opposed = last.step > best.step, last.slope * math.copysign(1, best.slope) < 0
    if last.value > best.value:
        (cubic, _), parabola = _cubic(best, last), _parabola(best, last)
        nearer = abs(cubic - best.step) < abs(parabola - best.step)
        return cubic if nearer else cubic + (parabola - cubic) / 2
    if not opposed and abs(last.slope) >= abs(best.slope):
        return _cubic(last, other)[0] if other else high if ahead else low
    cubic, beyond = _cubic(last, best)
    if not opposed and not beyond:
        cubic = high if ahead else low
    secant = last.step + last.slope / (last.slope - best.slope) * (best.step - last.step)
    near, far = sorted((cubic, secant), key=lambda step: abs(step - last.step))
    if opposed:
        return far
    if other is None:
        return min(max(far, low), high)
    limit = last.step + _SHRINK * (other.step - last.step)
    return min(limit, near) if ahead else max(limit, near)


def _cubic(start: _Trial, end: _Trial) -> tuple[float, bool]:
    """The minimum of the cubic with the values and slopes of both; whether it lies beyond start."""
    way = end.step - start.step
    bend = 3 * (start.value - end.value) / way + start.slope + end.slope
    scale = max(abs(bend), abs(start.slope), abs(end.slope))
    inner = (bend / scale) ** 2 - (start.slope / scale) * (end.slope / scale)
    root = math.copysign(scale * math.sqrt(max(0.0, inner)), way)
    share = (root - start.slope + bend) / (root - start.slope + root + end.slope)
    return start.step + share * way, share < 0 and root != 0


def _parabola(start: _Trial, end: _Trial) -> float:
    """The minimum of the parabola with the values of both and the slope of the first."""
    way = end.step - start.step
    fall = (start.value - end.value) / way + start.slope
    return start.step + start.slope / fall / 2 * way
