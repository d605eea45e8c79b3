"""What gradient descent with momentum has on pixels and on features."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from cnnpref.methods.base import Method
from cnnpref.methods.options import (
    COUNT,
    NUMBER,
    PRECISION,
    PRECISION_MEANING,
    Options,
    Whole,
    option,
)
from cnnpref.optim.schedule import Linear

if TYPE_CHECKING:
    from torch import Tensor

    from cnnpref.ascent.task import Task
    from cnnpref.optim.descent import Steps
    from cnnpref.optim.problem import Evaluate, Optimum

_RATE = "step length, in the scale of what varies: pixels of 0..255, or features"
_MOMENTUM = "share of the last step that is kept"


@dataclass(frozen=True, kw_only=True)
class DescentOptions(Options):
    """A schedule runs linearly from `_start` to `_end`."""

    iter_n: int = option(200, COUNT, "iterations")
    lr_start: float = option(2.0, NUMBER, _RATE)
    lr_end: float = option(1e-10, NUMBER, _RATE)
    momentum_start: float = option(0.9, NUMBER, _MOMENTUM)
    momentum_end: float = option(0.9, NUMBER, _MOMENTUM)
    patience: int = option(
        0, Whole(0), "stop a unit whose activation has not risen for so many iterations; 0 is never"
    )
    precision: str = option("float32", PRECISION, PRECISION_MEANING)


D = TypeVar("D", bound=DescentOptions)


class Descent(Method[D]):
    """Gradient descent with momentum on whatever varies."""

    is_stretched: ClassVar[bool] = True
    bytes_per_variable: ClassVar[int] = 64
    operations_per_variable: ClassVar[int] = 1500

    def iterations(self, options: D) -> int:
        return options.iter_n

    def shortened(self, options: D, iterations: int) -> D:
        return replace(options, iter_n=min(iterations, options.iter_n), retries=0)

    def precision(self, options: D) -> str:
        return options.precision


def schedule(options: Any, name: str) -> Linear:
    """The option `<name>_start` to `<name>_end`, linear over `iter_n` iterations."""
    ends = getattr(options, f"{name}_start"), getattr(options, f"{name}_end")
    return Linear(*ends, options.iter_n)


def descended(
    options: DescentOptions,
    evaluate: Evaluate,
    task: Task,
    x: Tensor,
    steps: Steps,
    normalise: bool = True,
) -> Optimum:
    """Where the rows come to from x, see `optim.descent`."""
    from cnnpref.optim.descent import descend

    return descend(
        evaluate,
        x,
        schedule(options, "lr"),
        schedule(options, "momentum"),
        steps,
        normalise,
        options.patience,
        task.watch,
    )
