"""Where the time of ours goes: the functions and operations that take most of it.

    python tests/benchmarks/where.py --only 'gd/conv1' --batch 16

For each case that --only names, of the iterations after the first, the share of the time within
cnnpref's own functions, with all that they call, and within single functions and operations alone.
Options are those of speed.py.
"""

from __future__ import annotations

import cProfile
import pstats
from pathlib import Path
from typing import Any

import contest
from cases import Case
from command import asked

import cnnpref

OURS = str(Path(cnnpref.__file__).parent)
LEAST = 0.02  # smaller shares are not shown


class Profile:
    """What Python spends its time on between the first call and the last."""

    def __init__(self) -> None:
        self.profiler, self.stats = cProfile.Profile(), dict[Any, Any]()

    def __call__(self, *_: object) -> None:
        if self.profiler.getstats():
            self.profiler.disable()
            self.stats = pstats.Stats(self.profiler).stats
        self.profiler.enable()

    def report(self) -> str:
        """Shares within functions of ours, and of single functions and operations."""
        total = sum(own for _, _, own, _, _ in self.stats.values())
        within, alone = dict[str, float](), dict[str, float]()
        for (file, line, name), (_, _, own, cumulative, _) in self.stats.items():
            if file.startswith(OURS) and not name.startswith("<"):
                within[f"{Path(file).stem}.{name}:{line}"] = cumulative / total
            alone[_short(name) if file == "~" else f"{Path(file).stem}.{name}"] = own / total
        return f"  within: {_shares(within)}\n  alone: {_shares(alone)}"


def _short(builtin: str) -> str:
    """`kthvalue` from "<method 'kthvalue' of 'torch._C.TensorBase' objects>"."""
    return builtin.split("'")[1] if "'" in builtin else builtin.strip("<>").split(".")[-1]


def _shares(parts: dict[str, float]) -> str:
    chosen = sorted(((s, n) for n, s in parts.items() if s >= LEAST), reverse=True)
    return ", ".join(f"{name} {share:.0%}" for share, name in chosen)


def profile(case: Case) -> str:
    """A line with the case, and its report."""
    found = Profile()
    contest.maximised(case, found)
    found.profiler.disable()
    return f"{case.name}, batch {case.batch}\n{found.report()}"


def main() -> None:
    """Print the profile of every case asked for."""
    chosen, given = asked(__doc__)
    for case in chosen:
        print(profile(case.of(given.batch)), flush=True)


if __name__ == "__main__":
    main()
