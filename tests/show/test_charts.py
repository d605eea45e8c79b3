"""Numbers and charts of the gallery."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from cnnpref.show.site.charts import TRACE, Mark, histogram, traces
from cnnpref.show.site.numbers import duration, figure, ordinal, times
from cnnpref.show.site.references import Histogram


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0127, "0.0127"),
        (9.996, "10.0"),
        (99.96, "100"),
        (6604.4, "6\u202f604"),
        (-35.44, "−35.4"),
        (0, "0"),
        (2e9, "2e9"),
        (3.25e-7, "3.25e−7"),
        (float("nan"), "–"),
        (float("-inf"), "−∞"),
    ],
)
def test_figures_have_three_digits(value: float, text: str) -> None:
    assert figure(value) == text


def test_other_numbers() -> None:
    assert [ordinal(n) for n in (1, 2, 3, 11, 22, 113)] == [
        "1st",
        "2nd",
        "3rd",
        "11th",
        "22nd",
        "113th",
    ]
    assert [times(x) for x in (7.68, 154.2, -0.5)] == ["×7.7", "×154", "−×0.5"]
    assert [duration(s) for s in (0.31, 42, 600, 9000)] == ["0.3 s", "42 s", "10 min", "2 h"]


def points(text: str) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.array([point.split(",") for point in text.split()], float).T
    return x, y


def test_traces_share_a_scale_and_keep_their_best() -> None:
    rising, spike = np.linspace(0, 10, 500), np.full(40, 1.0)
    spike[17] = 20
    drawn = traces({"a": rising.astype("f4"), "b": spike.astype("f4")}, 5.0)
    (xa, ya), (_, yb) = (points(drawn.traces[name].points) for name in "ab")
    assert (np.diff(xa) > 0).all()
    assert (np.diff(ya) < 0).all()
    assert yb.min() < ya.min()  # higher up
    assert 0 <= min(ya.min(), yb.min()) <= max(ya.max(), yb.max()) <= TRACE[1]
    b = drawn.traces["b"]
    assert (b.best, b.best_step, b.count) == (20, 18, 40)
    assert 18 in b.steps
    assert drawn.reference is not None
    assert ya.min() < drawn.reference < ya.max()


@pytest.mark.parametrize("trace", [[], [np.nan], [np.inf]])
def test_traces_of_nothing_finite_are_not_drawn(trace: list[float]) -> None:
    assert traces({"a": np.array(trace, np.float32)}, None).traces == {}


@pytest.mark.parametrize("trace", [[4], [4, 4], [np.inf, 1, -np.inf, 2, np.nan], [-5, -3]])
def test_odd_traces_are_drawn_as_far_as_they_can_be(trace: list[float]) -> None:
    drawn = traces({"a": np.array(trace, np.float32)}, None).traces["a"]
    assert len(drawn.points.split()) == np.isfinite(trace).sum()
    assert "n" not in drawn.points


def test_a_histogram_is_linear_near_0_and_logarithmic_beyond() -> None:
    data = Histogram(np.array([5, 900, 0, 1]), np.array([-4.0, -1, 1, 20, 30]), 2.0)
    chart = histogram(data, {"gd": 90.0, "lbfgs": 92.0, "maco": 1e6, "dgn": 40.0})
    assert len(chart.bars) == 3
    assert all(bar.height >= 2 for bar in chart.bars)
    assert [tick.label for tick in chart.ticks if tick.label == "0"] == ["0"]
    x = {tick.label: tick.x for tick in chart.ticks}
    ticks = [tick.x for tick in chart.ticks]
    assert ticks == sorted(ticks)
    assert min(np.diff(ticks)) > 66
    assert x["0"] < chart.best.x
    far, near, least, _ = sorted(chart.marks, key=lambda mark: -mark.x)
    assert far.label == "maco 1\u202f000\u202f000"
    assert near.y != least.y  # their labels would overlap
    assert not any(
        overlap(one, other) for one, other in combinations([*chart.marks, chart.best], 2)
    )
    assert all(bar.y > max(mark.y for mark in chart.marks) for bar in chart.bars)
    assert 0 <= least.x < far.x <= 640


def overlap(one: Mark, other: Mark) -> bool:
    """Whether two labels do, in the large type of a phone, or a label and the line of the other."""
    (a, b), (c, d) = (
        (m.x, m.x + 11 * len(m.label)) if m.anchor == "start" else (m.x - 11 * len(m.label), m.x)
        for m in (one, other)
    )
    if abs(one.y - other.y) < 20:
        return a < d and c < b
    upper, (left, right) = (one, (c, d)) if one.y < other.y else (other, (a, b))
    return left < upper.x < right  # its line goes through the lower label


def test_a_histogram_of_one_value_is_drawn() -> None:
    data = Histogram(np.array([7]), np.array([3.0, 3.0]), 0.0)
    assert len(histogram(data, {}).bars) == 1
