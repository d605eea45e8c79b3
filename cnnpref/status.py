"""How the optimisation of a unit went."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """How the optimisation of one unit went."""

    OK = "ok"
    ZERO_GRADIENT = "zero-gradient"  # the start gave no gradient: nothing moved
    DIVERGED = "diverged"  # not finite any more: stopped at the last finite iterate
