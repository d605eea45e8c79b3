"""Sums and counts that do not depend on order or grouping."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cnnpref.statistics.exact import fractions, limbs, mean_and_sd
from cnnpref.statistics.sketch import ERROR, Distribution, Sketch

NUMBERS = st.floats(-(2.0**40), 2.0**40, width=32)


@given(st.lists(NUMBERS, min_size=1, max_size=40))
def test_sums_are_exact_in_any_order(numbers: list[float]) -> None:
    x = np.array(numbers, np.float64)[:, None]
    parts = np.array_split(np.random.default_rng(len(numbers)).permutation(x), 3)
    total = sum(limbs(part) for part in parts)
    (found,) = map(float, fractions(np.asarray(total)))
    assert math.isclose(found, math.fsum(numbers), rel_tol=1e-15, abs_tol=1e-40)


def test_deviations_of_large_numbers_lose_nothing() -> None:
    x = 1e6 + np.arange(5.0)[:, None]
    mean, sd = mean_and_sd(limbs(x), limbs(x**2), 5)
    assert (mean[0], sd[0]) == (1e6 + 2, np.sqrt(2))


@given(
    arrays(np.float32, (2, 60), elements=st.floats(-1e6, 1e6, width=32)),
    st.sampled_from([0.0, 0.01, 0.5, 0.99, 1.0]),
)
def test_histograms_and_quantiles(values: np.ndarray, q: float) -> None:
    sketch = Sketch(2)
    sketch.add(0, values[None, :1])
    sketch.add(1, values[1:].reshape(3, 1, 20))
    bins, counts = sketch.compact()
    found = Distribution(bins, counts.astype(np.uint64), values.min(1), values.max(1))
    histogram, edges = found.histogram()
    for row, of_row, ends in zip(values, histogram, edges, strict=True):
        np.testing.assert_array_equal(of_row, np.histogram(row, ends)[0])
    wanted = np.sort(values, axis=1)[:, int(q * 59)]
    assert (np.abs(found.quantile(q) - wanted) <= np.abs(wanted) * ERROR + 2.0**-31).all()
