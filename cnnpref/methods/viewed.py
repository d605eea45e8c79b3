"""What the methods share that show a net random views of images on a canvas."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, TypeVar

from cnnpref.methods.base import Method
from cnnpref.methods.options import COUNT, PRECISION, PRECISION_MEANING, Choice, Options, option

if TYPE_CHECKING:
    from cnnpref.ascent.canvas import Colours
    from cnnpref.ascent.spectrum import Spectrum
    from cnnpref.ascent.task import Scene
    from cnnpref.geometry import Box


@dataclass(frozen=True, kw_only=True)
class ViewedOptions(Options):
    """What they all have."""

    steps: int = option(128, COUNT, "steps")
    objective: str = option(
        "lead",
        Choice(("activation", "lead", "margin")),
        "`activation`; `lead`: above the mean of the layer's channels there; `margin`: above a soft"
        " maximum of the others",
    )
    precision: str = option("float32", PRECISION, PRECISION_MEANING, neutral="float32")


def natural(scene: Scene, canvas: Box, alpha: float, built_in: Colours) -> tuple[Spectrum, Colours]:
    """The spectrum and the colours of a canvas: of the user's images, or those that are built in.

    Args:
        scene: may have the statistics of the user's images.
        canvas: in pixels of the image.
        alpha: of the spectrum that is built in.
        built_in: colours.
    """
    from cnnpref.ascent.spectrum import Spectrum

    size = canvas[2] - canvas[0], canvas[3] - canvas[1]
    if not scene.statistics:
        return Spectrum(size, alpha, scene.net.device), built_in
    amplitude = scene.statistics.amplitude(size)
    return Spectrum(size, alpha, scene.net.device, amplitude), scene.statistics.colours


V = TypeVar("V", bound=ViewedOptions)


class Viewed(Method[V]):
    """Steps on images of a canvas, see `ascent.viewing`; their pictures are shown as they are."""

    uses_statistics: ClassVar[bool] = True
    shows_update: ClassVar[bool] = True
    bytes_per_variable: ClassVar[int] = 64
    operations_per_variable: ClassVar[int] = 1500

    def iterations(self, options: V) -> int:
        return options.steps

    def precision(self, options: V) -> str:
        return options.precision

    def shortened(self, options: V, iterations: int) -> V:
        return replace(options, steps=min(iterations, options.steps), retries=0)
