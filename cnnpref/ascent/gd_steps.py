"""From the options of gradient descent to the steps of an iteration, in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cnnpref.ascent import pixel_ops as transform
from cnnpref.ascent.variables import Draws
from cnnpref.methods.options import DgnGdOptions, GdOptions
from cnnpref.optim.descent import Step, Steps
from cnnpref.optim.problem import per_row
from cnnpref.optim.schedule import Linear

Edit = Callable[[Tensor, Tensor, int], Tensor]
Clip = Callable[[Tensor, Tensor, float], Tensor]


def image_steps(o: GdOptions, sources: Sequence[Draws], scales: Tensor) -> Steps:
    """The original's iteration on pixels; what the options switch off is left out.

    Args:
        o: the options.
        sources: the random source of each row; the jitter is drawn here, iteration by iteration.
        scales: half the norm of a noise image, by which penalties are scaled, (B,).
    """
    shifts: dict[str, Any] = {}
    if o.image_jitter:
        offsets = _jitter_offsets(o, sources).to(scales.device)  # (iterations, 2, B)
        shifts["shift"] = lambda x, t, rows: transform.shift(x, *offsets[t, :, rows])
        shifts["unshift"] = lambda x, t, rows: transform.shift(x, *-offsets[t, :, rows])
    return Steps(
        **shifts,
        penalties=_penalties(o, scales),
        edits=_edits(o),
        finish=_finish(o),
        unshift_newest=o.unshift_momentum,
    )


def latent_steps(o: DgnGdOptions, lower: Tensor, upper: Tensor) -> Steps:
    """The original's iteration on a generator's features: decay, then the bounds."""
    return Steps(finish=[_decay(o), lambda x, _t, _rows: x.clamp(lower, upper)])


def _jitter_offsets(o: GdOptions, sources: Sequence[Draws]) -> Tensor:
    low, high = -o.jitter_size, o.jitter_size + 1
    rows = [np.stack([s.randint(low, high, 2) for _ in range(o.iter_n)]) for s in sources]
    return torch.from_numpy(np.stack(rows, -1))


def _penalties(o: GdOptions, scales: Tensor) -> list[Step]:
    def penalty(gradient: Callable[[Tensor], Tensor], weight: Linear) -> Step:
        def added(x: Tensor, t: int, rows: slice) -> Tensor:
            r = gradient(x) / per_row(scales[rows], x) ** 2
            return weight(t) * (transform.unit_mean(r) if o.grad_normalize else r)

        return added

    penalties = []
    if o.use_p_norm_reg:
        weight = Linear(o.lamda_start, o.lamda_end, o.iter_n)
        penalties.append(penalty(partial(transform.p_norm_gradient, p=o.p), weight))
    if o.use_TV_norm_reg:
        weight = Linear(o.TVlamda_start, o.TVlamda_end, o.iter_n)
        penalties.append(penalty(partial(transform.tv_gradient, beta=o.TVbeta), weight))
    return penalties


def _edits(o: GdOptions) -> list[Edit]:
    def every(period: int, pct: Linear, clip: Clip) -> Edit:
        return lambda x, g, t: clip(x, g, pct(t)) if (t + 1) % period == 0 else x

    edits = []
    if o.clip_extreme:
        pct = Linear(o.e_pct_start, o.e_pct_end, o.iter_n)
        edits.append(every(o.clip_extreme_every, pct, _clip_extreme))
    if o.clip_small_norm:
        pct = Linear(o.n_pct_start, o.n_pct_end, o.iter_n)
        edits.append(every(o.clip_small_norm_every, pct, _clip_small_norm))
    if o.clip_small_contribution:
        pct = Linear(o.c_pct_start, o.c_pct_end, o.iter_n)
        edits.append(every(o.clip_small_contribution_every, pct, _clip_small_contribution))
    return edits


def _clip_extreme(x: Tensor, _g: Tensor, pct: float) -> Tensor:
    return transform.clip_extreme(x, pct)


def _clip_small_norm(x: Tensor, _g: Tensor, pct: float) -> Tensor:
    return transform.clip_small(x, x, pct)


def _clip_small_contribution(x: Tensor, g: Tensor, pct: float) -> Tensor:
    return transform.clip_small(x, x * g, pct)


def _finish(o: GdOptions) -> list[Step]:
    sigma = Linear(o.sigma_start, o.sigma_end, o.iter_n)
    blurring: list[Step] = [lambda x, t, _rows: transform.blur(x, sigma(t))]
    return [_decay(o), *(blurring if o.image_blur else [])]


def _decay(o: GdOptions | DgnGdOptions) -> Step:
    decay = Linear(o.decay_start, o.decay_end, o.iter_n)
    return lambda x, t, _rows: x.mul_(1 - decay(t))
