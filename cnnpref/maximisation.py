"""Activation maximisation of a batch of units: where net, objective and optimiser meet."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cnnpref.errors import UserError
from cnnpref.nets.kernels import faithful_kernels, fast_kernels
from cnnpref.nets.net import Net
from cnnpref.objective import Objective
from cnnpref.optim.descent import descend
from cnnpref.optim.lbfgsb import minimise
from cnnpref.optim.problem import Evaluate, Evaluation, Observe
from cnnpref.options import DgnGdOptions, GdOptions, LbfgsOptions, Options, default_preset, resolve
from cnnpref.param import Draws, Generator, Latent, Param, Pixels
from cnnpref.recipe import image_steps, latent_steps
from cnnpref.schedule import Linear
from cnnpref.solution import Optimum, Solution
from cnnpref.transform import per_row

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
    net: Net,
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
        net: the network.
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
    for what, given in (("initial", initial), ("draws", draws)):
        if given is not None and len(given) != len(objective):
            raise UserError(f"{len(given)} {what} for {len(objective)} targets; give one for each")
    sources = _streams(objective, seeds) if draws is None else list(draws)
    param, count = _param(net, method, generator), len(objective)
    if count == 1 and net.device.type == "cpu" and not faithful and draws is None:
        # The CPU's kernels for a batch of 1 sum in another order than those for larger ones. In
        # company of itself a lone row comes out as in any batch, to the bit.
        objective, sources = objective.doubled(), sources + _streams(objective, seeds)
        initial = None if initial is None else [*initial, *initial]
    evaluate = _Evaluator(net, objective, param)
    watch = None if observe is None else _watcher(method, param, evaluate, observe, count)
    with faithful_kernels() if faithful else fast_kernels():
        if isinstance(options, GdOptions | DgnGdOptions):
            optimum = _descend(param, options, sources, initial, evaluate, watch)
        else:
            x = param.start(sources, initial)
            optimum = minimise(evaluate, x, param.lower, param.upper, options.maxiter, watch)
        return _solution(param, evaluate, optimum).first(count)


def _param(net: Net, method: str, generator: Generator | None) -> Param:
    if not method.startswith("dgn"):
        return Pixels(net)
    if generator is None:
        raise UserError(f"method {method!r} needs a generator; give `generator` or choose another")
    return Latent(net, generator)


class _Evaluator:
    """Variables (B, ...) to activation, loss and gradient: one pass of the net.

    Attributes:
        images: the net's input of the last pass, (B, 3, H, W).
    """

    def __init__(self, net: Net, objective: Objective, param: Param) -> None:
        self.net, self.objective, self.param = net, objective, param

    def __call__(self, x: Tensor) -> Evaluation:
        x = x.detach().requires_grad_()
        score, activation = self._score(x)
        if not score.requires_grad:
            raise UserError(
                f"the image cannot influence layer {self.objective.layer!r} of {self.net.name!r}: "
                "its gradient is zero everywhere; choose another layer"
            )
        (gradient,) = torch.autograd.grad(-score.sum(), x)
        return Evaluation(activation, -score.detach(), gradient)

    @torch.no_grad()
    def activation(self, x: Tensor) -> Tensor:
        """The activations (B,) alone."""
        return self._score(x)[1]

    def _score(self, x: Tensor) -> tuple[Tensor, Tensor]:
        images = self.param.image(x)
        self.images = images.detach()
        return self.objective.score(self.net.activations(images, self.objective.layer))


def _watcher(
    method: str,
    param: Param,
    evaluator: _Evaluator,
    observe: Callable[[Moment], None],
    rows: int,
) -> Observe:
    """Calls the user's observer with the pictures that belong to the method."""

    def watch(count: int, x: Tensor, activations: Tensor) -> None:
        def pictures() -> npt.NDArray[np.float32]:
            if method == "gd":
                return param.picture(x[:rows])
            return evaluator.net.space.decode(evaluator.images[:rows].cpu().numpy())

        observe(Moment(count, x[:rows], activations[:rows], pictures))

    return watch


def _streams(objective: Objective, seeds: int | Sequence[int]) -> list[Draws]:
    """One random stream per row, from its seed and target."""
    each = [seeds] * len(objective) if isinstance(seeds, int) else list(seeds)
    if len(each) != len(objective):
        raise UserError(f"{len(each)} seeds for {len(objective)} targets; give one, or one each")
    return [_stream(seed, objective.identity(row)) for row, seed in enumerate(each)]


def _stream(seed: int, identity: bytes) -> np.random.RandomState:
    digest = hashlib.sha256(f"{seed}:".encode() + identity).digest()
    words = np.frombuffer(digest, "<u4").tolist()
    return np.random.RandomState(np.random.MT19937(np.random.SeedSequence(words)))


def _descend(
    param: Param,
    options: GdOptions | DgnGdOptions,
    sources: Sequence[Draws],
    initial: Initial,
    evaluate: Evaluate,
    watch: Observe | None,
) -> Optimum:
    if isinstance(options, GdOptions):
        # the original draws in this order: a noise image for the scale, the start, the jitter
        scales = torch.tensor([np.linalg.norm(param.noise(source)) / 2 for source in sources])
        x = param.start(sources, initial)
        steps, normalise = image_steps(options, sources, scales.to(x)), options.grad_normalize
    else:
        x = param.start(sources, initial)
        steps, normalise = latent_steps(options, param.lower, param.upper), True
    rate = Linear(options.lr_start, options.lr_end, options.iter_n)
    momentum = Linear(options.momentum_start, options.momentum_end, options.iter_n)
    return descend(evaluate, x, rate, momentum, steps, normalise, watch)


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
