"""`dgn_gd`: gradient descent with momentum on the features that a generator makes an image of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from cnnpref.methods.descent import Descent, DescentOptions, descended, schedule
from cnnpref.methods.options import NUMBER, ONE_START, option

if TYPE_CHECKING:
    from cnnpref.ascent.task import Scene, Task
    from cnnpref.ascent.variables import Variables
    from cnnpref.optim.problem import Optimum

_DECAY = "share of the features that is lost per iteration"


@dataclass(frozen=True, kw_only=True)
class DgnGdOptions(DescentOptions):
    """Gradient descent on features; a schedule runs linearly from `_start` to `_end`."""

    decay_start: float = option(0.01, NUMBER, _DECAY)
    decay_end: float = option(0.01, NUMBER, _DECAY)


class DgnGd(Descent[DgnGdOptions]):
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

    def variables(self, options: DgnGdOptions, scene: Scene) -> Variables:
        return scene.features()

    def optimise(self, options: DgnGdOptions, task: Task) -> Optimum:
        from cnnpref.ascent import gd_steps
        from cnnpref.optim.descent import Steps

        decay = gd_steps.decay(schedule(options, "decay"))
        bounds = gd_steps.within(task.variables.lower, task.variables.upper)
        steps = Steps(finish=[decay, bounds])
        return descended(options, task.evaluate, task, task.start(), steps)


DGN_GD = DgnGd()
