"""Values that change linearly over the iterations."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Linear:
    """`start + t * (end - start) / steps` for t = 0 .. steps - 1; `end` itself is never reached."""

    start: float
    end: float
    steps: int

    def __call__(self, t: int) -> float:
        return self.start + t * (self.end - self.start) / self.steps
