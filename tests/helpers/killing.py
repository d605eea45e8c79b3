"""What tests of killed runs share: runs in the background, their processes, what they computed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import psutil
from running import Project

from cnnpref.planning.selection import parse_ranges
from cnnpref.planning.series import escape

Run = subprocess.Popen[bytes]


@dataclass(frozen=True)
class Job:
    """A `cnnpref` process of a workflow: the words after `cnnpref`."""

    pid: int
    words: list[str]

    @property
    def command(self) -> str:
        return self.words[0]

    def units(self) -> set[str]:
        """Those that it is to make, as layer/method/unit."""
        given = dict(zip(self.words[1::2], self.words[2::2], strict=False))
        name = f"{escape(given['--layer'])}/{given['--method']}" if "--units" in given else ""
        ranges = parse_ranges(given["--units"]) if name else []
        return {f"{name}/{unit}" for first, last in ranges for unit in range(first, last + 1)}


def jobs(folder: Path) -> list[Job]:
    """Those at work in a working directory, orphans too."""
    found = []
    for process in psutil.process_iter(["cwd", "cmdline"]):
        words = process.info["cmdline"] or []
        if process.info["cwd"] == str(folder) and [Path(w).name for w in words[1:2]] == ["cnnpref"]:
            found.append(Job(process.pid, words[2:]))
    return found


class Watched:
    """A project whose runs are killed, and every content that its unit files ever had.

    Contents tell computations apart: a unit file holds the seconds that it took.

    Attributes:
        in_flight: units that a process was at, when it or its Snakemake was killed.
        kills: how many, by the commands at work.
        counts: units in flight and computed again, over all that was forgotten since.
    """

    def __init__(self, project: Project, seed: int) -> None:
        self.project, self.random = project, Random(seed)
        self.contents: dict[str, set[bytes]] = defaultdict(set)
        self.in_flight: set[str] = set()
        self.kills: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()

    def start(self, *arguments: str) -> Run:
        """Snakemake, in the background, unlocked after a killed one."""
        locks = self.project.folder / ".snakemake" / "locks"
        if locks.exists() and any(locks.iterdir()):
            self.project.succeed("--unlock")
        command = self.project.command(*arguments, "--configfile", "mine.yaml")
        with (self.project.folder / "told").open("ab") as told:
            return Run(command, cwd=self.project.folder, stdout=told, stderr=told)

    def jobs(self) -> list[Job]:
        return jobs(self.project.folder)

    def goes_on(self, run: Run) -> bool:
        """Look on until a random moment; whether the run still goes on then.

        The moment: from now up to 2 jobs later, then up to 2 seconds after a job is seen at work.
        """
        steps = self.steps() + self.random.randint(0, 2)
        self.watch(lambda: run.poll() is not None or (self.steps() >= steps and self.jobs()))
        end = time.monotonic() + self.random.uniform(0, 2)
        self.watch(lambda: run.poll() is not None or time.monotonic() > end)
        return run.poll() is None

    def steps(self) -> int:
        """Jobs that have ended well, in all runs."""
        return (self.project.folder / "told").read_text().count("Finished jobid")

    def watch(self, until: Callable[[], object]) -> None:
        """Look at the unit files ten times a second."""
        while not until():
            for path in self.project.folder.glob("results/*/units/*/*/*.h5"):
                self.contents[name_of(path)].add(path.read_bytes())
            time.sleep(0.1)

    def kill_snakemake(self, run: Run) -> None:
        """Its jobs go on, without it."""
        at_work = self.jobs()
        run.kill()
        run.wait()
        self.kills["+".join(sorted(job.command for job in at_work)) or "no job"] += 1
        time.sleep(0.3)  # one that was about to start
        self.in_flight |= {unit for job in (*at_work, *self.jobs()) for unit in job.units()}

    def kill_job(self) -> None:
        """One of those at work, if there are any."""
        if at_work := self.jobs():
            victim = self.random.choice(at_work)
            os.kill(victim.pid, signal.SIGKILL)
            self.kills[victim.command] += 1
            self.in_flight |= victim.units()

    def computed_again(self) -> set[str]:
        return {name for name, contents in self.contents.items() if len(contents) > 1}

    def forget(self) -> None:
        """What was seen of the unit files."""
        numbers = (len(self.contents), len(self.in_flight), len(self.computed_again()))
        self.counts.update(
            dict(zip(("units", "in flight", "computed again"), numbers, strict=True))
        )
        self.contents.clear()
        self.in_flight.clear()


def name_of(path: Path) -> str:
    """The layer/method/unit of a unit file."""
    return f"{path.parts[-3]}/{path.parts[-2].rpartition('-')[0]}/{path.stem}"
