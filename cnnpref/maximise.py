"""Activation maximisation of a batch of units: where net, objective, pixels and optimiser meet."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cnnpref import transform
from cnnpref.errors import UserError
from cnnpref.nets.net import Net
from cnnpref.objective import Objective
from cnnpref.optim.descent import Observe, Steps, descend
from cnnpref.options import GdOptions, default_preset, resolve
from cnnpref.param import Draws, Pixels
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

    Raises:
        UserError: the image cannot influence the layer; lengths that do not fit the objective.
    """
    if options is None:
        options = resolve(method, default_preset(objective.shape))
    sources = _streams(objective, seeds) if draws is None else list(draws)
    pixels = Pixels(net)
    evaluate = _Evaluation(net, objective, pixels)
    scales, start = _start(pixels, options, sources, initial)
    steps = _image_steps(options, sources, scales, start)
    optimum = descend(
        evaluate,
        start,
        Linear(options.lr_start, options.lr_end, options.iter_n),
        Linear(options.momentum_start, options.momentum_end, options.iter_n),
        steps,
        options.grad_normalize,
        observe,
    )
    return _solution(pixels, evaluate, optimum)


class _Evaluation:
    """x -> activations to report (B,), gradient of the loss (B, ...): one pass of the net."""

    def __init__(self, net: Net, objective: Objective, pixels: Pixels) -> None:
        self.net, self.objective, self.pixels = net, objective, pixels

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
        return self.objective.score(self.net.activations(images, self.objective.layer))


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


def _image_steps(
    options: GdOptions, sources: Sequence[Draws], scales: Tensor, x: Tensor
) -> Steps:
    """The steps of an iteration, in the original's order; those switched off are left out."""
    o, schedule = options, partial(Linear, steps=options.iter_n)
    shifts: dict[str, Callable[[Tensor, int], Tensor]] = {}
    if o.image_jitter:
        offsets = _jitter_offsets(o, sources).to(x.device)  # (iterations, 2, B)
        shifts["shift"] = lambda x, t: transform.shift(x, *offsets[t])
        shifts["unshift"] = lambda x, t: transform.shift(x, *-offsets[t])
    return Steps(
        **shifts,
        penalties=_penalties(o, scales),
        edits=_edits(o),
        finish=_finish(schedule(o.decay_start, o.decay_end), o),
    )


def _jitter_offsets(options: GdOptions, sources: Sequence[Draws]) -> Tensor:
    low, high = -options.jitter_size, options.jitter_size + 1
    rows = [
        np.stack([source.randint(low, high, 2) for _ in range(options.iter_n)]) for source in sources
    ]
    return torch.from_numpy(np.stack(rows, -1))


def _penalties(o: GdOptions, scales: Tensor) -> list[Callable[[Tensor, int], Tensor]]:
    def penalty(
        gradient: Callable[[Tensor], Tensor], weight: Linear
    ) -> Callable[[Tensor, int], Tensor]:
        def added(x: Tensor, t: int) -> Tensor:
            r = gradient(x) / transform.per_row(scales, x) ** 2
            return weight(t) * (transform.unit_mean(r) if o.grad_normalize else r)

        return added

    penalties = []
    if o.use_p_norm_reg:
        of = partial(transform.p_norm_gradient, p=o.p)
        penalties.append(penalty(of, Linear(o.lamda_start, o.lamda_end, o.iter_n)))
    if o.use_TV_norm_reg:
        of = partial(transform.tv_gradient, beta=o.TVbeta)
        penalties.append(penalty(of, Linear(o.TVlamda_start, o.TVlamda_end, o.iter_n)))
    return penalties


def _edits(o: GdOptions) -> list[Callable[[Tensor, Tensor, int], Tensor]]:
    def every(
        period: int, pct: Linear, clip: Callable[[Tensor, Tensor, float], Tensor]
    ) -> Callable[[Tensor, Tensor, int], Tensor]:
        return lambda x, g, t: clip(x, g, pct(t)) if (t + 1) % period == 0 else x

    edits = []
    if o.clip_extreme:
        pct = Linear(o.e_pct_start, o.e_pct_end, o.iter_n)
        edits.append(every(o.clip_extreme_every, pct, lambda x, g, p: transform.clip_extreme(x, p)))
    if o.clip_small_norm:
        pct = Linear(o.n_pct_start, o.n_pct_end, o.iter_n)
        edits.append(every(o.clip_small_norm_every, pct, lambda x, g, p: transform.clip_small(x, x, p)))
    if o.clip_small_contribution:
        pct = Linear(o.c_pct_start, o.c_pct_end, o.iter_n)
        period = o.clip_small_contribution_every
        edits.append(every(period, pct, lambda x, g, p: transform.clip_small(x, x * g, p)))
    return edits


def _finish(decay: Linear, o: GdOptions) -> list[Callable[[Tensor, int], Tensor]]:
    sigma = Linear(o.sigma_start, o.sigma_end, o.iter_n)
    steps: list[Callable[[Tensor, int], Tensor]] = [lambda x, t: x * (1 - decay(t))]
    if o.image_blur:
        steps.append(lambda x, t: transform.blur(x, sigma(t)))
    return steps


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
