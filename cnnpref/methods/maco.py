"""`maco`: NAdam on the phases of a spectrum whose magnitudes are those of natural images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from cnnpref.methods.options import NUMBER, SHARE, Number, Whole, changed, option
from cnnpref.methods.viewed import Viewed, ViewedOptions, natural
from cnnpref.optim.schedule import Linear

if TYPE_CHECKING:
    from cnnpref.ascent.task import Scene, Task
    from cnnpref.ascent.variables import Variables
    from cnnpref.ascent.views import Crops
    from cnnpref.geometry import Box
    from cnnpref.optim.problem import Optimum

_CROP = (
    "side of a crop, as a share of the canvas's, from the first to the last step, and by how much"
    " more or less it may be"
)


@dataclass(frozen=True, kw_only=True)
class MacoOptions(ViewedOptions):
    """NAdam on phases."""

    steps: int = changed(ViewedOptions, "steps", 160)
    objective: str = changed(ViewedOptions, "objective", "activation")
    lr: float = option(1.0, NUMBER, "step length, in radians")
    alpha: float = option(
        1.6,
        Number(0, 10),
        "amplitude falls as 1 / frequency^alpha, where no images of yours tell it",
    )
    canvas: float = option(
        1.41, Number(1, 4), "side of what varies, over that of what the unit sees"
    )
    crops: int = option(1, Whole(1, 1000), "crops that the net sees in a step")
    crop_start: float = option(0.7, SHARE, _CROP)
    crop_end: float = option(0.7, SHARE, _CROP)
    crop_spread: float = option(0.1, SHARE, _CROP)
    wander: float = option(
        0.15, SHARE, "of a crop's middle around the canvas's, as a share of the canvas's side"
    )
    noise: float = option(0.08, Number(0, 10), "of the pixels of a crop, on the scale 0..1")


_UNIFORM = math.sqrt(13 / 12)  # the authors add uniform noise as wide as the normal one's deviation


class Maco(Viewed[MacoOptions]):
    """Magnitude-constrained optimisation (Fel et al. 2023)."""

    name = "maco"
    options = MacoOptions
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "lower": {"wander": 0.05},
        "higher": {},
        "reference": {  # of the authors' code, xplique
            **{"steps": 256, "canvas": 2.26, "crops": 32, "crop_start": 0.5, "crop_end": 0.05},
            **{"crop_spread": 0.087},  # as much as a standard deviation of 0.05
        },
    }
    bytes_per_variable = 128

    def passes(self, options: MacoOptions) -> int:
        return options.crops

    def variables(self, options: MacoOptions, scene: Scene) -> Variables:
        from cnnpref.ascent.phase import PhaseImages, maco_colours

        canvas = _around(scene.box, options.canvas)
        colours = maco_colours(scene.net.input_shape[0])
        spectrum, colours = natural(scene, canvas, options.alpha, colours)
        return PhaseImages(scene.net, canvas, scene.box, spectrum, colours)

    def optimise(self, options: MacoOptions, task: Task) -> Optimum:
        from cnnpref.ascent.viewing import Viewing
        from cnnpref.optim.nadam import minimise

        look = partial(_crops, options)
        viewing = Viewing(task, options.objective, look, options.steps, options.crops)
        found = minimise(
            viewing.evaluate,
            viewing.start,
            lambda _t: options.lr,
            options.steps,
            lambda x, _t: x,
            task.watch,
        )
        task.importance = viewing.importance()
        return found


def _around(box: Box, times: float) -> Box:
    """A box with the same middle, whose sides are so many times as long."""
    rows, columns = (round((times - 1) / 2 * side) for side in (box[2] - box[0], box[3] - box[1]))
    return box[0] - rows, box[1] - columns, box[2] + rows, box[3] + columns


def _crops(options: MacoOptions, t: int) -> Crops:
    """How the images are looked at in a step."""
    from cnnpref.ascent.views import Crops

    extent = Linear(options.crop_start, options.crop_end, options.steps)(t)
    return Crops(extent, options.crop_spread, options.wander, _UNIFORM * options.noise)


MACO = Maco()
