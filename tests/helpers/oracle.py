"""The original's algorithms as plain loops of NumPy and SciPy, to compare the product with.

One image, step by step, in double precision. Of the product only nets are used: their values and
gradients, in float32, and their mean. Images x are (3, H, W), BGR, mean-subtracted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import gaussian_filter
from scipy.optimize import minimize

from cnnpref.nets.caffe import CaffeNet

Array = npt.NDArray[np.float64]
Options = Mapping[str, Any]
Bounds = Sequence[tuple[float | None, float | None]]

# The defaults of the original's functions.
GD = {
    "iter_n": 200,
    "lr_start": 2.0,
    "lr_end": 1e-10,
    "momentum_start": 0.9,
    "momentum_end": 0.9,
    "decay_start": 0.1,
    "decay_end": 0.1,
    "grad_normalize": True,
    "image_jitter": True,
    "jitter_size": 32,
    "image_blur": True,
    "sigma_start": 2.0,
    "sigma_end": 0.5,
    "use_p_norm_reg": False,
    "p": 3,
    "lamda_start": 0.5,
    "lamda_end": 0.5,
    "use_TV_norm_reg": False,
    "TVbeta": 2,
    "TVlamda_start": 0.5,
    "TVlamda_end": 0.5,
    "clip_extreme": False,
    "clip_extreme_every": 4,
    "e_pct_start": 1,
    "e_pct_end": 1,
    "clip_small_norm": False,
    "clip_small_norm_every": 4,
    "n_pct_start": 5.0,
    "n_pct_end": 5.0,
    "clip_small_contribution": False,
    "clip_small_contribution_every": 4,
    "c_pct_start": 5.0,
    "c_pct_end": 5.0,
}
DGN_GD = {
    "iter_n": 200,
    "lr_start": 2.0,
    "lr_end": 1e-10,
    "momentum_start": 0.9,
    "momentum_end": 0.9,
    "decay_start": 0.01,
    "decay_end": 0.01,
    "feat_lower_bound": 0.0,
    "feat_upper_bound": 100.0,
}


class Target(NamedTuple):
    """What is maximised: the units where the mask is 1, each with its weight."""

    net: CaffeNet
    layer: str
    mask: Array
    weight: npt.ArrayLike = 1.0

    def passed(self, x: Array) -> tuple[float, float, Array]:
        """The sum of the activations, that of the weighted ones, and its negative gradient by x."""
        image = torch.from_numpy(x[None].astype(np.float32)).requires_grad_()
        activations = self.net.activations(image, self.layer)
        weights = np.where(self.mask == 1, self.weight, 0)
        diff = torch.from_numpy(-weights[None].astype(np.float32))
        (gradient,) = torch.autograd.grad(activations, image, diff)
        values = activations.detach().numpy()[0].astype(float)
        activation, weighted = values[self.mask == 1].sum(), (values * weights).sum()
        return float(activation), float(weighted), gradient.numpy()[0].astype(float)

    def encode(self, rgb: npt.ArrayLike) -> Array:
        """RGB (H, W, 3), or one colour (3,), as the net reads it."""
        whole = np.broadcast_to(np.asarray(rgb, float), (*self.net.input_shape[1:], 3))
        return whole[..., ::-1].transpose(2, 0, 1) - self._mean()

    def decode(self, x: Array) -> Array:
        """The way back, not clipped."""
        return (x + self._mean()).transpose(1, 2, 0)[..., ::-1]

    def _mean(self) -> Array:
        return np.array(self.net.space.mean, float)[:, None, None]


class Run(NamedTuple):
    """What a run shows: activations (T,), images (T, H, W, 3), what it returns (H, W, 3)."""

    activations: Array
    images: Array
    result: Array


def gd(
    target: Target,
    draws: np.random.RandomState,
    initial: npt.ArrayLike | None = None,
    **options: Any,
) -> Run:
    """Gradient descent on pixels."""
    o = GD | options
    _, height, width = target.net.input_shape
    scale = np.linalg.norm(draws.randint(0, 256, (height, width, 3)).astype(float)) / 2
    if initial is None:
        initial = draws.randint(0, 256, (height, width, 3))
    x = target.encode(initial)
    v = np.zeros_like(x)
    activations, images = [], []
    for t in range(o["iter_n"]):
        ox, oy = 0, 0
        if o["image_jitter"]:
            ox, oy = draws.randint(-o["jitter_size"], o["jitter_size"] + 1, 2)
        x, v = rolled(x, ox, oy), rolled(v, ox, oy)
        activation, _, g = target.passed(x)
        if o["grad_normalize"]:
            g = normalised(g)
        v = at(o, "momentum", t) * v + g
        if o["use_p_norm_reg"]:
            v = v + at(o, "lamda", t) * penalty(p_norm_gradient(x, o["p"]), scale, o)
        if o["use_TV_norm_reg"]:
            v = v + at(o, "TVlamda", t) * penalty(tv_gradient(x, o["TVbeta"]), scale, o)
        x = x - at(o, "lr", t) * v
        if due(o, "clip_extreme", t):
            x = clip_extreme(x, at(o, "e_pct", t))
        if due(o, "clip_small_norm", t):
            x = clip_small(x, x, at(o, "n_pct", t))
        if due(o, "clip_small_contribution", t):
            x = clip_small(x, x * g, at(o, "c_pct", t))
        x = rolled(x, -ox, -oy)
        v = rolled(v - g, -ox, -oy) + g  # the newest gradient stays where the jitter has put it
        x = x * (1 - at(o, "decay", t))
        if o["image_blur"]:
            x = blur(x, at(o, "sigma", t))
        activations.append(activation)
        images.append(target.decode(x))
    return Run(np.array(activations), np.array(images), images[-1])


def at(o: Options, name: str, t: int) -> float:
    """A schedule's value: the end itself is never reached."""
    start, end = o[f"{name}_start"], o[f"{name}_end"]
    return start + t * (end - start) / o["iter_n"]


def due(o: Options, name: str, t: int) -> bool:
    return o[name] and (t + 1) % o[f"{name}_every"] == 0


def rolled(x: Array, right: int, down: int) -> Array:
    return np.roll(np.roll(x, right, axis=2), down, axis=1)


def normalised(g: Array) -> Array:
    mean = np.abs(g).mean()
    return g / mean if mean > 0 else g


def penalty(r: Array, scale: float, o: Options) -> Array:
    r = r / scale**2
    return normalised(r) if o["grad_normalize"] else r


def p_norm_gradient(x: Array, p: float) -> Array:
    return p * np.abs(x) ** (p - 1) * np.sign(x)


def tv_gradient(x: Array, beta: float) -> Array:
    """Of the sum of (d1^2 + d2^2)^(beta/2) over forward differences, each floored at 1e-5."""
    d1 = np.diff(x, axis=1, append=x[:, -1:])
    d2 = np.diff(x, axis=2, append=x[:, :, -1:])
    v = np.maximum(np.sqrt(d1**2 + d2**2) ** beta, 1e-5)
    factor = v ** (2 * (beta / 2 - 1) / beta)
    return -beta * (np.diff(factor * d1, axis=1, prepend=0) + np.diff(factor * d2, prepend=0))


def clip_extreme(x: Array, pct: float) -> Array:
    return np.clip(x, np.percentile(x, pct / 2), np.percentile(x, 100 - pct / 2))


def clip_small(x: Array, of: Array, pct: float) -> Array:
    norm = np.sqrt((of**2).sum(0))
    return np.where(norm < np.percentile(norm, pct), 0, x)


def blur(x: Array, sigma: float) -> Array:
    return np.array([gaussian_filter(c, sigma) for c in x]) if sigma > 0 else x


class Maker(NamedTuple):
    """A net that makes images (3, h, w) of features; the centre of them is shown to the target."""

    net: CaffeNet
    input: str
    output: str
    target: Target

    def features(self, draws: np.random.RandomState, initial: npt.ArrayLike | None) -> Array:
        shape = self.net.blobs[self.input]
        drawn = 10 * np.maximum(0, draws.standard_normal(shape)) if initial is None else initial
        return np.asarray(drawn, float).reshape(shape)

    def passed(self, z: Array) -> tuple[Array, float, float, Array]:
        """The image as it is shown, and what the target says of it, with the gradient by z."""
        features = torch.from_numpy(z[None].astype(np.float32)).requires_grad_()
        made = self.net.forward({self.input: features}, [self.output])[self.output]
        image = made.detach().numpy()[0].astype(float)
        shape = self.target.net.input_shape
        top, left = ((image.shape[axis] - shape[axis]) // 2 for axis in (1, 2))
        shown = np.s_[:, top : top + shape[1], left : left + shape[2]]
        activation, weighted, g = self.target.passed(image[shown])
        padded = np.zeros_like(image)
        padded[shown] = g
        (gradient,) = torch.autograd.grad(made, features, torch.from_numpy(padded[None]).float())
        return image[shown], activation, weighted, gradient.numpy()[0].astype(float)


def dgn_gd(
    maker: Maker,
    draws: np.random.RandomState,
    initial: npt.ArrayLike | None = None,
    **options: Any,
) -> Run:
    """Gradient descent on a generator's features; the last update is never shown."""
    o = DGN_GD | options
    z = maker.features(draws, initial)
    v = np.zeros_like(z)
    activations, images = [], []
    for t in range(o["iter_n"]):
        image, activation, _, g = maker.passed(z)
        v = at(o, "momentum", t) * v + normalised(g)
        z = z - at(o, "lr", t) * v
        z = z * (1 - at(o, "decay", t))
        if o["feat_lower_bound"] is not None:
            z = np.maximum(z, o["feat_lower_bound"])
        if o["feat_upper_bound"] is not None:
            z = np.minimum(z, o["feat_upper_bound"])
        activations.append(activation)
        images.append(maker.target.decode(image))
    return Run(np.array(activations), np.array(images), images[-1])


def lbfgs(
    target: Target, draws: np.random.RandomState, initial: npt.ArrayLike | None, maxiter: int
) -> Run:
    """L-BFGS-B on pixels, each within 0..255."""
    if initial is None:
        initial = draws.randint(0, 256, (*target.net.input_shape[1:], 3))
    start = target.encode(initial)
    low, high = (target.encode(np.full(3, level)).ravel() for level in (0, 255))

    def passed(x: Array) -> tuple[Array, float, float, Array]:
        return x, *target.passed(x)

    return minimised(passed, target, start, list(zip(low, high, strict=True)), maxiter)


def dgn_lbfgs(
    maker: Maker,
    draws: np.random.RandomState,
    initial: npt.ArrayLike | None,
    bounds: Bounds | None,
    maxiter: int,
) -> Run:
    """L-BFGS-B on a generator's features."""
    start = maker.features(draws, initial)
    bounds = [(0.0, 100.0)] * start.size if bounds is None else bounds
    return minimised(maker.passed, maker.target, start, bounds, maxiter)


def minimised(
    passed: Callable[[Array], tuple[Array, float, float, Array]],
    target: Target,
    start: Array,
    bounds: Bounds,
    maxiter: int,
) -> Run:
    """SciPy's minimisation of minus the weighted activation; one entry per evaluation."""
    activations, images = [], []

    def loss(x: Array) -> tuple[float, Array]:
        image, activation, weighted, gradient = passed(x.reshape(start.shape))
        activations.append(activation)
        images.append(target.decode(image))
        return -weighted, gradient.ravel()

    options = {"maxiter": maxiter}
    found = minimize(
        loss, start.ravel(), jac=True, method="L-BFGS-B", bounds=bounds, options=options
    )
    image = passed(found.x.reshape(start.shape))[0]
    return Run(np.array(activations), np.array(images), target.decode(image))
