"""What tests of the workflow share: a working directory in which Snakemake runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from places import ROOT

from cnnpref.nets import describe
from cnnpref.planning.config import read_config
from cnnpref.planning.plan import Plan, make_plan
from cnnpref.results.unit_file import check_unit

Config = dict[str, Any]

# Enough for most questions: units and the file collected from them; saves the sheets' time.
LAYER_FILE = "results/mine/layers/conv1.h5"


class Project:
    """A working directory with a config, in which Snakemake runs.

    Attributes:
        arguments: of each call of Snakemake.
        environment: the variables that it sees; None stands for this process's.
        timeout: seconds after which a call has failed.
    """

    arguments: tuple[str, ...] = ("--cores", "2")
    environment: dict[str, str] | None = None
    timeout: float | None = None

    def __init__(self, folder: Path, config: Config) -> None:
        self.folder, self.config = folder, config

    def change(self, **changes: Any) -> None:
        """Write the config with these changes to it."""
        self.config = {**self.config, **changes}
        (self.folder / "mine.yaml").write_text(yaml.safe_dump(self.config))

    def snakemake(self, *args: str, **changes: Any) -> subprocess.CompletedProcess[str]:
        """Run with the config, changed for good."""
        self.change(**changes)
        return self.call(*args, "--configfile", "mine.yaml")

    def command(self, *args: str) -> list[str]:
        """Snakemake's command line."""
        snakefile = ROOT / "workflow" / "Snakefile"
        command = [sys.executable, "-m", "snakemake", *self.arguments]
        return [*command, "--snakefile", str(snakefile), *args]

    def call(self, *args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*args),
            cwd=self.folder,
            env=self.environment,
            timeout=self.timeout,
            capture_output=True,
            text=True,
            check=False,
        )

    def succeed(self, *args: str, **changes: Any) -> str:
        done = self.snakemake(*args, **changes)
        assert done.returncode == 0, done.stderr
        return done.stderr + done.stdout

    def plan(self) -> Plan:
        config = read_config(str(self.folder / "mine.yaml"))
        return make_plan(config, describe)

    def unit(self, unit: int) -> Path:
        return self.folder / self.plan().series[0].path(unit)

    def units(self) -> list[str]:
        """The unit files that the config asks for, as targets."""
        return [str(path) for series in self.plan().series for path in series.paths()]

    def faults(self) -> list[str]:
        """What is wrong with the unit files that the config asks for."""
        series = self.plan().series
        checks = [check_unit(self.folder / p, s.digest) for s in series for p in s.paths()]
        return [fault for fault in checks if fault]

    def log(self, name: str) -> str:
        (path,) = (self.folder / "results").glob(f"*/logs/generate/{name}")
        return path.read_text()
