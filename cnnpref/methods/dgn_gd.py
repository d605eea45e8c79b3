"""`dgn_gd`: gradient descent with momentum on the features that a generator makes an image of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from cnnpref.methods.base import Method, schedule
from cnnpref.methods.options import NUMBER, ONE_START, Choice, Options, Whole, option

if TYPE_CHECKING:
    from cnnpref.ascent.task import Scene, Task
    from cnnpref.ascent.variables import Variables
    from cnnpref.optim.problem import Optimum

_RATE = "step length, in the scale of the features"
_MOMENTUM = "share of the last step that is kept"
_DECAY = "share of the features that is lost per iteration"


@dataclass(frozen=True, kw_only=True)
class DgnGdOptions(Options):
    """Gradient descent on features; a schedule runs linearly from `_start` to `_end`."""

    iter_n: int = option(200, Whole(1), "iterations")
    lr_start: float = option(2.0, NUMBER, _RATE)
    lr_end: float = option(1e-10, NUMBER, _RATE)
    momentum_start: float = option(0.9, NUMBER, _MOMENTUM)
    momentum_end: float = option(0.9, NUMBER, _MOMENTUM)
    decay_start: float = option(0.01, NUMBER, _DECAY)
    decay_end: float = option(0.01, NUMBER, _DECAY)
    patience: int = option(
        0, Whole(0), "stop a unit whose activation has not risen for so many iterations; 0 is never"
    )
    precision: str = option(
        "float32",
        Choice(("float32", "tf32")),
        "`float32`; or `tf32`: GPUs that can, round the factors of products to 10 bits",
    )


class DgnGd(Method[DgnGdOptions]):
    """The original's `prefer_img_dgn_gd`."""

    name = "dgn_gd"
    options = DgnGdOptions
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "lower": {
            **{"lr_start": 0.1, "lr_end": 0.01, "momentum_start": 0.1, "momentum_end": 0.1},
            **{"decay_start": 0.001, "decay_end": 0.001},
        },
        "higher": {"feature_weight": 10.0},
        "reference": ONE_START,
    }
    needs_generator = True
    is_stretched = True
    bytes_per_variable = 64
    operations_per_variable = 1500

    def iterations(self, options: DgnGdOptions) -> int:
        return options.iter_n

    def shortened(self, options: DgnGdOptions, iterations: int) -> DgnGdOptions:
        return replace(options, iter_n=min(iterations, options.iter_n), retries=0)

    def precision(self, options: DgnGdOptions) -> str:
        return options.precision

    def variables(self, options: DgnGdOptions, scene: Scene) -> Variables:
        return scene.features()

    def optimise(self, options: DgnGdOptions, task: Task) -> Optimum:
        from cnnpref.ascent import gd_steps
        from cnnpref.optim.descent import Steps, descend

        decay = gd_steps.decay(schedule(options, "decay"))
        bounds = gd_steps.within(task.variables.lower, task.variables.upper)
        return descend(
            task.evaluate,
            task.start(),
            schedule(options, "lr"),
            schedule(options, "momentum"),
            Steps(finish=[decay, bounds]),
            patience=options.patience,
            observe=task.watch,
        )


DGN_GD = DgnGd()
