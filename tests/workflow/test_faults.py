"""Jobs that fail the first time, and a second Snakemake beside the first."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from calling import succeed
from killing import Watched
from running import Config, Project

pytestmark = pytest.mark.workflow

LONG = {"gd": {"iter_n": 3000}}  # some seconds: it can be met at work


@pytest.fixture
def watched(tiny_config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    monkeypatch.chdir(tmp_path)
    layers = {"conv1": {"units": "0-3"}}
    project = Project(tmp_path, {**tiny_config, "run": "mine", "options": LONG, "layers": layers})
    project.change()
    return Watched(project, seed=0)


def log() -> str:
    return "".join(path.read_text() for path in Path("results").glob("mine/logs/generate/*/*/*"))


def test_another_attempt_works_on_half_as_many_units_at_once(watched: Watched) -> None:
    run = watched.start(*watched.project.units(), "--retries", "2", "--printshellcmds")
    for attempt, at_once in enumerate((4, 2), start=1):
        told = f"conv1/gd: {at_once} units at once\nconv1/gd: evaluation"
        watched.watch(lambda told=told: told in log() or run.poll() is not None)
        (job,) = watched.jobs()
        assert job.words[-2:] == ["--attempt", str(attempt)]
        os.kill(job.pid, signal.SIGKILL)
    assert run.wait() == 0
    assert "conv1/gd: 1 units at once" in log()
    assert watched.project.faults() == []


def test_a_job_that_outlives_its_snakemake_harms_nothing(watched: Watched) -> None:
    """The next run's job computes the same units beside it, however late it comes."""
    watched.project.change(options={"gd": {"iter_n": 20000}})
    killed = watched.start(*watched.project.units())
    watched.watch(lambda: "evaluation" in log() or killed.poll() is not None)
    watched.kill_snakemake(killed)
    run = watched.start(*watched.project.units())
    watched.watch(lambda: len(watched.jobs()) == 2 or run.poll() is not None)
    assert run.poll() is None
    watched.watch(lambda: run.poll() is not None and not watched.jobs())
    assert run.returncode == 0
    assert watched.project.faults() == []
    assert watched.computed_again() <= watched.in_flight
    assert "Nothing to be done" in watched.project.succeed(*watched.project.units())


def test_a_second_snakemake_is_locked_out(watched: Watched) -> None:
    run = watched.start(*watched.project.units())
    watched.watch(lambda: "evaluation" in log() or run.poll() is not None)
    second = watched.project.call("--configfile", "mine.yaml")
    assert run.poll() is None
    assert second.returncode == 1
    assert "another run is at work there" in second.stderr
    assert "Traceback" not in second.stderr
    watched.watch(lambda: run.poll() is not None)
    assert run.returncode == 0
    assert watched.project.faults() == []
    assert watched.computed_again() == set()
    assert "Nothing to be done" in watched.project.succeed(*watched.project.units())
    succeed("generate", "--config", "mine.yaml")
