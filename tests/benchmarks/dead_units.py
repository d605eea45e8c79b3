"""How many units of SqueezeNet get nowhere, with a single start and with further ones.

    python tests/benchmarks/dead_units.py NET.prototxt NET.caffemodel --only lbfgs/fire9 --every 4

For each layer and method: how many units have which status, how many pictures are flat (of what the
unit sees no channel varies by more than 2 grey levels), how many activations did not rise above the
first, and what the further starts took. Runs are short: whether a unit gets anywhere shows early.
With --follow N, those that are stuck or flat then have N iterations.
"""

from __future__ import annotations

import re
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import process_time

import numpy as np
import torch

import cnnpref
from cnnpref.ascent.solution import Solution
from cnnpref.nets import Net

LAYERS = {"fire5/expand3x3": "center", "fire9/expand3x3": "center", "conv10": "all"}
SHORT = {"lbfgs": {"maxiter": 12}, "gd": {"iter_n": 20}, "spectral": {"steps": 16}}
MEAN = (104, 117, 123)
ONCE: dict[str, object] = {"retries": 0, "revive": "dead"}
ANEW: dict[str, object] = {}
FLAT = 2  # grey levels
BATCH = 64


@dataclass(frozen=True)
class Counts:
    """What became of the units of a layer; `left` are those that are stuck or flat."""

    left: list[int]
    statuses: Counter[str]
    flat: int
    unrisen: int
    again: int
    seconds: float

    def cells(self) -> str:
        told = ", ".join(f"{n} {status}" for status, n in sorted(self.statuses.items()))
        return f"{told} | {self.flat} | {self.unrisen} | {self.again} | {self.seconds:.0f}"


def count(net: Net, layer: str, method: str, units: list[int], given: dict[str, object]) -> Counts:
    """Maximise the units, batch by batch, and look at what comes out; `given` adds to SHORT."""
    position, started = LAYERS[layer], process_time()
    preset = "higher" if position == "all" else "lower"
    options = cnnpref.resolve(method, preset, {**SHORT[method], **given})
    statuses: Counter[str] = Counter()
    flat: set[int] = set()
    stuck: set[int] = set()
    unrisen = again = 0
    for start in range(0, len(units), BATCH):
        some = units[start : start + BATCH]
        target = cnnpref.Objective.units(net, layer, some, position, options.feature_weight)
        found = cnnpref.maximise(net, target, method, options)
        statuses.update(map(str, found.status))
        again += sum(map(bool, found.earlier))
        flat |= {u for u, p in zip(some, seen(net, layer, found), strict=True) if is_flat(p)}
        stuck |= {u for u, status in zip(some, found.status, strict=True) if status != "ok"}
        unrisen += sum(
            max(best, trace.max()) <= trace[0]
            for best, trace in zip(found.scores_best, found.activations, strict=True)
        )
    took = process_time() - started
    return Counts(sorted(flat | stuck), statuses, len(flat), unrisen, again, took)


def seen(net: Net, layer: str, found: Solution) -> Iterator[np.ndarray]:
    """What the units see of their pictures, in 8 bits."""
    where = np.ones(net.layers[layer], bool) if LAYERS[layer] == "all" else "center"
    top, left, bottom, right = net.receptive_field(layer, where)
    for image in found.images:
        yield np.rint(image[top:bottom, left:right].clip(0, 255))


def is_flat(picture: np.ndarray) -> bool:
    return bool(np.ptp(picture, axis=(0, 1)).max() <= FLAT)


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("prototxt", type=Path)
    parser.add_argument("caffemodel", type=Path)
    parser.add_argument("--only", default="", help="regular expression for METHOD/LAYER")
    parser.add_argument("--every", type=int, default=1, help="every so many units of a layer")
    parser.add_argument("--follow", type=int, default=0, help="iterations for those that are left")
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    net = cnnpref.load_caffe(asked.prototxt, asked.caffemodel, mean=MEAN)
    print("| method | layer | units | starts | status | flat | not risen | anew | CPU s |")
    print("|---|---|---:|---|---|---:|---:|---:|---:|")
    for layer in LAYERS:
        for method in ("lbfgs", "gd"):
            if not re.match(asked.only, f"{method}/{layer}"):
                continue
            units = list(range(0, net.layers[layer][0], asked.every))
            for name, given in (("one", ONCE), ("several", ANEW)):
                found = count(net, layer, method, units, given)
                tell(method, layer, units, name, found)
                if set(found.statuses) == {"ok"}:  # none of them would start again
                    break
            if asked.follow and found.left:
                longer = {**ANEW, next(iter(SHORT[method])): asked.follow}
                name = f"several, {asked.follow} iterations"
                tell(method, layer, found.left, name, count(net, layer, method, found.left, longer))


def tell(method: str, layer: str, units: list[int], starts: str, found: Counts) -> None:
    """A row of the table."""
    print(f"| {method} | {layer} | {len(units)} | {starts} | {found.cells()} |", flush=True)


if __name__ == "__main__":
    main()
