"""Images on a canvas, looked at by a net in random views: activation, gradient, importance."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from cnnpref.ascent.canvas import CanvasImages
from cnnpref.ascent.contrast import score_of
from cnnpref.ascent.importance import Sensitivity
from cnnpref.ascent.recorded import Recording
from cnnpref.ascent.task import Task
from cnnpref.ascent.views import Look, Sight, sides, sights
from cnnpref.optim.problem import Evaluation


class Viewing:
    """What a net makes of random views of a batch's images, step by step.

    Args:
        task: the rows; its variables are images of a canvas.
        objective: what is maximised, see `contrast.score_of`.
        look: how images are looked at in step 0, 1, ...
        steps: how many.
        views: of an image in a step.

    Attributes:
        images: those of the canvas.
        start: where the rows start.
    """

    images: CanvasImages

    def __init__(
        self,
        task: Task,
        objective: str,
        look: Callable[[int], Look],
        steps: int,
        views: int = 1,
    ) -> None:
        assert isinstance(task.variables, CanvasImages)
        self.images, self.start, self._task = task.variables, task.start(), task
        self._score = score_of(objective, task)
        looks = [look(n // views) for n in range(steps * views)]
        drawn = [[each.draw(draws) for each in looks] for draws in task.draws]
        size, device = sides(self.images.canvas), task.net.device
        chances = np.array(drawn).swapaxes(0, 1)
        self._sights = sights(looks, chances, self.images.seen, size, device)
        self._views = views
        self._dead: Tensor | None = None
        self._recording = Recording.on(device)
        self._sensitivity = Sensitivity()

    def evaluate(self, x: Tensor, t: int, gate: Tensor | None = None) -> Evaluation:
        """The mean over the views of a step, and the gradient of that.

        Args:
            x: the variables.
            t: the step.
            gate: of their spectrum, see `CanvasImages.components`.
        """
        x = x.detach().requires_grad_()
        images = self.images.canvas_images(x, gate)
        shown, views = images.detach().requires_grad_(), self._views
        first, *others = self._sights[t * views : (t + 1) * views]
        found = self._evaluate(shown, first)
        for sight in others:
            found = [a + b for a, b in zip(found, self._evaluate(shown, sight), strict=True)]
        score, own, activation, slope = found if views == 1 else [total / views for total in found]
        (gradient,) = torch.autograd.grad(images, x, slope)
        self._sensitivity.add(slope)
        worth = self._task.objective.worth(own, activation)
        return Evaluation(activation, -score, gradient, worth)

    def _evaluate(self, images: Tensor, sight: Sight) -> list[Tensor]:
        """Of one view of each image: score, the unit's part, activation, the slope of -score."""
        view = sight.see(images)
        if self._dead is None:
            self._dead = self._unreached(images, view)
        *found, slope = self._recording.call(self._pass, view.detach())
        (slope,) = torch.autograd.grad(view, images, slope)
        return [*found, slope]

    def _unreached(self, images: Tensor, view: Tensor) -> Tensor:
        """Rows whose units nothing in this view reaches, (B,)."""
        _, own, _ = self._score(self.images.encode(view))
        if not own.requires_grad:
            raise self._task.unreachable()
        (reached,) = torch.autograd.grad(own.sum(), images, retain_graph=True)
        return (reached == 0).flatten(1).all(1)

    def _pass(self, view: Tensor) -> tuple[Tensor, ...]:
        """Score, the unit's part, activation, the slope of -score with respect to the view."""
        view = view.detach().requires_grad_()
        score, own, activation = self._score(self.images.encode(view))
        assert self._dead is not None
        score = torch.where(self._dead, own, score)  # others may answer where the unit does not
        (slope,) = torch.autograd.grad(-score.sum(), view)
        return score.detach(), own.detach(), activation, slope

    def importance(self) -> Tensor:
        """Where the activation comes from, (B, H, W) in 0..1."""
        return self._sensitivity.importance(self.images.canvas, self.images.net.image_size)
