"""Ours beside the plain way, torch-lucent and the machine's limit: see README.md in this folder.

    python tests/benchmarks/speed.py --only 'gd/conv1@squeezenet'

Prints a table, a row for each method and layer. --only is a regular expression for the start of
METHOD/LAYER@NET.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from statistics import median

import contest
import limit
import torch
from cases import VIEWED, Case
from command import asked
from lucent_peer import Peer
from projection import project

import cnnpref

SECONDS = 10.0  # a run of ours should take no longer
TOLERANCE = 5e-3  # one ReLU or maximum that flips changes a late gradient by 1e-3
COLUMNS = [
    *("method", "layer", "batch", "ours / plain", "ours / lucent", "ours / gd", "of the limit"),
    "images a minute",
]


def fitted(case: Case, most: int) -> Case:
    """The case with the largest batch, a power of two from 16 up, that takes reasonable time."""
    batch, least = most, min(most, 16)
    room = SECONDS * contest.ours(case.of(least)) / case.iterations  # images, at the least's speed
    while batch > max(least, room):
        batch //= 2
    return case.of(batch)


def check(case: Case) -> None:
    """Stop unless ours and the plain way do the same work."""
    if case.method == "gd_field" or case.method in VIEWED:
        return
    found = contest.disagreement(replace(case, iterations=1, batch=2))
    if not found < TOLERANCE:
        raise SystemExit(f"{case.name}: ours and the plain way disagree by {found:.2g}")


def row(case: Case, peer: Peer, repeat: int) -> list[str]:
    """Medians over runs in which all take turns, so that a busy machine slows all alike."""
    check(case)
    runs = [_run(case, peer) for _ in range(repeat)]
    times, lucent, gd, of_limit = (
        median(run["ours"] / run[other] for run in runs) if other in runs[0] else None
        for other in ("plain", "lucent", "gd", "limit")
    )
    per_minute = 60 * median(run["ours"] for run in runs) / case.full_count
    return [
        case.method.replace("_field", ", canvas: field"),
        f"{case.net} {case.layer}",
        str(case.batch),
        *(f"{ratio:.3g}" if ratio else "" for ratio in (times, lucent, gd)),
        f"{of_limit:.0%}" if of_limit > 0.01 else "< 1%",
        f"{per_minute:.3g}",
    ]


def _run(case: Case, peer: Peer) -> dict[str, float]:
    """Images times iterations per second of each."""
    takers: dict[str, Callable[[], float]] = {
        "ours": partial(contest.ours, case),
        "limit": lambda: limit.matmul_rate(case.device) / limit.needed(case),
    }
    if case.method in VIEWED:
        takers["gd"] = partial(contest.ours, replace(case, method="gd"))
    else:
        takers["plain"] = partial(contest.plainly, case)
    if peer.takes(case):
        takers["lucent"] = partial(peer.speed, case)
    return {name: measure() for name, measure in takers.items()}


def machine(device: str, threads: int, rate: float) -> str:
    """What the figures were measured on."""
    cuda = device.startswith("cuda")
    name = torch.cuda.get_device_name(device) if cuda else f"{platform.machine()} {device}"
    return (
        f"cnnpref {cnnpref.__version__}, PyTorch {torch.__version__}, {name}, {threads} threads; "
        f"a matrix product of float32 reaches {rate / 1e9:.0f} GFLOP/s"
    )


def line(cells: list[str]) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table, row by row."""
    chosen, given = asked(__doc__)
    peer, rate = Peer(given.lucent, given.device), limit.matmul_rate(given.device)
    print(machine(given.device, given.threads, rate), *filter(None, [peer.absent]), sep="\n")
    print("", line(COLUMNS), line(["---"] * 2 + ["---:"] * 6), sep="\n", flush=True)
    for case in chosen:
        print(line(row(fitted(case, given.batch), peer, given.repeat)), flush=True)
    if given.project or given.device != "cpu":
        print("", project(given.device, given.batch, given.repeat), sep="\n")


if __name__ == "__main__":
    main()
