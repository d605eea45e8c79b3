"""The workflow on a Slurm with accounting, which asks `sacct` how its jobs are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from local_slurm import LocalSlurm, local_slurm
from running import Config
from slurm_accounting import AccountingSlurm, why_not
from slurm_project import SlurmProject

lacking = why_not()
pytestmark = [
    pytest.mark.workflow,
    pytest.mark.skipif(lacking is not None, reason=f"no accounting here: {lacking}"),
]


@pytest.fixture(scope="module")
def slurm() -> Iterator[LocalSlurm]:
    with local_slurm(AccountingSlurm) as running:
        yield running


def recorded(slurm: LocalSlurm) -> list[str]:
    """How jobs ended, by the data base alone."""
    return slurm.ask("sacct", "-X", "--noheader", "--parsable2", "--format=State").split()


def test_sacct_tells_which_jobs_failed_and_which_did_not(
    slurm: LocalSlurm, tmp_path: Path, few_units: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    project = SlurmProject(tmp_path, {**few_units, "run": "mine"}, slurm)
    project.change()
    blocking = project.unit(1) / "in-the-way"
    blocking.mkdir(parents=True)
    asked = ("--slurm-status-command", "sacct", "--retries", "0")
    failed = project.snakemake(*project.units(), *asked)
    assert failed.returncode == 1
    assert "/1.h5: Is a directory" in failed.stderr
    assert sorted(recorded(slurm)) == ["COMPLETED", "FAILED"]
    blocking.rmdir()
    blocking.parent.rmdir()
    project.succeed(*project.units(), *asked)
    assert project.faults() == []
    assert sorted(recorded(slurm)) == ["COMPLETED", "COMPLETED", "FAILED"]
