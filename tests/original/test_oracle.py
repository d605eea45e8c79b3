"""The four functions of the original's names against plain loops of its algorithms.

Every iteration is compared: its activation and its image. `python tests/original/test_oracle.py`
prints how far apart they are: the product computes in float32, the loops in double precision.
The seed was chosen so that no ReLU, maximum or percentile of any run is about to flip.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import oracle
import pytest
from oracle import Maker, Run, Target
from small import GENERATOR, NET, random_net

from cnnpref import prefer_img_dgn_gd, prefer_img_dgn_lbfgs, prefer_img_gd, prefer_img_lbfgs

Options = dict[str, Any]
SEED = 7
# Largest differences allowed: of an activation, as a share of the run's largest one (measured:
# 1.2e-6), and of a pixel, of 255 (1.4e-4). A random start that is off by 2e-5 makes 7e-6 and 8e-4.
ACTIVATION, IMAGE = 5e-5, 0.01
LAYERS = ("conv1", "fc")  # one unit that sees a part of the image; two that see all of it
SEARCHED = ("conv2", "fc")  # conv1 is linear: its line searches end by rounding

WIDE = NET.replace("dim: 20 dim: 20", "dim: 20 dim: 24")
# Images of 23 x 29, of which the net is shown the centre: not the first row, nor the last two; not
# the first two columns, nor the last three.
MAKER = (
    GENERATOR.replace("num_output: 363", "num_output: 462")
    .replace("dim: 11 dim: 11", "dim: 11 dim: 14")
    .replace("kernel_size: 4", "kernel_size: 5")
)

MAXITER = 4  # of L-BFGS-B
PLAIN: Options = {
    "iter_n": 12,
    "lr_start": 1.5,
    "lr_end": 0.5,
    "momentum_start": 0.0,
    "momentum_end": 0.0,
    "decay_start": 0.0,
    "decay_end": 0.0,
    "grad_normalize": True,
    "image_jitter": False,
    "image_blur": False,
}
MOMENTUM = {"momentum_start": 0.8, "momentum_end": 0.3}
DECAY = {"decay_start": 0.05, "decay_end": 0.01}
JITTER = {"image_jitter": True, "jitter_size": 3}
BLUR = {"image_blur": True, "sigma_start": 1.2, "sigma_end": 0.4}
P_NORM = {"use_p_norm_reg": True, "p": 2.5, "lamda_start": 0.9, "lamda_end": 0.2}
TV = {"use_TV_norm_reg": True, "TVbeta": 1.5, "TVlamda_start": 0.2, "TVlamda_end": 1.2}
EXTREME = {"clip_extreme": True, "clip_extreme_every": 3, "e_pct_start": 4.0, "e_pct_end": 20.0}
SMALL_NORM = {
    "clip_small_norm": True,
    "clip_small_norm_every": 2,
    "n_pct_start": 5.0,
    "n_pct_end": 25.0,
}
SMALL_CONTRIBUTION = {
    "clip_small_contribution": True,
    "clip_small_contribution_every": 4,
    "c_pct_start": 20.0,
    "c_pct_end": 50.0,
}
UNNORMALISED = {"grad_normalize": False, "lr_start": 40.0, "lr_end": 10.0}
STEPS = MOMENTUM | DECAY | JITTER | BLUR | P_NORM | TV | EXTREME | SMALL_NORM
EVERYTHING = PLAIN | STEPS | SMALL_CONTRIBUTION
# Where nothing is normalised, penalties need weights like these to be of any effect.
STRONG = {"lamda_start": 90.0, "lamda_end": 20.0, "TVlamda_start": 200.0, "TVlamda_end": 1000.0}
GD: dict[str, Options] = {
    "defaults": {"iter_n": 12},
    "plain": PLAIN,
    "unnormalised": PLAIN | UNNORMALISED,
    "momentum": PLAIN | MOMENTUM,
    "decay": PLAIN | DECAY,
    "jitter": PLAIN | JITTER,
    "jitter and momentum": PLAIN | JITTER | MOMENTUM,
    "blur": PLAIN | BLUR,
    "blur from 0": PLAIN | BLUR | {"sigma_start": 0.0, "sigma_end": 2.0},
    "p-norm": PLAIN | P_NORM,
    "p-norm unnormalised": PLAIN | P_NORM | UNNORMALISED | STRONG,
    "TV": PLAIN | TV,
    "TV unnormalised": PLAIN | TV | UNNORMALISED | STRONG,
    "extreme": PLAIN | EXTREME,
    "small norm": PLAIN | SMALL_NORM,
    "small contribution": PLAIN | SMALL_CONTRIBUTION,
    "everything": EVERYTHING,
    "everything unnormalised": EVERYTHING | UNNORMALISED | STRONG,
}

BOUNDS = {"feat_lower_bound": 1.5, "feat_upper_bound": 12.0}
FEATURES = np.arange(16) % 5
PLAIN_DGN = {name: PLAIN[name] for name in oracle.DGN_GD.keys() & PLAIN.keys()}
DGN_EVERYTHING = PLAIN_DGN | MOMENTUM | DECAY | BOUNDS
DGN_GD: dict[str, Options] = {
    "defaults": {"iter_n": 12},
    "plain": PLAIN_DGN,
    "momentum": PLAIN_DGN | MOMENTUM,
    "decay": PLAIN_DGN | DECAY,
    "bounds": PLAIN_DGN | BOUNDS,
    "no bounds": PLAIN_DGN | {"feat_lower_bound": None, "feat_upper_bound": None},
    "bounds of each": PLAIN_DGN
    | {"feat_lower_bound": FEATURES - 2.0, "feat_upper_bound": FEATURES + 2.0},
    "everything": DGN_EVERYTHING,
}
FEATURE_BOUNDS = [(i % 3 or None, 6.0 + i if i % 4 else None) for i in range(16)]
DGN_LBFGS = {
    "defaults": (None, None),
    "bounds": (FEATURE_BOUNDS, None),
    "a large feature": (None, np.where(np.arange(16) == 6, 90, FEATURES)),
}
IMAGES = {
    "black": np.zeros((20, 24, 3)),
    "ramp": np.arange(20 * 24 * 3).reshape(20, 24, 3) / 6,
}


@cache
def target(layer: str) -> Target:
    """One unit driven up, one of another place and weight driven down; of conv1 one unit alone."""
    with TemporaryDirectory() as folder:
        net = random_net(Path(folder), WIDE)
    mask, weight = np.zeros(net.layers[layer]), np.full(net.layers[layer], 0.7)
    if layer == "conv1":
        mask[2, 1, 2] = 1
        return Target(net, layer, mask, 0.4)
    weight[5] = -1.3
    for unit in (2, 5) if layer == "fc" else ((2, 1, 2), (5, 3, 1)):
        mask[unit] = 1
    return Target(net, layer, mask, weight)


@cache
def maker(layer: str, blob: str = "feat") -> Maker:
    with TemporaryDirectory() as folder:
        return Maker(random_net(Path(folder), MAKER, 0.3), blob, "made", target(layer))


def draws() -> np.random.RandomState:
    return np.random.RandomState(SEED)


def watched(generate: Callable[..., np.ndarray], *args: Any, **options: Any) -> Run:
    """What a function of the product shows and returns."""
    activations, images = [], []

    def callback(i: int, image: np.ndarray, activation: float) -> None:
        assert i == len(images) + 1
        activations.append(activation)
        images.append(image)

    np.random.seed(SEED)  # noqa: NPY002  (as the original's users do)
    result = generate(*args, **options, callback=callback)
    return Run(np.array(activations), np.array(images), result)


def gd_runs(layer: str, options: Options, initial: Any = None) -> tuple[Run, Run]:
    ours = watched(prefer_img_gd.generate_image, *target(layer), initial, **options, disp_every=99)
    return ours, oracle.gd(target(layer), draws(), initial, **options)


def dgn_gd_runs(made: Maker, options: Options, initial: Any = None) -> tuple[Run, Run]:
    blobs = {"input_layer_gen": made.input, "output_layer_gen": made.output}
    generate = prefer_img_dgn_gd.generate_image
    ours = watched(generate, made.net, *made.target, initial, **options, **blobs, disp_every=99)
    return ours, oracle.dgn_gd(made, draws(), initial, **options)


def lbfgs_runs(layer: str, initial: Any = None) -> tuple[Run, Run]:
    options = {"maxiter": MAXITER, "disp": False}
    ours = watched(prefer_img_lbfgs.generate_image, *target(layer), initial, **options)
    return ours, oracle.lbfgs(target(layer), draws(), initial, MAXITER)


def dgn_lbfgs_runs(layer: str, bounds: Any, initial: Any) -> tuple[Run, Run]:
    made, options = maker(layer), {"maxiter": MAXITER, "disp": False}
    generate = prefer_img_dgn_lbfgs.generate_image
    ours = watched(generate, made.net, *made.target, initial, bounds, **options)
    return ours, oracle.dgn_lbfgs(made, draws(), initial, bounds, MAXITER)


def errors(ours: Run, theirs: Run) -> tuple[float, float]:
    """The largest differences: of activations, as a share of the largest, and of images."""
    assert ours.images.shape == theirs.images.shape
    activation = np.abs(ours.activations - theirs.activations).max()
    images = np.abs(ours.images - theirs.images).max()
    result = np.abs(ours.result - theirs.result).max()
    return activation / np.abs(theirs.activations).max(), max(images, result)


def check(ours: Run, theirs: Run) -> None:
    activation, image = errors(ours, theirs)
    assert activation <= ACTIVATION
    assert image <= IMAGE


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", GD)
def test_gd(layer: str, name: str) -> None:
    check(*gd_runs(layer, GD[name]))


def test_gd_from_an_image() -> None:
    check(*gd_runs("fc", EVERYTHING, IMAGES["ramp"]))


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", DGN_GD)
def test_dgn_gd(layer: str, name: str) -> None:
    check(*dgn_gd_runs(maker(layer), DGN_GD[name]))


def test_dgn_gd_from_features() -> None:
    check(*dgn_gd_runs(maker("fc"), DGN_EVERYTHING, FEATURES))


def test_dgn_gd_on_a_map_of_features() -> None:
    check(*dgn_gd_runs(maker("fc", "map"), DGN_EVERYTHING))


@pytest.mark.parametrize("layer", SEARCHED)
@pytest.mark.parametrize("start", [None, *IMAGES])
def test_lbfgs(layer: str, start: str | None) -> None:
    check(*lbfgs_runs(layer, IMAGES.get(start)))


@pytest.mark.parametrize("layer", SEARCHED)
@pytest.mark.parametrize("name", DGN_LBFGS)
def test_dgn_lbfgs(layer: str, name: str) -> None:
    check(*dgn_lbfgs_runs(layer, *DGN_LBFGS[name]))


def changed(name: str, options: Options) -> Options:
    """The options with another value of one of them."""
    value = options[name]
    if name.endswith(("_start", "_end")):
        stem = name.rpartition("_")[0]
        value = options[stem + ("_end" if name.endswith("_start") else "_start")]
    else:
        value = not value if isinstance(value, bool) else value + 1
    return options | {name: value}


@pytest.mark.parametrize("name", EVERYTHING)
def test_every_option_of_gd_counts(name: str) -> None:
    """In the run with everything, far more than what the comparison allows."""
    runs = (oracle.gd(target("fc"), draws(), **o) for o in (EVERYTHING, changed(name, EVERYTHING)))
    one, other = (run.result for run in runs)
    assert np.abs(one - other).max() > 100 * IMAGE


@pytest.mark.parametrize("name", sorted(DGN_EVERYTHING))
def test_every_option_of_dgn_gd_counts(name: str) -> None:
    runs = (
        oracle.dgn_gd(maker("fc"), draws(), **o)
        for o in (DGN_EVERYTHING, changed(name, DGN_EVERYTHING))
    )
    one, other = (run.result for run in runs)
    assert np.abs(one - other).max() > 100 * IMAGE


def main() -> None:
    runs: dict[str, Callable[[], tuple[Run, Run]]] = {}
    for layer in LAYERS:
        for name, options in GD.items():
            runs[f"gd {layer} {name}"] = partial(gd_runs, layer, options)
        for name, options in DGN_GD.items():
            runs[f"dgn_gd {layer} {name}"] = partial(dgn_gd_runs, maker(layer), options)
    for layer in SEARCHED:
        for start in (None, *IMAGES):
            runs[f"lbfgs {layer} {start}"] = partial(lbfgs_runs, layer, IMAGES.get(start))
        for name, given in DGN_LBFGS.items():
            runs[f"dgn_lbfgs {layer} {name}"] = partial(dgn_lbfgs_runs, layer, *given)
    for name, run in runs.items():
        print(f"{name:36}", *(f"{error:9.1e}" for error in errors(*run())))


if __name__ == "__main__":
    main()
