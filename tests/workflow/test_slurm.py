"""The workflow on a real Slurm: its profile, and jobs that are cancelled, lost, or fail."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from calling import succeed
from local_slurm import GPUS, Job, LocalSlurm, local_slurm, wait_until, why_not
from running import Config
from slurm_project import SlurmProject

from cnnpref.results.unit_file import check_unit

lacking = why_not()
pytestmark = [
    pytest.mark.workflow,
    pytest.mark.skipif(lacking is not None, reason=f"no Slurm here: {lacking}"),
]

LONG = {"gd": {"iter_n": 2000}}  # some seconds: it can be met at work


@pytest.fixture(scope="module")
def slurm() -> Iterator[LocalSlurm]:
    with local_slurm() as running:
        yield running


@pytest.fixture
def project(
    slurm: LocalSlurm, tmp_path: Path, tiny_config: Config, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SlurmProject]:
    monkeypatch.chdir(tmp_path)
    made = SlurmProject(tmp_path, {**tiny_config, "run": "mine"}, slurm)
    yield made
    print(made.summary())  # for pytest -s, and where a test fails


@pytest.fixture
def background() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


def most_at_once(jobs: list[Job]) -> int:
    """How many GPUs were taken at any one time."""
    return max(sum(j.gpus for j in jobs if j.start <= job.start < j.end) for job in jobs)


def states(jobs: list[Job]) -> list[str]:
    return sorted(job.state for job in jobs)


def test_a_cancelled_job_comes_again_and_computes_what_is_missing(
    project: SlurmProject, background: ThreadPoolExecutor
) -> None:
    project.change(options=LONG, layers={"conv1": {}}, batch=3)
    succeed("generate", "--config", "mine.yaml", "--units", "0")
    before = project.inodes()
    run: Future[str] = background.submit(project.succeed)
    wait_until(lambda: project.at_work() or run.done(), "batch at work")
    victim = next(job for job in project.jobs("generate") if job.state == "RUNNING")
    project.slurm.ask("scancel", victim.id)
    run.result()
    assert project.faults() == []
    assert (project.folder / "results/mine/index.html").exists()
    assert before.items() <= project.inodes().items()
    generated = project.jobs("generate")
    assert states(generated) == ["CANCELLED", *["COMPLETED"] * 2]
    attempts = [job for job in generated if job.rule == victim.rule]
    assert [job.state for job in attempts] == ["CANCELLED", "COMPLETED"]
    first, second = (int(job.memory.removesuffix("M")) for job in attempts)
    assert second == 2 * first
    assert "conv1/gd: 1 units at once" in "".join(project.logs())
    assert most_at_once(generated) == GPUS
    with_a_net = {job.id for job in (*generated, *project.jobs("scores"))}
    assert {job.gpus for job in project.jobs() if job.id in with_a_net} == {1}
    assert {job.gpus for job in project.jobs() if job.id not in with_a_net} == {0}


def test_jobs_that_lose_their_node_are_requeued(
    project: SlurmProject, background: ThreadPoolExecutor
) -> None:
    project.change(options=LONG, layers={"conv1": {"units": "0-3"}}, batch=2)
    run: Future[str] = background.submit(project.succeed, *project.units())
    wait_until(lambda: project.at_work() or run.done(), "batch at work")
    lost = {job.id for job in project.jobs() if job.state == "RUNNING"}
    project.slurm.crash_node()
    wait_until(lambda: all(j.restarts for j in project.jobs() if j.id in lost), "requeued job")
    project.slurm.start_node()
    run.result()  # Slurm lets two minutes pass, in which the node ends what is left of the old run
    assert project.faults() == []
    assert {job.restarts for job in project.jobs() if job.id in lost} == {1}
    assert states(project.jobs()) == ["COMPLETED"] * 2


def test_batch_1_goes_as_an_array(project: SlurmProject) -> None:
    project.change(layers={"conv1": {"units": "0-1"}}, batch=1)
    project.succeed(*project.units(), "--slurm-array-jobs", "generate", "--jobs", "unlimited")
    assert project.faults() == []
    number = project.jobs()[0].id.partition("_")[0]
    assert {job.id for job in project.jobs()} == {f"{number}_1", f"{number}_2"}
    assert states(project.jobs()) == ["COMPLETED"] * 2


def test_a_job_that_fails_is_told_and_its_batch_mates_are_kept(project: SlurmProject) -> None:
    project.change(layers={"conv1": {"units": "0-1"}})
    (project.unit(1) / "in-the-way").mkdir(parents=True)
    failed = project.snakemake(*project.units(), "--retries", "0")
    assert failed.returncode == 1
    assert "/1.h5: Is a directory" in failed.stderr
    assert check_unit(project.unit(0)) is None
    assert states(project.jobs()) == ["FAILED"]
