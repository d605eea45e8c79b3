"""The geometry of the charts of a unit's page, in the units of their SVG."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cnnpref.input_space import Array
from cnnpref.show.site.numbers import figure, rounded
from cnnpref.show.site.references import Histogram

TRACE = (320, 96)  # width and height
POINTS = 160  # of a trace that are drawn, at most
_ROOM = 6  # around a trace, for its mark

Place = Callable[[float], float]
"""Of a value, along an axis."""


@dataclass(frozen=True)
class Trace:
    """The activation over the evaluations of one picture.

    Attributes:
        points: of a polyline.
        steps: the evaluation of each point, from 1.
        values: of each point.
        count: evaluations.
        best: the value farthest in the right direction; and where: its evaluation, and its place.
    """

    points: str
    steps: list[int]
    values: list[float | None]
    count: int
    best: float
    best_step: int
    mark: tuple[float, float]


@dataclass(frozen=True)
class Traces:
    """Traces on one scale.

    Attributes:
        traces: by name, those that have a finite value.
        reference: the height of the dashed line, if there is one.
        zero: the height of the base line.
    """

    traces: Mapping[str, Trace]
    reference: float | None
    zero: float


def traces(activations: Mapping[str, Array], reference: float | None, sign: int = 1) -> Traces:
    """Draw traces of activations on one scale.

    Args:
        activations: by name.
        reference: where the line of the best reference is, if there is one.
        sign: -1 where less is better.
    """
    found = {name: a.astype(np.float64) for name, a in activations.items() if np.isfinite(a).any()}
    if not found:
        return Traces({}, None, 0)
    ends = [float(f(a[np.isfinite(a)])) for a in found.values() for f in (np.min, np.max)]
    ends += [] if reference is None else [reference]
    low, high = min(0.0, *ends), max(ends)
    room = TRACE[1] - 2 * _ROOM

    def height(value: float) -> float:
        return round(TRACE[1] - _ROOM - room * (value - low) / (high - low or 1), 1)

    drawn = {name: _trace(a, height, sign) for name, a in found.items()}
    return Traces(drawn, None if reference is None else height(reference), height(0))


def _trace(activation: npt.NDArray[np.float64], height: Place, sign: int) -> Trace:
    finite = np.flatnonzero(np.isfinite(activation))
    best = int(finite[np.argmax(sign * activation[finite])])
    chosen = finite[np.linspace(0, len(finite) - 1, min(POINTS, len(finite))).astype(int)]
    chosen = np.union1d(chosen, [best])
    width = (TRACE[0] - 2 * _ROOM) / max(1, len(activation) - 1)
    places = [(round(_ROOM + width * i, 1), height(float(activation[i]))) for i in chosen.tolist()]
    return Trace(
        " ".join(f"{x:g},{y:g}" for x, y in places),
        [i + 1 for i in chosen.tolist()],
        [rounded(float(activation[i])) for i in chosen.tolist()],
        len(activation),
        float(activation[best]),
        best + 1,
        places[chosen.tolist().index(best)],
    )


_WIDTH, _TALL = 640, 90  # of the histogram, and of its highest bar
_TEXT, _LINE = 11, 20  # width of a letter and height of a line, as large as they are on a phone


class Bar(NamedTuple):
    """Of a histogram."""

    x: float
    y: float
    width: float
    height: float


class Tick(NamedTuple):
    """Of an axis."""

    x: float
    label: str


class Mark(NamedTuple):
    """A labelled line at a value; labels that are close stand above each other."""

    x: float
    y: int
    label: str
    anchor: str


@dataclass(frozen=True)
class HistogramChart:
    """A histogram on an axis that is linear near 0 and logarithmic beyond.

    Attributes:
        base: the height of the axis, below all labels and bars.
    """

    base: int
    bars: Sequence[Bar]
    ticks: Sequence[Tick]
    marks: Sequence[Mark]
    best: Mark


def histogram(data: Histogram, marks: Mapping[str, float]) -> HistogramChart:
    """Draw a histogram and, on the same axis, a mark for each value.

    Args:
        data: of the references.
        marks: values by name.
    """
    filled = np.flatnonzero(data.counts)
    low, high = data.edges[filled[0]], data.edges[filled[-1] + 1]
    values = [float(low), float(high), *marks.values()]
    scale = data.scale or 1.0
    ends = np.arcsinh(np.array([min(values), max(values)]) / scale)
    span = (ends[1] - ends[0]) or 1.0

    def place(value: float) -> float:
        u = (np.arcsinh(value / scale) - ends[0]) / span
        return round(float(12 + u * (_WIDTH - 24)), 1)

    labels = {f"{name} {figure(value)}": value for name, value in marks.items()}
    best = f"best image {figure(float(high))}"
    stacked = _stacked({**labels, best: float(high)}, place)
    base = 10 + max(mark.y for mark in stacked.values()) + _TALL
    most = data.counts.max()
    bars = []
    for i in filled.tolist():
        left, right = place(data.edges[i]), place(data.edges[i + 1])
        tall = max(2.0, round(_TALL * float(data.counts[i] / most), 1))
        bars.append(Bar(left, base - tall, round(max(1.0, right - left - 0.6), 1), tall))
    made = [stacked[label] for label in labels]
    return HistogramChart(base, bars, _ticks(values, place), made, stacked[best])


def _stacked(marks: Mapping[str, float], place: Place) -> dict[str, Mark]:
    """Labels from right to left, each below those that it or its mark would meet."""
    lines: list[float] = []  # where the leftmost label of each line begins
    found = {}
    for text, value in sorted(marks.items(), key=lambda item: -item[1]):
        x = place(value)
        width = _TEXT * len(text)
        right = max(x, width + 2)
        line = 1 + max((i for i, left in enumerate(lines) if left <= right + 8), default=-1)
        lines[line:] = [right - width, *lines[line + 1 :]]
        anchor = "start" if x < width + 2 else "end"
        found[text] = Mark(x, 14 + _LINE * line, text, anchor)
    return found


def _ticks(values: Sequence[float], place: Place) -> list[Tick]:
    """Round values, as many as have room."""
    low, high = min(values), max(values)
    size = max(abs(low), abs(high)) or 1.0
    powers = [10.0**e for e in range(-3, 1)]
    top = 10.0 ** np.floor(np.log10(size))
    rounds = sorted({m * top * p for m in (1, 2, 5) for p in powers}, reverse=True)
    wanted = [0.0, *(sign * v for v in rounds for sign in (1, -1))]
    found: list[Tick] = []
    for value in wanted:
        x = place(value) if low <= value <= high else None
        if x is not None and all(abs(x - tick.x) > 6 * _TEXT for tick in found):
            found.append(Tick(x, f"{value:g}".replace("-", "−")))
    return sorted(found)
