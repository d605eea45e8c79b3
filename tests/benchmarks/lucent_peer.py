"""The peer: torch-lucent, given the same module, size and steps as far as it knows them.

It optimises pixels by gradients with momentum and jitter; it has no clips, no blur between
iterations, no L-BFGS and no generators, and always runs the whole net.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import contest
import torch
from cases import Case

BATCHES = (1, 8)  # images at once; the faster counts


class Peer:
    """torch-lucent, if it can be imported.

    Args:
        folder: where it and what it needs are installed; None is where all packages are.

    Attributes:
        absent: why it cannot run; empty if it can.
    """

    def __init__(self, folder: Path | None, device: str) -> None:
        self.absent = ""
        if folder:
            sys.path.append(str(folder))
        try:
            self.optvis = _optvis()
        except ImportError as error:
            self.absent = f"torch-lucent does not import here: {error}"
        if torch.cuda.is_available() != device.startswith("cuda"):
            self.absent = "torch-lucent takes the GPU wherever there is one"

    def takes(self, case: Case) -> bool:
        return not self.absent and case.method in ("gd", "gd_field")

    def speed(self, case: Case) -> float:
        """Images times iterations per second, as `contest` counts them."""
        return max(self._speed(case, batch) for batch in BATCHES)

    def _speed(self, case: Case, batch: int) -> float:
        o, size = case.options(), case.nets.ours.input_shape[-1]
        render, param, transform = self.optvis.render, self.optvis.param, self.optvis.transform
        watch = contest.Watch(case.device)
        wanted = self._objective(case, batch)

        def objective(hook: Any) -> torch.Tensor:
            watch()
            return wanted(hook)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its old dependencies
            render.render_vis(
                case.nets.plain,
                self.optvis.objectives.Objective(objective),
                lambda: param.image(size, fft=False, decorrelate=False, batch=batch),
                lambda params: torch.optim.SGD(params, o.lr_start, o.momentum_start),
                transforms=[transform.jitter(2 * o.jitter_size + 1)],
                thresholds=(case.iterations,),
                preprocess=False,
                progress=False,
                show_image=False,
            )
        return batch * (len(watch.times) - 1) / watch.seconds

    def _objective(self, case: Case, batch: int) -> Any:
        """The sum over the batch of one unit's activation in each image."""
        one = self.optvis.objectives.neuron
        if case.position == "all" or len(case.nets.ours.layers[case.layer]) == 1:
            one = self.optvis.objectives.channel
        layer = case.layer.replace("/", "_")
        units = case.of(batch).units
        return sum(one(layer, unit, batch=row) for row, unit in enumerate(units))


def _optvis() -> Any:
    """The part of it that optimises. Its torchvision needs two operations that the CPU's lacks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import torchvision  # noqa: F401
        except RuntimeError:
            _declare_torchvision()
        import lucent.optvis
        import lucent.optvis.param
        import lucent.optvis.render
        import lucent.optvis.transform
    return lucent.optvis


def _declare_torchvision() -> None:
    """Declare the operations without which torchvision does not import."""
    for name in [name for name in sys.modules if name.startswith("torchvision")]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declare_torchvision.kept = library  # what is declared lasts as long as its library
