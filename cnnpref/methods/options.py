"""The options of every method: names and defaults of the original, settings of its examples."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from cnnpref.errors import UserError, suggest


@dataclass(frozen=True)
class GdOptions:
    """Gradient descent with momentum on pixels; schedules are linear, percentages in 0..100.

    Attributes:
        feature_weight: what the target's activation is multiplied with.
        initial_image: an RGB colour (0..255) to start from; None is uniform noise.
        iter_n: number of iterations.
        lr_start, lr_end: step length, in the 0..255 scale of pixels.
        momentum_start, momentum_end: share of the last step that is kept.
        decay_start, decay_end: share of the image that is lost per iteration.
        grad_normalize: divide each unit's gradient by its mean absolute value.
        image_jitter, jitter_size: shift the image by up to so many pixels per iteration.
        image_blur, sigma_start, sigma_end: Gaussian blur per iteration, in pixels.
        use_p_norm_reg, p, lamda_start, lamda_end: penalty on the p-norm of the image.
        use_TV_norm_reg, TVbeta, TVlamda_start, TVlamda_end: penalty on its total variation.
        clip_extreme, ..._every, e_pct_start, e_pct_end: clip this share of extreme values.
        clip_small_norm, ..._every, n_pct_start, n_pct_end: zero this share of pixels, by norm.
        clip_small_contribution, ..., c_pct_start, c_pct_end: by norm of pixel times gradient.
        unshift_momentum: move all of the momentum back with the image after its jitter; the
            original leaves the newest gradient where the jitter had put it.
        patience: stop a unit whose activation has not risen for so many iterations; 0 is never.
        retries: how often a unit without gradient starts anew, from other noise.
        canvas: "image", or "field": only what the units see varies, and a margin as wide as the
            jitter; jitter, blur and clips are for that part alone, the rest is left blank.
        precision: "tf32" rounds the factors of products to 10 bits, on GPUs that can; "float32".
    """

    feature_weight: float = 1.0
    initial_image: tuple[float, float, float] | None = None
    iter_n: int = 200
    lr_start: float = 2.0
    lr_end: float = 1e-10
    momentum_start: float = 0.9
    momentum_end: float = 0.9
    decay_start: float = 0.1
    decay_end: float = 0.1
    grad_normalize: bool = True
    image_jitter: bool = True
    jitter_size: int = 32
    image_blur: bool = True
    sigma_start: float = 2.0
    sigma_end: float = 0.5
    use_p_norm_reg: bool = False
    p: float = 3.0
    lamda_start: float = 0.5
    lamda_end: float = 0.5
    use_TV_norm_reg: bool = False  # noqa: N815  (the original's name)
    TVbeta: float = 2.0
    TVlamda_start: float = 0.5
    TVlamda_end: float = 0.5
    clip_extreme: bool = False
    clip_extreme_every: int = 4
    e_pct_start: float = 1.0
    e_pct_end: float = 1.0
    clip_small_norm: bool = False
    clip_small_norm_every: int = 4
    n_pct_start: float = 5.0
    n_pct_end: float = 5.0
    clip_small_contribution: bool = False
    clip_small_contribution_every: int = 4
    c_pct_start: float = 5.0
    c_pct_end: float = 5.0
    unshift_momentum: bool = False
    patience: int = 0
    retries: int = 0
    canvas: str = "image"
    precision: str = "float32"


@dataclass(frozen=True)
class LbfgsOptions:
    """L-BFGS-B on pixels, each within 0..255.

    Attributes:
        feature_weight: what the target's activation is multiplied with.
        initial_image: an RGB colour (0..255) to start from; None is uniform noise.
        maxiter: most iterations.
        solver: "batched", all units of a batch at once, on their device; or "scipy", one by one.
        retries: how often a unit without gradient starts anew, from noise.
    """

    feature_weight: float = 1.0
    initial_image: tuple[float, float, float] | None = None
    maxiter: int = 500
    solver: str = "batched"
    retries: int = 0


@dataclass(frozen=True)
class DgnGdOptions:
    """Gradient descent with momentum on the features that a generator makes an image of.

    Attributes:
        feature_weight: what the target's activation is multiplied with.
        iter_n: number of iterations.
        lr_start, lr_end: step length, in the scale of the features.
        momentum_start, momentum_end: share of the last step that is kept.
        decay_start, decay_end: share of the features that is lost per iteration.
        patience: stop a unit whose activation has not risen for so many iterations; 0 is never.
        retries: how often a unit without gradient starts anew, from other features.
        precision: "tf32" rounds the factors of products to 10 bits, on GPUs that can; "float32".
    """

    feature_weight: float = 1.0
    iter_n: int = 200
    lr_start: float = 2.0
    lr_end: float = 1e-10
    momentum_start: float = 0.9
    momentum_end: float = 0.9
    decay_start: float = 0.01
    decay_end: float = 0.01
    patience: int = 0
    retries: int = 0
    precision: str = "float32"


@dataclass(frozen=True)
class DgnLbfgsOptions:
    """L-BFGS-B on the features that a generator makes an image of.

    Attributes:
        feature_weight: what the target's activation is multiplied with.
        maxiter: most iterations.
        solver: "batched", all units of a batch at once, on their device; or "scipy", one by one.
        retries: how often a unit without gradient starts anew, from other features.
    """

    feature_weight: float = 1.0
    maxiter: int = 500
    solver: str = "batched"
    retries: int = 0


Options = GdOptions | LbfgsOptions | DgnGdOptions | DgnLbfgsOptions

# What options that are words may say.
CHOICES = {
    "solver": ("batched", "scipy"),
    "canvas": ("image", "field"),
    "precision": ("float32", "tf32"),
}

METHODS: dict[str, type[Options]] = {
    "gd": GdOptions,
    "lbfgs": LbfgsOptions,
    "dgn_gd": DgnGdOptions,
    "dgn_lbfgs": DgnLbfgsOptions,
}

_GD_LOWER: dict[str, Any] = {
    "lr_start": 1.0,
    "lr_end": 1.0,
    "momentum_start": 0.001,
    "momentum_end": 0.001,
    "decay_start": 0.001,
    "decay_end": 0.001,
    "sigma_start": 2.5,
    "sigma_end": 0.5,
    "jitter_size": 4,
    "clip_small_norm": True,
    "clip_small_norm_every": 1,
    "clip_small_contribution": True,
    "clip_small_contribution_every": 1,
}

_BLACK = (0.0, 0.0, 0.0)
_DGN_GD_LOWER: dict[str, Any] = {
    "lr_start": 0.1,
    "lr_end": 0.01,
    "momentum_start": 0.1,
    "momentum_end": 0.1,
    "decay_start": 0.001,
    "decay_end": 0.001,
}

# The settings of the original's shipped examples. "reference": the bare defaults of its functions,
# with which gd does not ascend on a single unit of a convolution layer, and the solver that it has.
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    "lower": {
        "gd": _GD_LOWER,
        "lbfgs": {"maxiter": 50, "initial_image": _BLACK},
        "dgn_gd": _DGN_GD_LOWER,
        "dgn_lbfgs": {"maxiter": 200, "feature_weight": 0.05},
    },
    "higher": {
        "gd": _GD_LOWER | {"jitter_size": 32},
        "lbfgs": {"maxiter": 500, "initial_image": _BLACK, "feature_weight": 10.0},
        "dgn_gd": {"feature_weight": 10.0},
        "dgn_lbfgs": {"maxiter": 500, "feature_weight": 10.0},
    },
    "reference": {
        "gd": {},
        "lbfgs": {"solver": "scipy"},
        "dgn_gd": {},
        "dgn_lbfgs": {"solver": "scipy"},
    },
}


def default_preset(shape: Sequence[int], position: str | Sequence[int] = "center") -> str:
    """The preset for a target: "lower" for one position of a map, "higher" for anything else.

    Args:
        shape: of the layer, (C, H, W) or (C,).
        position: the unit's: "center", (y, x), or "all" = the sum over the map.
    """
    single = len(shape) == 3 and shape[1] * shape[2] > 1 and position != "all"
    return "lower" if single else "higher"


def resolve(method: str, preset: str, overrides: Mapping[str, Any] | None = None) -> Options:
    """All options of a method: its defaults, then the preset's, then `overrides`.

    Raises:
        UserError: an unknown method, preset or option, or a value that it cannot take.
    """
    _known("method", method, METHODS)
    _known("preset", preset, PRESETS)
    chosen = {**PRESETS[preset][method], **(overrides or {})}
    kinds = {f.name: str(f.type) for f in fields(METHODS[method])}
    for name, value in chosen.items():
        _known(f"option of method {method!r}:", name, kinds)
        chosen[name] = _checked(f"{method}.{name}", kinds[name], value)
    return METHODS[method](**chosen)


def _known(what: str, name: str, known: Iterable[str]) -> None:
    if name not in known:
        raise UserError(
            f"unknown {what} {name!r}{suggest(name, known)}; known are: {', '.join(known)}"
        )


def _checked(name: str, kind: str, value: Any) -> Any:
    """`value` as the option's type, within its range."""
    if kind.startswith("tuple"):
        return _colour(name, value)
    if kind == "bool":
        _require(isinstance(value, bool), name, value, "true or false")
        return value
    if kind == "str":
        choices = CHOICES[name.rpartition(".")[2]]
        _require(value in choices, name, value, " or ".join(choices))
        return value
    if kind == "int":
        least = 0 if name.endswith(("jitter_size", "patience", "retries")) else 1
        whole = _is_number(value, least, 1e9) and value == int(value)
        _require(whole, name, value, f"an integer in {least}..1000000000")
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d+[eE][+-]?\d+", value):
        value = float(value)  # YAML takes 1e-10 for text: it has no point
    low, high = _range(name)
    _require(_is_number(value, low, high), name, value, f"a number in {low:g}..{high:g}")
    return float(value)


def _is_number(value: Any, low: float, high: float) -> bool:
    kinds = int | float | np.integer | np.floating
    return isinstance(value, kinds) and not isinstance(value, bool) and bool(low <= value <= high)


def _range(name: str) -> tuple[float, float]:
    if "_pct_" in name:
        return 0, 100
    if "sigma_" in name:
        return 0, 1000
    if name.endswith("TVbeta"):
        return 1e-6, 1e6  # it is divided by
    return -1e30, 1e30


def _colour(name: str, value: Any) -> tuple[float, float, float] | None:
    if value is None:
        return None
    fits = isinstance(value, Sequence) and len(value) == 3
    fits = fits and all(_is_number(v, 0, 255) for v in value)
    _require(fits, name, value, "null or three numbers in 0..255 (red, green, blue)")
    red, green, blue = (float(v) for v in value)
    return red, green, blue


def _require(condition: bool, name: str, value: Any, allowed: str) -> None:
    if not condition:
        raise UserError(f"option {name}: got {value!r}, allowed is {allowed}")
