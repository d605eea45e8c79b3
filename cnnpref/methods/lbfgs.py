"""`lbfgs`: L-BFGS-B on pixels, each within 0..255."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from cnnpref.errors import UserError
from cnnpref.methods.base import Method
from cnnpref.methods.options import COUNT, ONE_START, Choice, Colour, Options, option

if TYPE_CHECKING:
    from collections.abc import Callable

    from cnnpref.ascent.task import Scene, Task
    from cnnpref.ascent.variables import Variables
    from cnnpref.optim.problem import Optimum

_LINE_SEARCH = 1.5  # evaluations per iteration (measured)


@dataclass(frozen=True, kw_only=True)
class QuasiNewtonOptions(Options):
    """What L-BFGS-B has on pixels and on features."""

    maxiter: int = option(500, COUNT, "most iterations")
    solver: str = option(
        "batched",
        Choice(("batched", "scipy")),
        "`batched`: all units of a batch at once, on their device; `scipy`: one by one. Both take"
        " the same steps, up to rounding",
    )
    precision: str = option(
        "float32",
        Choice(("float32", "tf32")),
        "of the net's products: `float32`; `tf32`: GPUs that can, round the factors to 10 bits."
        " That is done sooner, but line searches end earlier, and units do not get quite as high",
        neutral="float32",
    )


@dataclass(frozen=True, kw_only=True)
class LbfgsOptions(QuasiNewtonOptions):
    """L-BFGS-B on pixels."""

    initial_image: tuple[float, float, float] | None = option(
        None, Colour(), "a colour `[red, green, blue]` to start from; `null` is uniform noise"
    )


Q = TypeVar("Q", bound=QuasiNewtonOptions)


class QuasiNewton(Method[Q]):
    """L-BFGS-B on whatever varies."""

    is_stretched: ClassVar[bool] = True
    bytes_per_variable: ClassVar[int] = 440  # most of it the history, in double precision
    operations_per_variable: ClassVar[int] = 40_000

    def iterations(self, options: Q) -> int:
        return options.maxiter

    def evaluations(self, options: Q) -> int:
        return round(_LINE_SEARCH * options.maxiter)

    def length(self, options: Q) -> None:
        return None

    def precision(self, options: Q) -> str:
        return options.precision

    def shortened(self, options: Q, iterations: int) -> Q:
        return replace(options, maxiter=min(iterations, options.maxiter), retries=0)

    def optimise(self, options: Q, task: Task) -> Optimum:
        if options.solver == "batched" and task.net.device.type == "mps":
            raise UserError(
                f"method {self.name}: its solver takes double precision, which mps has not; take"
                " --device cpu, or solver: scipy"
            )
        bounds = task.variables.lower, task.variables.upper
        minimise = _solver(options.solver)
        return minimise(task.evaluate, task.start(), *bounds, options.maxiter, task.watch)


def _solver(name: str) -> Callable[..., Optimum]:
    if name == "scipy":
        from cnnpref.optim import scipy_lbfgsb

        return scipy_lbfgsb.minimise
    from cnnpref.optim import lbfgsb

    return lbfgsb.minimise


_BLACK = (0.0, 0.0, 0.0)


class Lbfgs(QuasiNewton[LbfgsOptions]):
    """The original's `prefer_img_lbfgs`."""

    name = "lbfgs"
    options = LbfgsOptions
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "lower": {"maxiter": 50, "initial_image": _BLACK},
        "higher": {"maxiter": 500, "initial_image": _BLACK, "feature_weight": 10.0},
        "reference": {**ONE_START, "solver": "scipy"},
    }

    def initial(self, options: LbfgsOptions) -> tuple[float, float, float] | None:
        return options.initial_image

    def variables(self, options: LbfgsOptions, scene: Scene) -> Variables:
        # What a unit does not see has no gradient: it stays.
        return scene.pixels(scene.box, ground=options.initial_image)


LBFGS = Lbfgs()
