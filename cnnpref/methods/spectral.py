"""`spectral`: Adam on Fourier coefficients whose power is capped, band by band, as in nature."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from cnnpref.geometry import Box, grown
from cnnpref.methods.options import NUMBER, ByField, Number, option
from cnnpref.methods.viewed import Viewed, ViewedOptions, natural

if TYPE_CHECKING:
    from torch import Tensor

    from cnnpref.ascent.fourier import FourierImages
    from cnnpref.ascent.task import Scene, Task
    from cnnpref.ascent.variables import Variables
    from cnnpref.optim.problem import Evaluation, Optimum

_CAP = (
    "most root mean power of a band, in units of the natural spectrum; of a band of a frequency ten"
    " times as high by the factor `fine` of that"
)
_SIZE = "a view shows the picture between 1 / near and 1 / far times as large"
_WEIGHTS = "noise on the net's weights, relative to each, from the first to the last step"


def _by_field(low: float, high: float, meaning: str) -> Any:
    return option(None, ByField(Number(low, high)), meaning)


@dataclass(frozen=True, kw_only=True)
class SpectralOptions(ViewedOptions):
    """Adam on Fourier coefficients; None is what suits the size of a unit's receptive field."""

    lr: float = option(0.05, NUMBER, "step length, in units of the natural spectrum")
    cap: float | None = _by_field(1e-6, 1e6, _CAP)
    fine: float | None = _by_field(1e-6, 1e6, _CAP)
    total: float = option(0.0, Number(0, 1e6), "the same of all bands together; 0 is no limit")
    alpha: float | None = _by_field(
        0, 10, "amplitude falls as 1 / frequency^alpha, without images of your own"
    )
    chroma: float | None = _by_field(
        0, 10, "how colourful, 1 as photographs are; colours of your own images stay as they are"
    )
    coarse: float | None = _by_field(
        0, 0.75, "highest frequency at the first step, in cycles per pixel; 0: all"
    )
    noise: float | None = _by_field(0, 10, "of the pixels of a view, on the scale 0..1")
    shift: float | None = _by_field(0, 1, "of a view, as a share of what is seen")
    rotation: float | None = _by_field(0, 180, "of a view, in degrees")
    near: float | None = _by_field(0.1, 10, _SIZE)
    far: float | None = _by_field(0.1, 10, _SIZE)
    weight_noise_start: float | None = _by_field(0, 10, _WEIGHTS)
    weight_noise_end: float | None = _by_field(0, 10, _WEIGHTS)
    dropout: float = option(
        0.0, Number(0, 0.9), "share of the input channels of the units' layer left out in a step"
    )


class Suited(NamedTuple):
    """The options that depend on what a unit sees, as numbers."""

    cap: float
    fine: float
    alpha: float
    chroma: float
    coarse: float
    noise: float
    shift: float
    rotation: float
    near: float
    far: float
    weight_noise_start: float
    weight_noise_end: float


# By the side of a field, in pixels: found on SqueezeNet with photographs as the measure. Between
# them the logarithm of the side decides.
_BY_SIDE = {
    11: Suited(0.7, 1.0, 1.2, 1.0, 0.0, 0.02, 0.09, 3.0, 0.97, 1.03, 0.0, 0.0),
    59: Suited(0.45, 0.45, 1.3, 0.7, 0.15, 0.02, 0.02, 3.0, 0.91, 1.1, 0.0, 0.0),
    155: Suited(0.42, 1.0, 1.5, 0.7, 0.08, 0.05, 0.07, 8.0, 0.91, 1.1, 0.1, 0.1),
}


def suited(options: SpectralOptions, box: Box) -> Suited:
    """The options for units that see that part of the image: as given, or by its size."""
    side = max(box[2] - box[0], box[3] - box[1], 1)
    sides, rows = np.log(list(_BY_SIDE)), np.array(list(_BY_SIDE.values()))
    usual = [float(np.interp(np.log(side), sides, column)) for column in rows.T]
    given = [getattr(options, name) for name in Suited._fields]
    return Suited(*(u if g is None else g for u, g in zip(usual, given, strict=True)))


_CAP_EVERY, _CAP_LAST = 2, 3  # steps
_HIGHEST, _OPEN = 0.75, 0.5  # cycles per pixel that the gate ends at, and when
_STAGES = 5  # of weight noise
_CONSTANT, _LAST = 0.6, 0.02  # share of the steps at full length; what the length comes down to


class Spectral(Viewed[SpectralOptions]):
    """Images within the spectrum of natural ones, seen in random views under noise on the net."""

    name = "spectral"
    options = SpectralOptions
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "lower": {},
        "higher": {
            **{"steps": 256, "cap": 1.0, "fine": 1.0, "total": 0.5, "alpha": 1.25, "chroma": 0.5},
            **{"coarse": 0.0, "noise": 0.05, "shift": 0.07, "rotation": 10.0},
            **{"near": 0.8, "far": 1.8, "objective": "margin"},
            **{"weight_noise_start": 0.1, "weight_noise_end": 0.15, "dropout": 0.3},
        },
    }

    def variables(self, options: SpectralOptions, scene: Scene) -> Variables:
        from cnnpref.ascent.canvas import Colours
        from cnnpref.ascent.fourier import FourierImages

        chosen = suited(options, scene.box)
        margin = math.ceil(_shift(chosen, scene.box)) + 2
        canvas = grown(scene.box, margin, scene.size)
        photographs = Colours.of_photographs(scene.net.input_shape[0]).with_chroma(chosen.chroma)
        spectrum, colours = natural(scene, canvas, chosen.alpha, photographs)
        return FourierImages(scene.net, canvas, scene.box, spectrum, colours)

    def optimise(self, options: SpectralOptions, task: Task) -> Optimum:
        from cnnpref.optim.adam import minimise

        run = _Run(options, task)
        start = run.viewing.start
        found = minimise(run.evaluate, start, run.rate, options.steps, run.cap, task.watch)
        task.importance = run.viewing.importance()
        return found


def _shift(chosen: Suited, box: Box) -> float:
    """Of views, in pixels."""
    return chosen.shift * max(box[2] - box[0], box[3] - box[1])


class _Run:
    """The steps of a batch."""

    images: FourierImages

    def __init__(self, options: SpectralOptions, task: Task) -> None:
        from cnnpref.ascent.spectrum import Limits
        from cnnpref.ascent.viewing import Viewing
        from cnnpref.ascent.views import Views
        from cnnpref.ascent.weight_noise import WeightNoise

        self.options = options
        self.images = task.variables  # type: ignore[assignment]
        self.chosen = chosen = suited(options, self.images.box)
        shift = _shift(chosen, self.images.box)
        views = Views(chosen.near, chosen.far, chosen.rotation, shift, chosen.noise)
        self.limits = Limits(chosen.cap, chosen.fine, options.total)
        self.viewing = Viewing(task, options.objective, lambda _t: views, options.steps)
        noisy = chosen.weight_noise_start or chosen.weight_noise_end or options.dropout
        layer = task.objective.layer
        self.weights = (
            WeightNoise(task.net, layer, options.steps, options.dropout) if noisy else None
        )

    def evaluate(self, x: Tensor, t: int) -> Evaluation:
        """A view of the images, and what the net makes of it."""
        noise = self.weights.at(t, self.weight_noise(t)) if self.weights else nullcontext()
        with noise:
            return self.viewing.evaluate(x, t, self.gate(t))

    def gate(self, t: int) -> Tensor | None:
        """From coarse to fine."""
        first = self.chosen.coarse
        if not first:
            return None
        share = min(1.0, t / (_OPEN * self.options.steps))
        return self.images.spectrum.gate(first + (_HIGHEST - first) * share)

    def weight_noise(self, t: int) -> float:
        """Of a step, in stages."""
        stage = min(t * _STAGES // self.options.steps, _STAGES - 1) / (_STAGES - 1)
        first, last = self.chosen.weight_noise_start, self.chosen.weight_noise_end
        return first + (last - first) * stage

    def rate(self, t: int) -> float:
        """Constant, then a cosine."""
        share = max(0.0, (t / self.options.steps - _CONSTANT) / (1 - _CONSTANT))
        return self.options.lr * (_LAST + (1 - _LAST) * (1 + math.cos(math.pi * share)) / 2)

    def cap(self, x: Tensor, t: int) -> Tensor:
        """The power of every band."""
        if (t + 1) % _CAP_EVERY and t < self.options.steps - _CAP_LAST:
            return x
        return self.images.spectrum.cap(x, self.limits)


SPECTRAL = Spectral()
