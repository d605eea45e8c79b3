"""What the methods share that show a net random views of images on a canvas."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, TypeVar

from cnnpref.methods.base import Method
from cnnpref.methods.options import Choice, Options, Whole, option


@dataclass(frozen=True, kw_only=True)
class ViewedOptions(Options):
    """What they all have."""

    steps: int = option(128, Whole(1), "steps")
    objective: str = option(
        "lead",
        Choice(("activation", "lead", "margin")),
        "`activation`; `lead`: above the mean of the layer's channels there; `margin`: above a soft"
        " maximum of the others",
    )


V = TypeVar("V", bound=ViewedOptions)


class Viewed(Method[V]):
    """Steps on images of a canvas, see `ascent.viewing`; their pictures are shown as they are."""

    shows_update: ClassVar[bool] = True
    bytes_per_variable: ClassVar[int] = 64
    operations_per_variable: ClassVar[int] = 1500

    def iterations(self, options: V) -> int:
        return options.steps

    def shortened(self, options: V, iterations: int) -> V:
        return replace(options, steps=min(iterations, options.steps), retries=0)
