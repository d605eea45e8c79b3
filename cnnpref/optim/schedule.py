"""Values that change linearly over the iterations."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Linear:
    """`start + t * (end - start) / iterations` for t = 0, 1, ...: `end` itself is never reached."""

    start: float
    end: float
    iterations: int

    def __call__(self, t: int) -> float:
        return self.start + t * (self.end - self.start) / self.iterations
