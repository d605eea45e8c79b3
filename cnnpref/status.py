"""How the optimisation of a unit went."""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class Status(StrEnum):
    """How the optimisation of one unit went.

    Files of a newer version may hold a word that is not listed here: `Status(word)` is then a
    status that failed, and its text is that word.
    """

    OK = "ok"
    ZERO_GRADIENT = "zero-gradient"  # the start gave no gradient: nothing moved
    STUCK = "stuck"  # a gradient, but the image never moved, or the activation never rose
    DIVERGED = "diverged"  # not finite any more: stopped at the last finite iterate

    @property
    def failed(self) -> bool:
        """Whether there is no image that shows what the unit prefers."""
        return self not in _FINE

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str):
            return None
        unknown = str.__new__(cls, value)
        unknown._name_ = unknown._value_ = value
        return unknown


_FINE = frozenset({Status.OK})
