"""Changed inputs of all kinds, each read in a process of its own; nothing but UserError may come.

python tests/fuzz/campaign.py                      # each kind for a minute, other inputs each time
python tests/fuzz/campaign.py --minutes 10 --only "unit file"
python tests/fuzz/campaign.py --inputs 40 --seed 0     # the same inputs each time
python tests/fuzz/campaign.py --again "unit file/0/17" --keep folder
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from itertools import count
from pathlib import Path
from random import Random

TESTS = Path(__file__).resolve().parents[1]
MEMORY = Path("/dev/shm")  # a disk would take most of the time
sys.path[:0] = [str(TESTS / "helpers"), str(TESTS / "benchmarks")]

import h5py  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from inputs import KINDS, Kind  # noqa: E402
from isolation import Outcome, isolated  # noqa: E402
from mutation import SECRET  # noqa: E402


@dataclass
class Tally:
    """What came of the inputs of a kind."""

    inputs: int = 0
    refused: int = 0
    seconds: float = 0.0
    memory: int = 0
    faults: dict[str, str] = field(default_factory=dict)  # by the inputs' names

    def add(self, name: str, outcome: Outcome) -> None:
        self.inputs += 1
        self.refused += bool(outcome.refused)
        self.seconds = max(self.seconds, outcome.seconds)
        self.memory = max(self.memory, outcome.memory)
        if outcome.fault:
            self.faults[name] = outcome.fault


class Ground:
    """A folder of one kind: a valid input, of which each changed one is a copy."""

    def __init__(self, folder: Path, kind: Kind) -> None:
        self.folder, self.kind, self.valid = folder, kind, folder / "valid"
        self.valid.mkdir(parents=True)
        self._do(kind.make, self.valid)
        self.paths = sorted(p.relative_to(self.valid) for p in self.valid.glob(kind.target))
        self._load_modules()

    def _do(self, work: Callable[[], object], folder: Path) -> None:
        """What must go well, as nothing is wrong with its input."""
        outcome = isolated(work, folder)
        assert not outcome.fault + outcome.refused, outcome

    def _load_modules(self) -> None:
        """Read a valid input, and load what that needs once for all."""
        copy = self.folder / "copy"
        shutil.copytree(self.valid, copy)
        self._do(lambda: self._read_and_list(copy / "modules"), copy)
        for name in (copy / "modules").read_text().split():
            if name.partition(".")[0] in sys.modules:
                with suppress(ImportError):
                    import_module(name)
        shutil.rmtree(copy)

    def _read_and_list(self, modules: Path) -> None:
        self.kind.read(self.paths[0])
        modules.write_text("\n".join(sys.modules))

    def outcome(self, name: str) -> Outcome:
        """Of the input of that name."""
        random, inside = Random(name), self.folder / "input" / "run"
        shutil.copytree(self.valid, inside)
        outside = inside.with_name(SECRET)
        with h5py.File(outside, "w") as file:
            file["secret"] = np.arange(2.0)
        before = outside.stat()
        path = random.choice(self.paths)
        random.choice(self.kind.changes)(random, inside / path)
        outcome = isolated(lambda: self.kind.read(path), inside, self.kind.strict)
        beside = {each.name for each in inside.parent.iterdir()}
        if not outcome.fault and (beside != {"run", SECRET} or outside.stat() != before):
            return Outcome(f"beside the run's folder are {beside}, or changed")
        return outcome

    def clear(self, keep: Path | None = None) -> None:
        if keep:
            shutil.copytree(self.folder / "input", keep)
        shutil.rmtree(self.folder / "input")


def names(kind: str, seed: int, inputs: int, end: float) -> Iterator[str]:
    """Of the inputs: so many, or as long as there is time."""
    for number in range(inputs) if inputs else count():
        if not inputs and time.monotonic() > end:
            return
        yield f"{kind}/{seed}/{number}"


def run(kind: str, seed: int, inputs: int, minutes: float, folder: Path) -> Tally:
    tally, ground = Tally(), Ground(folder, KINDS[kind])
    for name in names(kind, seed, inputs, time.monotonic() + 60 * minutes):
        tally.add(name, ground.outcome(name))
        ground.clear()
    return tally


def distinct(faults: Mapping[str, str]) -> dict[str, str]:
    """One of those that come from the same line of ours with the same error."""
    found = {}
    for name, fault in faults.items():
        lines = fault.strip().splitlines()
        ours = [line for line in lines if "/cnnpref/" in line and "/site-packages/" not in line]
        found.setdefault((*ours[-1:], lines[-1][:20]), (name, fault))
    return dict(found.values())


def environment() -> None:
    """Nothing of the user's is read or written, and no other machine is asked."""
    places = {"HOME": "home", "XDG_CACHE_HOME": "cache", "CNNPREF_HOME": "cache", "TMPDIR": "tmp"}
    places["TORCHINDUCTOR_CACHE_DIR"] = "cache"
    os.environ.update({key: f"./{name}" for key, name in places.items()})
    os.environ.update({"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"})
    os.environ["HF_HUB_OFFLINE"] = "1"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="kinds with this word in their names")
    parser.add_argument("--seed", type=int, help="default: the time")
    parser.add_argument("--inputs", type=int, default=0, help="of each kind")
    parser.add_argument("--minutes", type=float, default=1, help="for each kind, without --inputs")
    parser.add_argument("--again", metavar="NAME", help="the input of that name alone")
    parser.add_argument("--keep", type=Path, help="with --again: where to leave it")
    parser.add_argument("--json", type=Path, help="where to write what was found")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else None) as place:
        folder = Path(place).resolve()
        environment()
        if given.again:
            ground = Ground(folder, KINDS[given.again.partition("/")[0]])
            print(ground.outcome(given.again))
            ground.clear(given.keep)
            return
        seed = int(time.time()) if given.seed is None else given.seed
        found = {}
        for kind in (kind for kind in KINDS if given.only in kind):
            started = time.monotonic()
            found[kind] = tally = run(kind, seed, given.inputs, given.minutes, folder / kind)
            print(
                f"{kind:24} {tally.inputs:6} inputs, {tally.refused:6} refused, at most"
                f" {tally.seconds:5.2f} s, {tally.memory / 2**20:6.0f} MiB;"
                f" {len(tally.faults)} faults; {time.monotonic() - started:.0f} s",
                flush=True,
            )
            for name, fault in distinct(tally.faults).items():
                print(f"  {name}: {fault.strip()}", flush=True)
        if given.json:
            given.json.write_text(json.dumps({kind: vars(t) for kind, t in found.items()}))
    sys.exit(any(tally.faults for tally in found.values()))


if __name__ == "__main__":
    main()
