"""Images on a canvas, looked at by a net in random views: activation, gradient, importance."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cnnpref.ascent.canvas import CanvasImages
from cnnpref.ascent.contrast import score_of
from cnnpref.ascent.importance import Sensitivity
from cnnpref.ascent.task import Task
from cnnpref.ascent.variables import Draws
from cnnpref.geometry import Box
from cnnpref.optim.problem import Evaluation


class Look(Protocol):
    """A way to look at images, such as `Views`."""

    def draw(self, draws: Draws) -> npt.NDArray[np.float64]:
        """Random numbers for one view."""

    def see(self, images: Tensor, seen: Box, chance: npt.NDArray[np.float64]) -> Tensor:
        """Views of the box `seen` of images (B, C, h, w), by the random numbers (B, ...)."""


class Viewing:
    """What a net makes of random views of a batch's images, step by step.

    Args:
        task: the rows; its variables are images of a canvas.
        objective: what is maximised, see `contrast.score_of`.
        steps: how many.
        look: draws the numbers of a view.
        views: of an image in a step.

    Attributes:
        images: those of the canvas.
        start: where the rows start.
    """

    images: CanvasImages

    def __init__(self, task: Task, objective: str, steps: int, look: Look, views: int = 1) -> None:
        assert isinstance(task.variables, CanvasImages)
        self.images, self.start, self._task = task.variables, task.start(), task
        self._score = score_of(objective, task)
        drawn = [[look.draw(each) for _ in range(steps * views)] for each in task.draws]
        self._chances = np.array(drawn).swapaxes(0, 1).reshape(steps, views, len(drawn), -1)
        self._dead: Tensor | None = None
        self._sensitivity = Sensitivity()

    def evaluate(self, x: Tensor, t: int, look: Look, gate: Tensor | None = None) -> Evaluation:
        """The mean over the views of a step, and the gradient of that.

        Args:
            x: the variables.
            t: the step.
            look: sees the images by the numbers of that step.
            gate: of their spectrum, see `CanvasImages.components`.
        """
        x = x.detach().requires_grad_()
        images = self.images.canvas_images(x, gate)
        shown, views = images.detach().requires_grad_(), len(self._chances[t])
        found = self._evaluate(shown, look, self._chances[t][0])
        for chance in self._chances[t][1:]:
            found = [a + b for a, b in zip(found, self._evaluate(shown, look, chance), strict=True)]
        score, own, activation, slope = found if views == 1 else [total / views for total in found]
        (gradient,) = torch.autograd.grad(images, x, slope)
        self._sensitivity.add(slope)
        worth = self._task.objective.worth(own, activation)
        return Evaluation(activation, -score, gradient, worth)

    def _evaluate(
        self, images: Tensor, look: Look, chance: npt.NDArray[np.float64]
    ) -> list[Tensor]:
        """Of one view of each image: score, the unit's part, activation, the slope of -score."""
        view = look.see(images, self.images.seen, chance)
        score, own, activation = self._score(self.images.encode(view))
        if not own.requires_grad:
            raise self._task.unreachable()
        if self._dead is None:  # rows whose units nothing in their first view reached, (B,)
            (reached,) = torch.autograd.grad(own.sum(), images, retain_graph=True)
            self._dead = (reached == 0).flatten(1).all(1)
        score = torch.where(self._dead, own, score)  # others may answer where the unit does not
        (slope,) = torch.autograd.grad(-score.sum(), images)
        return [score.detach(), own.detach(), activation, slope]

    def importance(self) -> Tensor:
        """Where the activation comes from, (B, H, W) in 0..1."""
        return self._sensitivity.importance(self.images.canvas, self.images.net.image_size)
