"""Two working directories, one folder of results: the second run is told, and none stays locked."""

from __future__ import annotations

from pathlib import Path

import pytest
from killing import Watched
from running import Config, Project

pytestmark = pytest.mark.workflow


@pytest.fixture
def both(tiny_config: Config, tmp_path: Path) -> tuple[Watched, Project]:
    shared = str(tmp_path / "shared")
    config = {**tiny_config, "run": "mine", "results": shared, "batch": 2}
    config |= {"layers": {"conv1": {"units": "0-1"}}, "options": {"gd": {"iter_n": 1500}}}
    projects = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        projects.append(Project(tmp_path / name, config))
        projects[-1].change()
    return Watched(projects[0], seed=0), projects[1]


def test_a_second_run_in_the_same_results_is_told(both: tuple[Watched, Project]) -> None:
    watched, second = both
    targets = second.units()
    run = watched.start(*targets)
    watched.watch(lambda: watched.jobs() or run.poll() is not None)
    refused = second.snakemake(*targets)
    assert run.poll() is None
    assert refused.returncode == 1
    told = "shared/mine: another run is at work there (process "
    assert told in refused.stderr
    assert str(watched.project.folder) in refused.stderr
    assert "Traceback" not in refused.stderr
    second.succeed("--dry-run", *targets)
    watched.kill_snakemake(run)  # with SIGKILL; its job goes on, and holds nothing
    second.succeed(*targets)
    watched.watch(lambda: not watched.jobs())
    assert second.faults() == []
