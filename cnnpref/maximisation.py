"""Activation maximisation of a batch of units: where net, objective and optimiser meet."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cnnpref.ascent.gd_steps import image_steps, latent_steps
from cnnpref.ascent.malloc import held_memory
from cnnpref.ascent.objective import Objective
from cnnpref.ascent.solution import Solution
from cnnpref.ascent.variables import Draws, Generator, Latent, Param, Pixels, image_size
from cnnpref.errors import UserError
from cnnpref.geometry import Box, grown
from cnnpref.methods.options import (
    DgnGdOptions,
    GdOptions,
    LbfgsOptions,
    Options,
    default_preset,
    resolve,
)
from cnnpref.nets.kernels import faithful_kernels, fast_kernels
from cnnpref.nets.net import FullReadout, Net
from cnnpref.nets.pycaffe.net import AnyNet, as_net
from cnnpref.nets.readout import Readout
from cnnpref.optim import lbfgsb
from cnnpref.optim.descent import descend
from cnnpref.optim.problem import Evaluation, Observe, Optimum, per_row
from cnnpref.optim.schedule import Linear
from cnnpref.status import Status

Initial = Sequence[npt.ArrayLike] | None


@dataclass(frozen=True)
class Moment:
    """What an observer sees after an iteration (gd) or an evaluation (lbfgs).

    Attributes:
        count: iterations or evaluations so far.
        variables: pixels in the net's input space or generator features, (B, ...): after the
            update for gd, those that were evaluated for lbfgs.
        activations: of each row, before the update, (B,).
        pictures: gives the RGB images (B, H, W, 3) that the original would return now: with gd
            after the update, else those that were evaluated.
    """

    count: int
    variables: Tensor
    activations: Tensor
    pictures: Callable[[], npt.NDArray[np.float32]]


def maximise(
    net: AnyNet,
    objective: Objective,
    method: str = "gd",
    options: Options | None = None,
    seeds: int | Sequence[int] = 0,
    generator: Generator | None = None,
    initial: Initial = None,
    draws: Sequence[Draws] | None = None,
    observe: Callable[[Moment], None] | None = None,
    faithful: bool = False,
) -> Solution:
    """The images that the objective's units prefer, one per row of the objective.

    A row's result depends on net, target, method, options and seed alone, not on the batch.

    Args:
        net: the network, or a live pycaffe net.
        objective: B targets of one layer.
        method: "gd", "lbfgs", "dgn_gd" or "dgn_lbfgs".
        options: of the method; None is the preset for the kind of target.
        seeds: one for all rows, or one per row; with the target it seeds the row's own stream.
        generator: makes the images, for the methods dgn_*.
        initial: where to start, one per row: RGB images (H, W, 3) 0..255, or generator features.
        draws: random sources to use in place of the rows' own streams, one per row.
        observe: called after each iteration or evaluation.
        faithful: use the kernels that match Caffe to the last digits, instead of the fastest.

    Raises:
        UserError: the image cannot influence the layer; something does not fit the objective, the
            net or the method.
    """
    if options is None:
        where = "center" if objective.index.shape[1] == 1 else "all"
        options = resolve(method, default_preset(objective.shape, where))
    if initial is None and isinstance(options, GdOptions | LbfgsOptions) and options.initial_image:
        initial = [options.initial_image] * len(objective)
    each = [seeds] * len(objective) if isinstance(seeds, int) else list(seeds)
    for what, given in (("seeds", each), ("initial", initial), ("draws", draws)):
        if given is not None and len(given) != len(objective):
            raise UserError(f"{len(given)} {what} for {len(objective)} targets; give one for each")
    net = as_net(net)
    image_size(net)
    readout = (
        FullReadout(net, objective.layer, objective.index)
        if faithful
        else net.readout(objective.layer, objective.index)
    )
    param = _param(net, method, options, generator, readout.box, faithful)
    sources = _streams(objective, each) if draws is None else list(draws)
    task = _Task(net, objective, readout, param, options, sources, initial, observe)
    precision = "float32"  # L-BFGS needs all bits: its first steps vanish where pixels are rounded
    if isinstance(options, GdOptions | DgnGdOptions):
        precision = options.precision
    with held_memory(), faithful_kernels() if faithful else fast_kernels(precision):
        solution = task.solve(in_company=not faithful and draws is None)
        for attempt in range(1, options.retries + 1):
            dead = [row for row, s in enumerate(solution.status) if s == Status.ZERO_GRADIENT]
            if dead:
                again = objective.rows(dead)
                sources = _streams(again, [each[row] for row in dead], attempt)
                retry = _Task(net, again, readout.rows(dead), param, options, sources)
                solution.replace(dead, retry.solve(in_company=True))
    return solution


def _param(
    net: Net,
    method: str,
    options: Options,
    generator: Generator | None,
    box: Box,
    faithful: bool,
) -> Param:
    """The variables; `box` is the part of the image that the units see."""
    if isinstance(options, GdOptions):
        if options.canvas == "field":
            margin = options.jitter_size if options.image_jitter else 0
            return Pixels(net, grown(box, margin, image_size(net)), box, blank=True)
        return Pixels(net, box=box)  # jitter, blur and clips are for the image as a whole
    if isinstance(options, LbfgsOptions):  # what units do not see has no gradient: it stays
        return Pixels(net, canvas=box, box=box)
    if generator is None:
        raise UserError(f"method {method!r} needs a generator; give `generator` or choose another")
    return Latent(net, generator, box, whole=faithful)


def _streams(objective: Objective, seeds: Sequence[int], attempt: int = 0) -> list[Draws]:
    """One random stream per row, from its seed and target."""
    return [_stream(seed, attempt, objective.identity(row)) for row, seed in enumerate(seeds)]


def _stream(seed: int, attempt: int, identity: bytes) -> np.random.RandomState:
    digest = hashlib.sha256(f"{seed}/{attempt}:".encode() + identity).digest()
    words = np.frombuffer(digest, "<u4").tolist()
    return np.random.RandomState(np.random.MT19937(np.random.SeedSequence(words)))


def _solver(name: str) -> Callable[..., Optimum]:
    if name != "scipy":
        return lbfgsb.minimise
    from cnnpref.optim import scipy_lbfgsb  # takes time, which others save

    return scipy_lbfgsb.minimise


@dataclass(frozen=True)
class _Task:
    """A batch of targets with all that it takes to maximise them."""

    net: Net
    objective: Objective
    readout: Readout
    param: Param
    options: Options
    sources: Sequence[Draws]
    initial: Initial = None
    observe: Callable[[Moment], None] | None = None

    def solve(self, in_company: bool) -> Solution:
        """The batch's solution.

        The CPU's kernels for a batch of 1 sum in another order than those for larger ones: with
        `in_company` a lone row is run twice, and comes out as in any batch, to the bit.
        """
        rows = len(self.objective)
        if rows > 1 or not in_company or self.net.device.type != "cpu":
            return self._solve(rows)
        twins = None if self.initial is None else [*self.initial, *self.initial]
        sources = [*self.sources, *deepcopy(self.sources)]
        objective, readout = self.objective.rows([0, 0]), self.readout.rows([0, 0])
        task = replace(self, objective=objective, readout=readout, sources=sources, initial=twins)
        return task._solve(rows)

    def _solve(self, rows: int) -> Solution:
        evaluate = _Evaluator(self.net, self.objective, self.readout, self.param)
        watch = self._watcher(evaluate, rows) if self.observe else None
        options, param = self.options, self.param
        if isinstance(options, GdOptions | DgnGdOptions):
            optimum = self._descend(options, evaluate, watch)
        else:
            x = param.start(self.sources, self.initial)
            minimise = _solver(options.solver)
            optimum = minimise(evaluate, x, param.lower, param.upper, options.maxiter, watch)
        return _solution(param, evaluate, optimum).first(rows)

    def _descend(
        self, options: GdOptions | DgnGdOptions, evaluate: _Evaluator, watch: Observe | None
    ) -> Optimum:
        param, sources = self.param, self.sources
        if isinstance(options, GdOptions):
            # the original draws in this order: noise for the scale, the start, the jitter
            scales = torch.tensor([np.linalg.norm(param.noise(source)) / 2 for source in sources])
            x = param.start(sources, self.initial)
            steps, normalise = image_steps(options, sources, scales.to(x)), options.grad_normalize
        else:
            x = param.start(sources, self.initial)
            steps, normalise = latent_steps(options, param.lower, param.upper), True
        rate = Linear(options.lr_start, options.lr_end, options.iter_n)
        momentum = Linear(options.momentum_start, options.momentum_end, options.iter_n)
        return descend(evaluate, x, rate, momentum, steps, normalise, options.patience, watch)

    def _watcher(self, evaluate: _Evaluator, rows: int) -> Observe:
        """Calls the user's observer with the pictures that belong to the method."""
        updated = isinstance(self.options, GdOptions)

        def watch(count: int, x: Tensor, activations: Tensor) -> None:
            shown = (x if updated else evaluate.x)[:rows]
            pictures = partial(self.param.picture, shown)
            assert self.observe
            self.observe(Moment(count, x[:rows], activations[:rows], pictures))

        return watch


class _Evaluator:
    """Variables of some rows to activation, loss and gradient: one pass of the net.

    Attributes:
        x: the variables of all rows, where they were last evaluated.
    """

    x: Tensor

    def __init__(self, net: Net, objective: Objective, readout: Readout, param: Param) -> None:
        self.net, self.param = net, param
        self._whole = self._part = tuple(range(len(objective))), objective, readout

    def __call__(self, x: Tensor, rows: Sequence[int]) -> Evaluation:
        everything, objective, _ = self._whole
        if len(rows) == 1 < len(everything) and x.device.type == "cpu":
            # in company, as in `_Task.solve`
            return Evaluation(*(both[:1] for both in self(torch.cat([x, x]), [*rows, *rows])))
        x = x.detach()
        if len(rows) == len(everything):
            self.x = x
        else:
            self.x = self.x.index_copy(0, torch.tensor(rows, device=x.device), x)
        x.requires_grad_()
        score, activation = self._score(x, rows)
        if not score.requires_grad:
            raise UserError(
                f"the image cannot influence layer {objective.layer!r} of {self.net.name!r}: "
                "its gradient is zero everywhere; choose another layer"
            )
        (gradient,) = torch.autograd.grad(-score.sum(), x)
        return Evaluation(activation, -score.detach(), gradient)

    @torch.no_grad()
    def activation(self, x: Tensor) -> Tensor:
        """The activations (B,) of all rows alone."""
        return self._score(x, range(len(x)))[1]

    def _score(self, x: Tensor, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        _, objective, readout = self._of(tuple(rows))
        return objective.score(readout(self.param.image(x)))

    def _of(self, rows: tuple[int, ...]) -> tuple[tuple[int, ...], Objective, Readout]:
        """Some rows with their objective and readout; the last ones are kept."""
        everything, objective, readout = self._whole
        if rows == everything:
            return self._whole
        if rows != self._part[0]:
            self._part = rows, objective.rows(rows), readout.rows(rows)
        return self._part


def _solution(param: Param, evaluate: _Evaluator, optimum: Optimum) -> Solution:
    """Pictures and honest scores: both iterates are evaluated as they are, without jitter."""
    last, best = evaluate.activation(optimum.x), evaluate.activation(optimum.best)
    better = torch.where(per_row(last > best, optimum.x), optimum.x, optimum.best)
    traces = optimum.values.cpu().numpy()
    return Solution(
        images=param.picture(optimum.x),
        images_best=param.picture(better),
        activations=[trace[~np.isnan(trace)] for trace in traces],
        scores=last.cpu().numpy(),
        scores_best=torch.maximum(last, best).cpu().numpy(),
        status=optimum.status,
        latents=optimum.x.cpu().numpy() if isinstance(param, Latent) else None,
    )
