"""`gd`: gradient descent with momentum on pixels, as the original does it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from cnnpref.geometry import grown
from cnnpref.methods.descent import Descent, DescentOptions, descended, schedule
from cnnpref.methods.options import (
    NUMBER,
    ONE_START,
    PERCENT,
    SWITCH,
    Choice,
    Colour,
    Number,
    Whole,
    option,
)

if TYPE_CHECKING:
    from torch import Tensor

    from cnnpref.ascent.task import Scene, Task
    from cnnpref.ascent.variables import Variables
    from cnnpref.optim.descent import Step, Steps
    from cnnpref.optim.problem import Optimum

# meanings that the options of a schedule, or of a clip, share
_DECAY = "share of the image that is lost per iteration"
_JITTER = "shift the image by up to so many pixels per iteration"
_BLUR = "Gaussian blur per iteration, its standard deviation in pixels"
_P_NORM = "penalty on the p-norm of the image"
_TV = "penalty on the total variation of the image"
_EXTREME = "clip this share of the extreme values, every so many iterations"
_NORM = "zero this share of the pixels, those of the smallest norm, every so many iterations"
_CONTRIBUTION = "the same by the norm of pixel × gradient"
_CONTRAST = (
    "after each iteration, give the values of the image, in the space of the net's input, this mean"
    " and this standard deviation; with `fixed_sd: 0` neither"
)
_SIGMA, _EVERY = Number(0, 1000), Whole(1)


@dataclass(frozen=True, kw_only=True)
class GdOptions(DescentOptions):
    """Gradient descent on pixels; a schedule runs linearly from `_start` to `_end`."""

    decay_start: float = option(0.1, NUMBER, _DECAY)
    decay_end: float = option(0.1, NUMBER, _DECAY)
    grad_normalize: bool = option(
        True, SWITCH, "divide a unit's gradient by its mean absolute value"
    )
    image_jitter: bool = option(True, SWITCH, _JITTER)
    jitter_size: int = option(32, Whole(0), _JITTER)
    image_blur: bool = option(True, SWITCH, _BLUR)
    sigma_start: float = option(2.0, _SIGMA, _BLUR)
    sigma_end: float = option(0.5, _SIGMA, _BLUR)
    clip_small_norm: bool = option(False, SWITCH, _NORM)
    clip_small_norm_every: int = option(4, _EVERY, _NORM)
    n_pct_start: float = option(5.0, PERCENT, _NORM)
    n_pct_end: float = option(5.0, PERCENT, _NORM)
    clip_small_contribution: bool = option(False, SWITCH, _CONTRIBUTION)
    clip_small_contribution_every: int = option(4, _EVERY, _CONTRIBUTION)
    c_pct_start: float = option(5.0, PERCENT, _CONTRIBUTION)
    c_pct_end: float = option(5.0, PERCENT, _CONTRIBUTION)
    clip_extreme: bool = option(False, SWITCH, _EXTREME)
    clip_extreme_every: int = option(4, _EVERY, _EXTREME)
    e_pct_start: float = option(1.0, PERCENT, _EXTREME)
    e_pct_end: float = option(1.0, PERCENT, _EXTREME)
    use_p_norm_reg: bool = option(False, SWITCH, _P_NORM)
    p: float = option(3.0, NUMBER, _P_NORM)
    lamda_start: float = option(0.5, NUMBER, _P_NORM)
    lamda_end: float = option(0.5, NUMBER, _P_NORM)
    use_TV_norm_reg: bool = option(False, SWITCH, _TV)  # noqa: N815  (the original's name)
    TVbeta: float = option(2.0, Number(1e-6, 1e6), _TV)  # it is divided by
    TVlamda_start: float = option(0.5, NUMBER, _TV)
    TVlamda_end: float = option(0.5, NUMBER, _TV)
    initial_image: tuple[float, float, float] | None = option(
        None, Colour(), "a colour `[red, green, blue]` to start from; `null` is uniform noise"
    )
    unshift_momentum: bool = option(
        False,
        SWITCH,
        "move all of the momentum back with the image after its jitter; the original leaves the"
        " newest gradient behind",
    )
    canvas: str = option(
        "image",
        Choice(("image", "field")),
        "`image`, as the original; or `field`: only what the unit sees is optimised, and a margin"
        " as wide as the jitter. Jitter, blur and clips are for that part alone, and the rest is"
        " left blank: other pictures, mostly better ones, and much sooner for low layers",
    )
    importance: bool = option(
        False,
        SWITCH,
        "keep how much each pixel mattered, as `spectral` and `maco` do; the image is the same",
        neutral=False,
    )
    gradient_blur: float = option(
        0.0,
        _SIGMA,
        "Gaussian blur of the gradient, its standard deviation in pixels; 0 is none",
        neutral=0.0,
    )
    fixed_mean: float = option(0.0, NUMBER, _CONTRAST, neutral=0.0)
    fixed_sd: float = option(0.0, Number(0, 1e30), _CONTRAST, neutral=0.0)
    fixed_norm: float = option(
        0.0,
        Number(0, 1e30),
        "after each iteration, and after the contrast, scale the image to this L2 norm, in the"
        " space of the net's input; 0 is any norm",
        neutral=0.0,
    )


_LOWER: dict[str, Any] = {
    **{"lr_start": 1.0, "lr_end": 1.0, "momentum_start": 0.001, "momentum_end": 0.001},
    **{"decay_start": 0.001, "decay_end": 0.001, "sigma_start": 2.5, "sigma_end": 0.5},
    **{"jitter_size": 4, "clip_small_norm": True, "clip_small_norm_every": 1},
    **{"clip_small_contribution": True, "clip_small_contribution_every": 1},
}
# Most exciting images as neuroscience makes them (Walker et al. 2019; sinzlab/mei), in numbers the
# baseline of Pierzchlewicz et al. 2023: plain steps, a blurred gradient, a fixed norm.
_MEI: dict[str, Any] = {
    **{"iter_n": 1000, "lr_start": 10.0, "lr_end": 10.0, "momentum_start": 0.0},
    **{"momentum_end": 0.0, "decay_start": 0.0, "decay_end": 0.0, "grad_normalize": False},
    **{"image_jitter": False, "image_blur": False, "gradient_blur": 1.0, "fixed_norm": 25.0},
}


class Gd(Descent[GdOptions]):
    """The original's `prefer_img_gd`."""

    name = "gd"
    options = GdOptions
    presets = {  # noqa: RUF012
        "lower": _LOWER,
        "higher": {**_LOWER, "jitter_size": 32},
        "reference": ONE_START,
        "mei": _MEI,
    }
    shows_update = True

    def initial(self, options: GdOptions) -> tuple[float, float, float] | None:
        return options.initial_image

    def variables(self, options: GdOptions, scene: Scene) -> Variables:
        if options.canvas == "image":  # jitter, blur and clips are for the image as a whole
            return scene.pixels()
        margin = options.jitter_size if options.image_jitter else 0
        return scene.pixels(grown(scene.box, margin, scene.size), blank=True)

    def optimise(self, options: GdOptions, task: Task) -> Optimum:
        from cnnpref.ascent import gd_steps

        # the original draws in this order: noise for the scale, the start, the jitter
        scales = task.noise_norms() / 2
        x = task.start()
        steps = _steps(options, task, scales.to(x))
        evaluate = gd_steps.with_blurred_gradient(task.evaluate, options.gradient_blur, x.device)
        if not options.importance:
            return descended(options, evaluate, task, x, steps, options.grad_normalize)
        sensed = gd_steps.Sensed(evaluate, steps.unshift, len(x))
        found = descended(options, sensed, task, x, steps, options.grad_normalize)
        canvas = task.variables.canvas  # type: ignore[attr-defined]
        task.importance = sensed.sensitivity.importance(canvas, task.net.image_size)
        return found


def _steps(o: GdOptions, task: Task, scales: Tensor) -> Steps:
    """An iteration of the original; what the options switch off is left out.

    Args:
        o: the options.
        task: the rows whose random numbers shift the images.
        scales: half the norm of a noise image, by which penalties are scaled, (B,).
    """
    from cnnpref.ascent import gd_steps
    from cnnpref.optim.descent import Steps

    moved: dict[str, Any] = {}
    if o.image_jitter:
        moved = gd_steps.jitter(o.jitter_size, o.iter_n, task.draws, scales.device)
    decay = gd_steps.decay(schedule(o, "decay"))
    blur = gd_steps.blur(schedule(o, "sigma"), scales.device)
    finish = [decay, blur] if o.image_blur else [decay]
    finish += [gd_steps.fixed_contrast(o.fixed_mean, o.fixed_sd)] if o.fixed_sd else []
    finish += [gd_steps.fixed_norm(o.fixed_norm)] if o.fixed_norm else []
    return Steps(
        **moved,
        penalties=_penalties(o, scales),
        edits=_clips(o),
        finish=finish,
        unshift_newest=o.unshift_momentum,
    )


def _penalties(o: GdOptions, scales: Tensor) -> list[Step]:
    from cnnpref.ascent import gd_steps, pixel_ops

    penalty = partial(gd_steps.penalty, scales=scales, normalise=o.grad_normalize)
    p_norm = penalty(partial(pixel_ops.p_norm_gradient, p=o.p), schedule(o, "lamda"))
    variation = penalty(partial(pixel_ops.tv_gradient, beta=o.TVbeta), schedule(o, "TVlamda"))
    wanted = ((o.use_p_norm_reg, p_norm), (o.use_TV_norm_reg, variation))
    return [step for use, step in wanted if use]


def _clips(o: GdOptions) -> list[Callable[[Tensor, Tensor, int], Tensor]]:
    from cnnpref.ascent import gd_steps, pixel_ops

    def extreme(x: Tensor, _g: Tensor, pct: float) -> Tensor:
        return pixel_ops.clip_extreme(x, pct)

    def small_norm(x: Tensor, _g: Tensor, pct: float) -> Tensor:
        return pixel_ops.clip_small(x, x, pct)

    def small_contribution(x: Tensor, g: Tensor, pct: float) -> Tensor:
        return pixel_ops.clip_small(x, x * g, pct)

    wanted = (
        (o.clip_extreme, o.clip_extreme_every, "e_pct", extreme),
        (o.clip_small_norm, o.clip_small_norm_every, "n_pct", small_norm),
        (o.clip_small_contribution, o.clip_small_contribution_every, "c_pct", small_contribution),
    )
    return [gd_steps.every(n, schedule(o, pct), clip) for use, n, pct, clip in wanted if use]


GD = Gd()
