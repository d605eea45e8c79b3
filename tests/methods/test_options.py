"""The options of every method: the original's names and values, and what they cannot be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
from basics import refusal

from cnnpref.methods import METHODS, resolve

# The original's names and defaults; None stands for what it draws at random.
REFERENCE: dict[str, dict[str, Any]] = {
    "gd": {
        **{"feature_weight": 1, "initial_image": None, "iter_n": 200},
        **{"lr_start": 2, "lr_end": 1e-10, "momentum_start": 0.9, "momentum_end": 0.9},
        **{"decay_start": 0.1, "decay_end": 0.1, "grad_normalize": True},
        **{"image_jitter": True, "jitter_size": 32},
        **{"image_blur": True, "sigma_start": 2, "sigma_end": 0.5},
        **{"use_p_norm_reg": False, "p": 3, "lamda_start": 0.5, "lamda_end": 0.5},
        **{"use_TV_norm_reg": False, "TVbeta": 2, "TVlamda_start": 0.5, "TVlamda_end": 0.5},
        **{"clip_extreme": False, "clip_extreme_every": 4, "e_pct_start": 1, "e_pct_end": 1},
        **{"clip_small_norm": False, "clip_small_norm_every": 4},
        **{"n_pct_start": 5, "n_pct_end": 5},
        **{"clip_small_contribution": False, "clip_small_contribution_every": 4},
        **{"c_pct_start": 5, "c_pct_end": 5},
    },
    "lbfgs": {"feature_weight": 1, "initial_image": None, "maxiter": 500},
    "dgn_gd": {
        **{"feature_weight": 1, "iter_n": 200, "lr_start": 2, "lr_end": 1e-10},
        **{"momentum_start": 0.9, "momentum_end": 0.9, "decay_start": 0.01, "decay_end": 0.01},
    },
    "dgn_lbfgs": {"feature_weight": 1, "maxiter": 500},
}

# What the original does not have, or has no choice of: as there, unless asked for.
BEYOND = {"unshift_momentum": False, "patience": 0, "solver": "scipy", "importance": False}
BEYOND |= {"gradient_blur": 0.0, "fixed_mean": 0.0, "fixed_sd": 0.0, "fixed_norm": 0.0}
BEYOND |= {"retries": 0, "revive": "dead", "canvas": "image", "precision": "float32"}
BEYOND |= dict.fromkeys(("gradient_blur", "fixed_mean", "fixed_sd", "fixed_norm"), 0)

# The settings of the original's examples, as they are used.
_GD = {
    **{"iter_n": 200, "lr_start": 1, "lr_end": 1, "momentum_start": 0.001, "momentum_end": 0.001},
    **{"decay_start": 0.001, "decay_end": 0.001, "image_blur": True, "sigma_start": 2.5},
    **{"sigma_end": 0.5, "image_jitter": True, "clip_extreme": False, "feature_weight": 1},
    **{"clip_small_norm": True, "clip_small_norm_every": 1, "n_pct_start": 5, "n_pct_end": 5},
    **{"clip_small_contribution": True, "clip_small_contribution_every": 1},
    **{"c_pct_start": 5, "c_pct_end": 5, "use_p_norm_reg": False, "use_TV_norm_reg": False},
}
_BLACK = (0, 0, 0)
EXAMPLES: dict[tuple[str, str], dict[str, Any]] = {
    ("gd", "lower"): {**_GD, "jitter_size": 4},
    ("gd", "higher"): {**_GD, "jitter_size": 32},
    ("lbfgs", "lower"): {"maxiter": 50, "initial_image": _BLACK, "feature_weight": 1},
    ("lbfgs", "higher"): {"maxiter": 500, "initial_image": _BLACK, "feature_weight": 10},
    ("dgn_gd", "lower"): {
        **{"iter_n": 200, "lr_start": 0.1, "lr_end": 0.01, "feature_weight": 1},
        **{"momentum_start": 0.1, "momentum_end": 0.1, "decay_start": 0.001, "decay_end": 0.001},
    },
    ("dgn_gd", "higher"): {
        **{"iter_n": 200, "lr_start": 2, "lr_end": 1e-10, "feature_weight": 10},
        **{"momentum_start": 0.9, "momentum_end": 0.9, "decay_start": 0.01, "decay_end": 0.01},
    },
    ("dgn_lbfgs", "lower"): {"maxiter": 200, "feature_weight": 0.05},
    ("dgn_lbfgs", "higher"): {"maxiter": 500, "feature_weight": 10},
}


@pytest.mark.parametrize("method", REFERENCE)
def test_the_reference_preset_has_the_originals_names_and_defaults(method: str) -> None:
    options = asdict(resolve(method, "reference"))
    known = {name: value for name, value in options.items() if name not in BEYOND}
    assert known == REFERENCE[method]
    assert options.items() - known.items() <= BEYOND.items()


@pytest.mark.parametrize(("method", "preset"), EXAMPLES)
def test_presets_are_the_settings_of_the_originals_examples(method: str, preset: str) -> None:
    options = asdict(resolve(method, preset))
    assert {name: options[name] for name in EXAMPLES[method, preset]} == EXAMPLES[method, preset]
    # what the examples do not name is as in the reference
    others = options.keys() - EXAMPLES[method, preset].keys() - BEYOND.keys()
    assert all(options[name] == REFERENCE[method][name] for name in others)


@pytest.mark.parametrize(
    ("method", "preset"), [(m, p) for m in METHODS for p in METHODS[m].presets]
)
def test_every_option_has_its_declared_type(method: str, preset: str) -> None:
    options = resolve(method, preset)
    for name, kind in get_type_hints(type(options)).items():
        value = getattr(options, name)
        assert type(value) in (kind, *get_args(kind)) or value == _BLACK


@pytest.mark.parametrize("method", METHODS)
def test_every_option_has_a_meaning_and_a_default_that_it_can_have(method: str) -> None:
    for option in fields(METHODS[method].options):
        assert option.metadata["meaning"]
        assert option.metadata["kind"].convert(option.default) == option.default


def test_overrides_win_over_the_preset_and_become_the_options_type() -> None:
    lower = resolve("gd", "lower")
    given = {"iter_n": 7.0, "lr_end": 3, "image_blur": False, "initial_image": [1, 2, 3.5]}
    wanted = {**given, "iter_n": 7, "lr_end": 3.0, "initial_image": (1.0, 2.0, 3.5)}
    options = resolve("gd", "lower", given)
    assert options == replace(lower, **wanted)
    assert type(options.iter_n) is int
    assert type(options.lr_end) is float
    assert resolve("gd", "lower", {"iter_n": np.int64(7), "lr_end": np.float32(3)}).iter_n == 7


@pytest.mark.parametrize(
    ("shape", "position", "preset"),
    [
        ((96, 55, 55), "center", "lower"),
        ((96, 55, 55), (3, 4), "lower"),
        ((96, 55, 55), "all", "higher"),
        ((1000, 1, 1), "center", "higher"),
        ((1000,), "center", "higher"),
    ],
)
def test_single_positions_of_a_map_are_lower_and_all_else_is_higher(
    shape: Sequence[int], position: str | Sequence[int], preset: str
) -> None:
    assert {m.default_preset(shape, position) for m in METHODS.values()} == {preset}


def refused(method: str, preset: str = "lower", **overrides: Any) -> str:
    return refusal(resolve, method, preset, overrides)


def test_unknown_names_are_told_with_the_nearest() -> None:
    assert refused("dgn_gb").startswith("unknown method 'dgn_gb' (did you mean 'dgn_gd'")
    assert refused("gd", "low").startswith("unknown preset 'low' (did you mean 'lower'?); known")
    told = refused("gd", iter_m=3)
    assert told.startswith("unknown option of method 'gd': 'iter_m' (did you mean 'iter_n'")
    assert "known are: feature_weight, " in told
    assert "unknown option of method 'lbfgs': 'iter_n'" in refused("lbfgs", iter_n=3)


NUMBER = "a number in -1e+30..1e+30"
POSITIVE = "an integer in 1..1000000000"
COLOUR = "null or three numbers in 0..255 (red, green, blue)"


@pytest.mark.parametrize(
    ("name", "allowed", "values"),
    [
        (
            "iter_n",
            "an integer in 1..1000000",
            [0, 1_000_001, -1, 2.5, "5", None, True, np.nan, np.inf, 10**400, [3]],
        ),
        ("clip_extreme_every", POSITIVE, [0]),
        ("clip_small_norm_every", POSITIVE, [0]),
        ("clip_small_contribution_every", POSITIVE, [0]),
        ("jitter_size", "an integer in 0..1000000000", [-1, 0.5]),
        ("patience", "an integer in 0..1000000000", [-1]),
        ("retries", "an integer in 0..1000000000", [-1]),
        ("lr_start", NUMBER, [np.nan, np.inf, -np.inf, "1.0", "e-10", None, False, 10**400, 1j]),
        ("feature_weight", NUMBER, [np.inf, "1"]),
        ("sigma_start", "a number in 0..1000", [-0.1, 1001, np.nan]),
        ("e_pct_end", "a number in 0..100", [-1, 100.5, np.nan]),
        ("n_pct_start", "a number in 0..100", [101]),
        ("c_pct_start", "a number in 0..100", [101]),
        ("TVbeta", "a number in 1e-06..1e+06", [0, -2]),
        ("image_blur", "true or false", [1, 0, "yes", None]),
        ("initial_image", COLOUR, ["abc", [1, 2], [1, 2, 3, 4], [0, 0, 256], [0, -1, 0], 3]),
        ("initial_image", COLOUR, [[0, 0, np.nan], [True, 1, 2], ["1", 2, 3], {}, "black"]),
    ],
)
def test_a_wrong_value_is_told_with_what_is_allowed(
    name: str, allowed: str, values: Sequence[Any]
) -> None:
    for value in values:
        told = refused("gd", **{name: value})
        assert told == f"option gd.{name}: got {value!r}, allowed is {allowed}"


@pytest.mark.parametrize("method", ["lbfgs", "dgn_lbfgs"])
def test_the_solver_is_chosen_by_name(method: str) -> None:
    assert resolve(method, "lower").solver == resolve(method, "higher").solver == "batched"
    assert resolve(method, "lower", {"solver": "scipy"}).solver == "scipy"
    for value in ("scypi", "", None, 1, True, ["scipy"], {}):
        told = refused(method, solver=value)
        assert told == f"option {method}.solver: got {value!r}, allowed is batched or scipy"


def test_powers_of_ten_as_yaml_reads_them() -> None:
    """YAML takes 1e-10 for text, and it is the default of lr_end."""
    assert resolve("gd", "reference", {"lr_end": "1e-10"}) == resolve("gd", "reference")


@pytest.mark.parametrize("method", ["gd", "dgn_gd", "spectral", "maco"])
def test_the_precision_is_chosen_by_name(method: str) -> None:
    assert resolve(method, "lower").precision == "float32"
    told = refused(method, precision="half")
    assert told == f"option {method}.precision: got 'half', allowed is float32 or tf32 or bf16"


@pytest.mark.parametrize("method", ["lbfgs", "dgn_lbfgs"])
def test_lbfgs_takes_no_bfloat16(method: str) -> None:
    assert resolve(method, "lower", {"precision": "tf32"}).precision == "tf32"
    told = refused(method, precision="bf16")
    assert told == f"option {method}.precision: got 'bf16', allowed is float32 or tf32"


def test_the_canvas_is_chosen_by_name() -> None:
    assert resolve("gd", "lower").canvas == "image"
    assert resolve("gd", "lower", {"canvas": "field"}).canvas == "field"
    told = refused("gd", canvas="box")
    assert told == "option gd.canvas: got 'box', allowed is image or field"
