"""A method of a test: steps along the sign of the gradient, all that it takes in one file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from cnnpref.ascent.task import Scene, Task
from cnnpref.ascent.variables import Variables
from cnnpref.methods import Method, Options
from cnnpref.methods.options import Number, Whole, option
from cnnpref.optim.problem import Optimum
from cnnpref.status import Status


@dataclass(frozen=True, kw_only=True)
class SignOptions(Options):
    """Steps of one size."""

    steps: int = option(8, Whole(1), "how many steps")
    size: float = option(3.0, Number(0, 255), "of a step, on the 0..255 scale")


class SignGd(Method[SignOptions]):
    """Every pixel by the same amount."""

    name = "sign_gd"
    options = SignOptions
    presets: ClassVar[dict[str, dict[str, Any]]] = {"lower": {}, "higher": {"steps": 6}}
    bytes_per_variable = 16
    operations_per_variable = 10

    def iterations(self, options: SignOptions) -> int:
        return options.steps

    def shortened(self, options: SignOptions, iterations: int) -> SignOptions:
        return replace(options, steps=min(options.steps, iterations), retries=0)

    def variables(self, options: SignOptions, scene: Scene) -> Variables:
        return scene.pixels(scene.box)

    def optimise(self, options: SignOptions, task: Task) -> Optimum:
        import torch

        x, values = task.start(), []
        for count in range(1, options.steps + 1):
            found = task.evaluate(x, range(len(x)))
            values.append(found.activation)
            x = x.detach() - options.size * found.gradient.sign()
            if task.watch:
                task.watch(count, x, found.activation)
        return Optimum(x, x, torch.stack(values, 1), [Status.OK] * len(x))
