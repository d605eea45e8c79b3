"""The plain way: one image at a time, full passes of a torch module, NumPy and SciPy for the rest.

What a researcher writes in an afternoon: the original's algorithm with PyTorch in place of Caffe.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from scipy.optimize import Bounds, minimize
from torch import nn

from cnnpref.methods import DgnGdOptions, GdOptions
from cnnpref.optim.schedule import Linear

Tick = Callable[[], object]
LOWEST, HIGHEST = 0.0, 100.0  # bounds of a generator's features


@dataclass(frozen=True)
class Target:
    """One unit of a layer: `module(x, layer)` gives the layer.

    Attributes:
        module: from (1, ...) to the layer.
        layer: its name.
        unit: a channel.
        position: "center" of the map or "all" of it.
        weight: multiplies the activation.
        device: where the module is.
    """

    module: nn.Module
    layer: str
    unit: int
    position: str
    weight: float
    device: str

    def __call__(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Loss and its gradient at `x`, without a batch's axis."""
        given = torch.from_numpy(x)[None].to(self.device).requires_grad_()
        a = self.module(given, self.layer)[0, self.unit]
        if a.ndim and self.position == "center":
            a = a[a.shape[0] // 2, a.shape[1] // 2]
        loss = -self.weight * a.sum()
        loss.backward()
        return loss.item(), given.grad[0].cpu().numpy()


def gd(
    target: Target, x: np.ndarray, o: GdOptions, draws: np.random.RandomState, tick: Tick
) -> np.ndarray:
    """Gradient descent on an image (3, H, W) with the steps of the examples' settings."""
    rate, momentum, decay, sigma, norm_pct, contribution_pct = (
        Linear(getattr(o, f"{name}_start"), getattr(o, f"{name}_end"), o.iter_n)
        for name in ("lr", "momentum", "decay", "sigma", "n_pct", "c_pct")
    )
    v = np.zeros_like(x)
    for t in range(o.iter_n):
        right, down = draws.randint(-o.jitter_size, o.jitter_size + 1, 2)
        x, v = (np.roll(a, (down, right), (1, 2)) for a in (x, v))
        _, g = target(x)
        g = normalised(g)
        v = momentum(t) * v + g
        x = x - rate(t) * v
        if o.clip_small_norm:
            x = clip_small(x, x, norm_pct(t))
        if o.clip_small_contribution:
            x = clip_small(x, x * g, contribution_pct(t))
        x = np.roll(x, (-down, -right), (1, 2))
        v = np.roll(v - g, (-down, -right), (1, 2)) + g
        x = x * (1 - decay(t))
        x = gaussian_filter(x, (0, sigma(t), sigma(t)))
        tick()
    return x


def dgn_gd(target: Target, z: np.ndarray, o: DgnGdOptions, tick: Tick) -> np.ndarray:
    """Gradient descent on a generator's features."""
    rate, momentum, decay = (
        Linear(getattr(o, f"{name}_start"), getattr(o, f"{name}_end"), o.iter_n)
        for name in ("lr", "momentum", "decay")
    )
    v = np.zeros_like(z)
    for t in range(o.iter_n):
        _, g = target(z)
        v = momentum(t) * v + normalised(g)
        z = (1 - decay(t)) * (z - rate(t) * v)
        z = np.clip(z, LOWEST, HIGHEST)
        tick()
    return z


def lbfgs(
    target: Target, x: np.ndarray, lower: np.ndarray, upper: np.ndarray, maxiter: int, tick: Tick
) -> np.ndarray:
    """SciPy's L-BFGS-B on an image or on features."""

    def evaluate(flat: np.ndarray) -> tuple[float, np.ndarray]:
        loss, g = target(flat.astype(np.float32).reshape(x.shape))
        tick()
        return loss, g.ravel().astype(np.float64)

    low, high = (np.broadcast_to(bound, x.shape).ravel() for bound in (lower, upper))
    found = minimize(
        evaluate,
        x.ravel(),
        jac=True,
        method="L-BFGS-B",
        bounds=Bounds(low, high),
        options={"maxiter": maxiter},
    )
    return found.x.reshape(x.shape)


def normalised(g: np.ndarray) -> np.ndarray:
    size = np.abs(g).mean()
    return g / size if size > 0 else g


def clip_small(x: np.ndarray, of: np.ndarray, pct: float) -> np.ndarray:
    """Zero the pixels whose norm over the channels of `of` is under its percentile."""
    norm = np.linalg.norm(of, axis=0)
    return x * (norm >= np.percentile(norm, pct))
