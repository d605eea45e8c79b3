"""How high our L-BFGS-B drives units beside SciPy's, at the same number of evaluations; its cost.

    python tests/benchmarks/solvers.py                # 12 minutes on a core
    python tests/benchmarks/solvers.py --targets 2    # most units of each line

Prints, for units of several layers on pixels and on generators' features, the rise of the
activation over the start after so many evaluations, ours over SciPy's: median and deciles. Runs end
where either stops. SqueezeNet and det1 are left out where their files are not in the shared folder
beside the checkout. Then the processor time of the solvers alone, without the evaluations.

Of 160 units after 10, 20 and 50 evaluations (2 cores of an EPYC, other work on them):

    least         1.0000  0.9953  0.9897        ms per row and evaluation       ours   SciPy
    decile 1      1.0000  1.0000  0.9997         1 row  of 154,587 variables    18.2     86
    median        1.0000  1.0000  1.0000         4 rows of 154,587              16.0    161
    decile 9      1.0000  1.0000  1.0005        16 rows of  29,403               3.1
    most          1.0000  1.1027  1.0199        64 rows of   4,096               0.6
                                                64 rows of     363               0.14

A row of 154,587 variables takes 53 MiB. With histories in single precision it cost up to 17 % less
time, but left SciPy's steps sooner: of 140 of these units decile 1 was 0.982 after 50 evaluations,
the least 0.65.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

import cnnpref
from cnnpref.ascent.variables import Generator
from cnnpref.methods import resolve
from cnnpref.nets import Net
from cnnpref.optim import lbfgsb, scipy_lbfgsb
from cnnpref.optim.problem import Evaluation

ROOT = Path(__file__).parents[2]
FOLDERS = {"shapes": ROOT / "nets" / "shapes"} | dict.fromkeys(
    ["squeezenet_v1.0", "det1", "generator_small"], ROOT.parent / "shared" / "nets"
)
EVALUATIONS = (10, 20, 50)
SIZES = (
    (1, 154587),
    (4, 154587),
    (1, 29403),
    (1, 4096),
    (1, 363),
    (16, 29403),
    (64, 4096),
    (64, 363),
)


class Row(NamedTuple):
    """Units of a layer, and how they are driven."""

    net: str
    layer: str
    units: int
    start: str = "noise"
    position: str = "center"
    generator: str | None = None
    weight: float = 10.0


ROWS = [
    Row("shapes", "conv2", 12, weight=1),
    Row("shapes", "conv3", 12, weight=1),
    Row("shapes", "conv5", 12),
    Row("shapes", "conv5", 12, "black", "all"),
    Row("shapes", "fc6", 12),
    Row("shapes", "fc8", 16),
    Row("shapes", "fc8", 16, "black"),
    Row("shapes", "conv3", 12, generator="generator", weight=1),
    Row("shapes", "conv5", 12, generator="generator"),
    Row("shapes", "fc8", 16, generator="generator"),
    Row("det1", "conv1", 8, weight=1),
    Row("det1", "conv3", 8, weight=1),
    Row("squeezenet_v1.0", "conv1", 4, weight=1),
    Row("squeezenet_v1.0", "fire5/expand3x3", 4, weight=1),
    Row("squeezenet_v1.0", "conv10", 2, "black", "all"),
    Row("squeezenet_v1.0", "conv10", 2, position="all", generator="generator_small"),
]


@cache
def load(net: str, name: str) -> Net:
    """The net, or the generator that lies beside it."""
    stem = FOLDERS[net] / name
    mean = (104, 117, 123) if name in ("shapes", "squeezenet_v1.0") else None
    return cnnpref.load_caffe(f"{stem}.prototxt", f"{stem}.caffemodel", mean=mean)


def traces(row: Row, targets: int, solver: str) -> list[np.ndarray]:
    """Activations of each unit, one per evaluation."""
    net = load(row.net, row.net)
    count = net.layers[row.layer][0]
    units = np.linspace(0, count - 1, min(row.units, targets), dtype=int).tolist()
    method, generator = "lbfgs", None
    options = {"maxiter": max(EVALUATIONS), "feature_weight": row.weight, "solver": solver}
    if row.generator:
        method, generator = "dgn_lbfgs", Generator(load(row.net, row.generator))
    else:
        options["initial_image"] = (0, 0, 0) if row.start == "black" else None
    objective = cnnpref.Objective.units(net, row.layer, units, row.position, row.weight)
    chosen = resolve(method, "higher", options)
    return cnnpref.maximise(net, objective, method, chosen, generator=generator).activations


def rises(ours: np.ndarray, theirs: np.ndarray, count: int) -> float:
    """The rise within so many evaluations, ours over theirs; NaN where nothing rises."""
    count = min(count, len(ours), len(theirs))
    mine, other = (trace[:count].max() - trace[0] for trace in (ours, theirs))
    return float(mine / other) if other > 0 else np.nan


def compare(targets: int) -> None:
    print(f"{'rise, ours / SciPy':44} units" + "".join(f"{n:>8}" for n in EVALUATIONS) + "   evals")
    ratios: list[list[float]] = []
    for row in ROWS:
        if not (FOLDERS[row.net] / f"{row.net}.caffemodel").exists():
            continue
        ours, theirs = (traces(row, targets, solver) for solver in ("batched", "scipy"))
        pairs = list(zip(ours, theirs, strict=True))
        found = [[rises(*pair, count) for count in EVALUATIONS] for pair in pairs]
        ratios += found
        name = f"{row.net} {row.layer} {row.generator or row.start} {row.position}"
        lengths = [np.mean([len(trace) for trace in each]) for each in (ours, theirs)]
        print(
            f"{name:44} {len(found):5}"
            + "".join(f"{value:8.4f}" for value in np.nanmedian(found, 0))
            + f"   {lengths[0]:.0f} / {lengths[1]:.0f}",
            flush=True,
        )
    for share in (0.0, 0.1, 0.2, 0.5, 0.8, 0.9, 1.0):
        name = {0.0: "least", 0.5: "median", 1.0: "most"}.get(share, f"decile {10 * share:.0f}")
        values = np.nanquantile(ratios, share, 0)
        print(f"{name:44} {len(ratios):5}" + "".join(f"{value:8.4f}" for value in values))


def chain(rows: int, size: int) -> tuple[Tensor, Tensor]:
    """Wishes for each pixel, and how strong they are."""
    noise = torch.Generator().manual_seed(0)
    wishes = torch.rand(rows, size, generator=noise) * 300 - 20
    return wishes, torch.rand(rows, size, generator=noise) ** 4 * 0.02 + 1e-4


def cost(rows: int, size: int, solvers: Sequence[str]) -> Iterator[float]:
    """Milliseconds of processor time per row and evaluation, of the solver alone."""
    wishes, strength = chain(rows, size)
    spent = 0.0

    def evaluate(x: Tensor, chosen: Sequence[int]) -> Evaluation:
        nonlocal spent
        began = time.process_time()
        off, pull = x - wishes[chosen], strength[chosen]
        bend = off.diff(dim=1)
        loss, gradient = (pull * off**2).sum(1) + 0.01 * (bend**2).sum(1), 2 * pull * off
        gradient[:, 1:] += 0.02 * bend
        gradient[:, :-1] -= 0.02 * bend
        spent += time.process_time() - began
        return Evaluation(-loss, loss, gradient, -loss)

    start, bounds = wishes.roll(1, 1).clamp(0, 255), (torch.zeros(size), torch.full((size,), 255.0))
    for solver in solvers:
        minimise = {"batched": lbfgsb.minimise, "scipy": scipy_lbfgsb.minimise}[solver]
        began, spent = time.process_time(), 0.0
        optimum = minimise(evaluate, start, *bounds, maxiter=20)
        evaluations = int(optimum.values.isfinite().sum())
        yield 1e3 * (time.process_time() - began - spent) / evaluations


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--targets", type=int, default=100, help="most units of a row")
    targets = parser.parse_args().targets
    torch.set_num_threads(1)
    compare(targets)
    print(f"\n{'ms per row and evaluation, the solver alone':44} {'ours':>8}{'SciPy':>8}")
    for rows, size in SIZES:
        solvers = ("batched", "scipy") if rows <= 4 else ("batched",)
        figures = "".join(f"{figure:8.2f}" for figure in cost(rows, size, solvers))
        print(f"{rows:2} x {size:6} variables{'':23} {figures}", flush=True)


if __name__ == "__main__":
    main()
