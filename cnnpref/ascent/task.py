"""A batch of targets with all that it takes to maximise them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cnnpref.ascent.awakening import awaken
from cnnpref.ascent.objective import Objective
from cnnpref.ascent.recorded import Recording
from cnnpref.ascent.statistics import NaturalStatistics
from cnnpref.ascent.variables import Draws, Features, Generator, Pixels, Variables
from cnnpref.errors import UserError
from cnnpref.geometry import Box
from cnnpref.nets.kernels import passing
from cnnpref.nets.net import Net
from cnnpref.nets.readout import Readout
from cnnpref.optim.problem import Evaluation, Observe

Initial = Sequence[npt.ArrayLike] | None


@dataclass(frozen=True)
class Moment:
    """What an observer sees after an iteration (gd) or an evaluation (lbfgs).

    Attributes:
        count: iterations or evaluations so far.
        variables: pixels in the net's input space or generator features, (B, ...): after the
            update for gd, those that were evaluated for lbfgs.
        activations: of each row, before the update, (B,).
        images: gives the RGB images (B, H, W, 3) that the original would return now: with gd
            after the update, else those that were evaluated.
    """

    count: int
    variables: Tensor
    activations: Tensor
    images: Callable[[], npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Scene:
    """What a method makes its variables for.

    Attributes:
        net: the network.
        box: the part of its image that the units see.
        generator: makes images, if one was given.
        faithful: compute all that Caffe would.
        statistics: of the user's own images, if they were given.
    """

    net: Net
    box: Box
    generator: Generator | None = None
    faithful: bool = False
    statistics: NaturalStatistics | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the image."""
        return self.net.image_size

    def pixels(
        self,
        canvas: Box | None = None,
        blank: bool = False,
        ground: npt.ArrayLike | None = None,
    ) -> Pixels:
        """Pixels of a part of the image, or of all of it; see `Pixels`."""
        return Pixels(self.net, canvas, self.box, blank, ground)

    def features(self) -> Features:
        """The features of the generator.

        Raises:
            UserError: there is none, or it does not fit the net.
        """
        if self.generator is None:
            raise UserError(
                "the method needs a generator; give `generator`, or choose a method on pixels"
            )
        return Features(self.net, self.generator, self.box, whole=self.faithful)


def passed(readout: Readout, net_input: Tensor) -> Tensor:
    """The units' activations (B, K), from a pass in the precision that was asked for."""
    with passing(net_input.device):
        return readout(net_input).float()


class _Part(NamedTuple):
    """Some rows of a task, and their numbers on the device."""

    rows: tuple[int, ...]
    objective: Objective
    readout: Readout
    places: Tensor


class Task:
    """The rows of a batch: their targets, variables and random numbers.

    Attributes:
        draws: the random source of each row.
        variables: what varies.
        awake: rows without gradient start where they have one, if there is such a place.
        begun: where the rows started, within the variables' bounds, (B, ...); after `start`.
        importance: a method may leave here where in its image each row's activation comes from,
            (B, H, W) in 0..1.
    """

    def __init__(
        self,
        net: Net,
        objective: Objective,
        readout: Readout,
        variables: Variables,
        draws: Sequence[Draws],
        initial: Initial = None,
        awake: bool = False,
    ) -> None:
        self.net, self.objective, self.readout = net, objective, readout
        self.variables, self.draws, self.initial = variables, draws, initial
        self.awake = awake
        self.begun = torch.empty(0)
        self.watch: Observe | None = None
        self.importance: Tensor | None = None
        rows = tuple(range(len(objective)))
        places = torch.tensor(rows, device=net.device)
        self._whole = self._part = _Part(rows, objective, readout, places)
        self._recording = Recording.on(net.device)

    def in_company(self) -> Task:
        """These rows, and a copy of the first one behind them."""
        rows = [*range(len(self.objective)), 0]
        initial = None if self.initial is None else [self.initial[row] for row in rows]
        draws = [*self.draws, deepcopy(self.draws[0])]
        objective, readout = self.objective.rows(rows), self.readout.rows(rows)
        return Task(self.net, objective, readout, self.variables, draws, initial, self.awake)

    def watched(self, observe: Callable[[Moment], None], updated: bool, rows: int) -> None:
        """Let an observer see the first rows: updated variables, or those last evaluated."""

        def watch(count: int, x: Tensor, activations: Tensor) -> None:
            shown = (x if updated else self._x)[:rows]
            images = partial(self.variables.images, shown)
            observe(Moment(count, x[:rows], activations[:rows], images))

        self.watch = watch

    def start(self) -> Tensor:
        """Where the rows start, (B, ...)."""
        x = self.variables.start(self.draws, self.initial)
        bounds = self.variables.lower, self.variables.upper
        if self.awake:
            x = awaken(x, lambda x: self._pass(self._whole, x)[2], bounds)
        self.begun = x.clamp(*bounds)
        return x

    def noise_norms(self) -> Tensor:
        """The norm of a noise image of each row, (B,)."""
        return torch.tensor([np.linalg.norm(self.variables.noise(each)) for each in self.draws])

    def evaluate(self, x: Tensor, rows: Sequence[int]) -> Evaluation:
        """One pass of the net: the variables of some rows to activation, loss and gradient."""
        count = len(self._whole.rows)
        if len(rows) == 1 < count and self.net.needs_company:
            # a single row is summed in another order than several: it never is alone
            both = self.evaluate(torch.cat([x, x]), [*rows, *rows])
            return Evaluation(*(each[:1] for each in both))
        x = x.detach()
        if len(rows) == count:
            self._x = x
        else:
            self._x = self._x.index_copy(0, self._of(tuple(rows)).places, x)
        part = self._of(tuple(rows))
        run = partial(self._pass, part)
        return Evaluation(*(self._recording.call(run, x) if part is self._whole else run(x)))

    def _pass(self, part: _Part, x: Tensor) -> tuple[Tensor, ...]:
        """Activation, loss, gradient and worth of some rows, whose variables are x."""
        x = x.detach().requires_grad_()
        score, activation = self._score(x, part)
        if not score.requires_grad:
            raise self.unreachable()
        (gradient,) = torch.autograd.grad(-score.sum(), x)
        if 0 in gradient.stride():  # that of a sum is one number, seen many times
            gradient = gradient.contiguous()
        worth = part.objective.worth(score, activation)
        return activation, -score.detach(), gradient, worth

    def unreachable(self) -> UserError:
        """What to raise where the activation does not depend on the image."""
        return UserError(
            f"the image cannot influence layer {self.objective.layer!r} of {self.net.name!r}: "
            "its gradient is zero everywhere; choose another layer"
        )

    def score(self, net_input: Tensor) -> tuple[Tensor, Tensor]:
        """What to maximise and what to report of all rows, (B,) each; differentiable."""
        return self.objective.score(passed(self.readout, net_input))

    @torch.no_grad()
    def activation(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The activations of all rows, and by what images are compared, (B,) each."""
        score, activation = self._score(x, self._whole)
        return activation, self.objective.worth(score, activation)

    def _score(self, x: Tensor, part: _Part) -> tuple[Tensor, Tensor]:
        return part.objective.score(passed(part.readout, self.variables.net_input(x)))

    def _of(self, rows: tuple[int, ...]) -> _Part:
        """Some rows; the last ones are kept."""
        if rows == self._whole.rows:
            return self._whole
        if rows != self._part.rows:
            places = torch.tensor(rows, device=self.net.device)
            some = self.objective.rows(rows), self.readout.rows(rows)
            self._part = _Part(rows, *some, places)
        return self._part
