"""NAdam (Dozat 2016): Adam with Nesterov's momentum, which looks a step ahead."""

from __future__ import annotations

from functools import cache, partial
from math import prod

from cnnpref.optim import adam

_DECAY = (
    0.96,
    0.004,
)  # of the momentum's schedule: mu_t = 0.9 (1 - 0.96^(0.004 t) / 2), t = 1, 2 ...


@cache
def _momentum(t: int) -> float:
    """Of step 0, 1, ..."""
    base, pace = _DECAY
    return adam.FIRST * (1 - 0.5 * base ** ((t + 1) * pace))


def nadam(t: int, rate: float) -> tuple[float, float]:
    """The shares of a step, see `adam.Shares`."""
    product = prod(_momentum(step) for step in range(t + 1))
    ahead = _momentum(t + 1)
    return rate * (1 - _momentum(t)) / (1 - product), rate * ahead / (1 - product * ahead)


minimise = partial(adam.minimise, shares=nadam)
