"""Sums that do not depend on the order of what is added, to the last bit."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
Limbs = npt.NDArray[np.int64]

_WIDTH = 40  # bits of a limb: 2^23 numbers can be added before it is full
_EXPONENTS = tuple(range(128, -153, -_WIDTH))  # a limb counts multiples of 2 to this
_LAST = _EXPONENTS[-1]
LIMBS = len(_EXPONENTS)
LARGEST = 2.0**160  # of what can be added


def limbs(rows: Doubles) -> Limbs:
    """The sum of rows (N, ...) as whole numbers, (limbs, ...); sums of sums are added.

    Each row counts to a multiple of 2^-152, towards 0; that is the only rounding.
    """
    rest, found = rows, np.empty((LIMBS, *rows.shape[1:]), np.int64)
    for limb, exponent in zip(found, _EXPONENTS, strict=True):
        part = np.trunc(rest * 2.0**-exponent)
        limb[...] = part.astype(np.int64).sum(0)
        rest = rest - part * 2.0**exponent
    return found


def no_limbs(*shape: int) -> Limbs:
    """The sum of nothing."""
    return np.zeros((LIMBS, *shape), np.int64)


def fractions(found: Limbs) -> list[Fraction]:
    """The sums that limbs (limbs, U) stand for."""
    columns = found.T.tolist()
    pairs = [zip(column, _EXPONENTS, strict=True) for column in columns]
    return [Fraction(sum(n << (e - _LAST) for n, e in pair), 1 << -_LAST) for pair in pairs]


def mean_and_sd(sums: Limbs, squares: Limbs, count: int) -> tuple[Doubles, Doubles]:
    """Mean and standard deviation (the number as the divisor) of units, (U,) each.

    Args:
        sums: of the numbers, (limbs, U).
        squares: of their squares.
        count: how many numbers each unit has.
    """
    pairs = [
        (s / count, q / count) for s, q in zip(fractions(sums), fractions(squares), strict=True)
    ]
    mean = np.array([float(m) for m, _ in pairs])
    variance = np.array([float(max(q - m * m, Fraction(0))) for m, q in pairs])
    return mean, np.sqrt(variance)
