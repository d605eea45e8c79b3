"""Activation maximisation of a batch of units: where net, objective, pixels and optimiser meet."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cnnpref import transform
from cnnpref.errors import UserError
from cnnpref.nets.kernels import faithful_kernels, fast_kernels
from cnnpref.nets.net import Net
from cnnpref.objective import Objective
from cnnpref.optim.descent import Observe, descend
from cnnpref.options import GdOptions, default_preset, resolve
from cnnpref.param import Draws, Pixels
from cnnpref.recipe import image_steps
from cnnpref.schedule import Linear
from cnnpref.solution import Optimum, Solution

Images = Sequence[npt.ArrayLike]


def maximise(
    net: Net,
    objective: Objective,
    method: str = "gd",
    options: GdOptions | None = None,
    seeds: int | Sequence[int] = 0,
    draws: Sequence[Draws] | None = None,
    initial: Images | None = None,
    observe: Observe | None = None,
    faithful: bool = False,
) -> Solution:
    """The images that the objective's units prefer, one per row of the objective.

    A row's result depends on net, target, method, options and seed alone, not on the batch.

    Args:
        net: the network.
        objective: B targets of one layer.
        method: "gd".
        options: of the method; None is the preset for the kind of layer.
        seeds: one for all rows, or one per row; with the target it seeds the row's own stream.
        draws: random sources to use in place of those streams, one per row.
        initial: RGB images to start from, (H, W, 3) 0..255, one per row; None is the options'.
        observe: called after each iteration with its number, the variables and the activations.
        faithful: use the kernels that match Caffe to the last digits, instead of the fastest.

    Raises:
        UserError: the image cannot influence the layer; lengths that do not fit the objective.
    """
    if options is None:
        where = "center" if objective.index.shape[1] == 1 else "all"
        options = resolve(method, default_preset(objective.shape, where))
    sources = _streams(objective, seeds) if draws is None else list(draws)
    pixels = Pixels(net)
    evaluate = _Evaluation(net, objective, pixels, in_company=not faithful)
    scales, start = _start(pixels, options, sources, initial)
    steps = image_steps(options, sources, scales, start)
    rate = Linear(options.lr_start, options.lr_end, options.iter_n)
    momentum = Linear(options.momentum_start, options.momentum_end, options.iter_n)
    normalise = options.grad_normalize
    with faithful_kernels() if faithful else fast_kernels():
        optimum = descend(evaluate, start, rate, momentum, steps, normalise, observe)
        return _solution(pixels, evaluate, optimum)


class _Evaluation:
    """x -> activations to report (B,), gradient of the loss (B, ...): one pass of the net.

    On a CPU the kernels for a batch of 1 sum in another order than those for larger ones. With
    `in_company` a lone row is run as two, so that it comes out the same, to the bit.
    """

    def __init__(self, net: Net, objective: Objective, pixels: Pixels, in_company: bool) -> None:
        self.net, self.objective, self.pixels = net, objective, pixels
        self.doubled = in_company and len(objective) == 1 and net.device.type == "cpu"

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = x.detach().requires_grad_()
        score, activation = self._score(x)
        if not score.requires_grad:
            raise UserError(
                f"the image cannot influence layer {self.objective.layer!r} of {self.net.name!r}: "
                "its gradient is zero everywhere; choose another layer"
            )
        (gradient,) = torch.autograd.grad(-score.sum(), x)
        return activation, gradient

    @torch.no_grad()
    def activation(self, x: Tensor) -> Tensor:
        """The activations (B,) alone."""
        return self._score(x)[1]

    def _score(self, x: Tensor) -> tuple[Tensor, Tensor]:
        images = self.pixels.image(x)
        if self.doubled:
            images = images.expand(2, -1, -1, -1)
        activations = self.net.activations(images, self.objective.layer)
        return self.objective.score(activations[: len(x)])


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


def _start(
    pixels: Pixels, options: GdOptions, sources: Sequence[Draws], initial: Images | None
) -> tuple[Tensor, Tensor]:
    """Half the norms of noise images (B,), and the start (B, 3, H, W), in the original's order."""
    norms, images = [], []
    for row, source in enumerate(sources):
        norms.append(np.linalg.norm(pixels.noise(source).astype(np.float64)) / 2)
        if initial is not None:
            images.append(initial[row])
        elif options.initial_image is not None:
            images.append(options.initial_image)
        else:
            images.append(pixels.noise(source))
    start = pixels.start(images)
    return torch.tensor(norms, dtype=start.dtype, device=start.device), start


def _solution(pixels: Pixels, evaluate: _Evaluation, optimum: Optimum) -> Solution:
    """Pictures and honest scores: both iterates are evaluated as they are, without jitter."""
    last, best = evaluate.activation(optimum.x), evaluate.activation(optimum.best)
    better = transform.per_row(last > best, optimum.x)
    traces = optimum.values.cpu().numpy()
    return Solution(
        images=pixels.picture(optimum.x),
        images_best=pixels.picture(torch.where(better, optimum.x, optimum.best)),
        activations=[trace[~np.isnan(trace)] for trace in traces],
        scores=last.cpu().numpy(),
        scores_best=torch.maximum(last, best).cpu().numpy(),
        status=optimum.status,
    )
