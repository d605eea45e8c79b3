"""Where the time of ours goes: the functions and operations that take most of it.

    python tests/benchmarks/where.py --only 'gd/conv1' --batch 16

For each case that --only names, of the iterations after the first, the share of the time within
cnnpref's own functions, with all that they call, and in single functions alone; then, of the time
in PyTorch's operations, the share of each. What of `viewing._pass` is left to 1 is the own share
of spectral and maco: all but the net's pass. Options are those of speed.py.
"""

from __future__ import annotations

import cProfile
import pstats
from collections.abc import Callable
from pathlib import Path

import contest
from cases import Case
from command import asked
from torch.profiler import ProfilerActivity, profile

import cnnpref

OURS = str(Path(cnnpref.__file__).parent)
LEAST = 0.02  # smaller shares are not shown


class Between:
    """Calls `start` after the first iteration, and `stop` after the case's last."""

    def __init__(self, case: Case, start: Callable[[], object], stop: Callable[[], object]) -> None:
        self.moves, self.count = {1: start, case.iterations: stop}, 0

    def __call__(self, *_: object) -> None:
        self.count += 1
        self.moves.get(self.count, lambda: None)()


def functions(case: Case) -> str:
    """Time of an iteration, shares within functions of ours, and of single functions alone."""
    profiler = cProfile.Profile()
    contest.maximised(case, Between(case, profiler.enable, profiler.disable))
    stats = pstats.Stats(profiler).stats
    total = sum(own for _, _, own, _, _ in stats.values())
    each = 1000 * total / (case.iterations - 1) / case.batch
    within, alone = dict[str, float](), dict[str, float]()
    for (file, line, name), (_, _, own, cumulative, _) in stats.items():
        if file.startswith(OURS) and not name.startswith("<"):
            within[f"{Path(file).stem}.{name}:{line}"] = cumulative / total
        alone[_short(name) if file == "~" else f"{Path(file).stem}.{name}"] = own / total
    shares = f"  within: {_shares(within)}\n  alone: {_shares(alone)}"
    return f"  {each:.3g} ms an image and iteration\n{shares}"


def operations(case: Case) -> str:
    """Shares of PyTorch's operations among each other, those of the way back with them."""
    profiler = profile(activities=[ProfilerActivity.CPU])
    contest.maximised(case, Between(case, profiler.start, profiler.stop))
    times = {event.key: event.self_cpu_time_total for event in profiler.key_averages()}
    total = sum(times.values())
    return f"  operations: {_shares({name: time / total for name, time in times.items()})}"


def _short(builtin: str) -> str:
    """`kthvalue` from "<method 'kthvalue' of 'torch._C.TensorBase' objects>"."""
    return builtin.split("'")[1] if "'" in builtin else builtin.strip("<>").split(".")[-1]


def _shares(parts: dict[str, float]) -> str:
    chosen = sorted(((s, n) for n, s in parts.items() if s >= LEAST), reverse=True)
    return ", ".join(f"{name} {share:.0%}" for share, name in chosen)


def main() -> None:
    """Print the profile of every case asked for."""
    chosen, given = asked(__doc__)
    for case in (case.of(given.batch) for case in chosen):
        print(f"{case.name}, batch {case.batch}", functions(case), operations(case), sep="\n")


if __name__ == "__main__":
    main()
