"""Jobs of a workstation take turns on its GPUs: in real processes, which are really killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from calling import Config, succeed, unit_files

from cnnpref.errors import UserError
from cnnpref.jobs.devices import gpus_to_share, lease

JOB = """
import logging, sys
from cnnpref.jobs.devices import lease
logging.basicConfig(level="INFO", format="%(message)s")
with lease(sys.argv[1:]) as place:
    print(place, flush=True)
    sys.stdin.read()
"""
Job = subprocess.Popen[str]
Start = Callable[..., Job]


@pytest.fixture(autouse=True)
def own_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The locks are those of a machine on which nothing else runs."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a job that holds one of some GPUs until its input ends."""
    jobs: list[Job] = []

    def begin(*gpus: str) -> Job:
        pipe = subprocess.PIPE
        command = [sys.executable, "-c", JOB, *gpus]
        jobs.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True))
        return jobs[-1]

    yield begin
    for job in jobs:
        job.kill()
        job.communicate()


def place(job: Job) -> str:
    """Which of its GPUs a job holds; waits until it holds one."""
    assert job.stdout
    return job.stdout.readline().strip()


def said(job: Job) -> str:
    """The next line of its log."""
    assert job.stderr
    return job.stderr.readline().strip()


@pytest.mark.slow
def test_jobs_hold_different_gpus(start: Start) -> None:
    assert sorted(place(job) for job in [start("0", "1", "2") for _ in range(3)]) == list("012")


@pytest.mark.slow
def test_a_killed_job_frees_its_gpu_for_one_that_waits(start: Start) -> None:
    first, second = start("0", "1"), start("0", "1")
    held = {place(first), place(second)}
    third = start("0", "1")
    assert said(third) == "GPU 0, 1: taken by other jobs; waiting"
    time.sleep(1.2)  # looks again, and finds none
    assert third.poll() is None
    first.send_signal(signal.SIGKILL)
    freed = place(third)
    assert said(third) == f"on GPU {freed}"
    assert freed in held
    assert second.poll() is None


@pytest.mark.slow
def test_a_job_that_ends_frees_its_gpu(start: Start) -> None:
    first = start("7")
    assert (place(first), said(first)) == ("0", "on GPU 7")
    first.communicate("")
    assert place(start("7")) == "0"


@pytest.mark.slow
def test_a_gpu_is_the_same_whatever_its_place(start: Start) -> None:
    assert place(start("0", "1")) == "0"
    assert place(start("0", "GPU-8f/1", "1")) == "1"
    assert place(start("GPU-8f/1", "1", "0")) == "1"


def test_a_lease_ends_with_its_body() -> None:
    for _ in range(2):
        with lease(["0"]) as held:
            assert held == 0


@pytest.mark.parametrize(
    ("environment", "gpus"),
    [
        ({}, ["0", "1", "2"]),
        ({"CUDA_VISIBLE_DEVICES": "2, 0,1"}, ["2", "0", "1"]),
        ({"CUDA_VISIBLE_DEVICES": "0,1,GPU-5a,-1,4"}, ["0", "1", "GPU-5a"]),  # CUDA shows three
        ({"SLURM_JOB_ID": "17", "CUDA_VISIBLE_DEVICES": "0,1,2"}, []),
    ],
)
def test_which_gpus_are_shared(environment: dict[str, str], gpus: list[str]) -> None:
    assert gpus_to_share(3, environment) == gpus


@pytest.mark.parametrize("visible", ["", "-1", "3"])
def test_without_gpus_nothing_is_shared(visible: str) -> None:
    assert gpus_to_share(0, {"CUDA_VISIBLE_DEVICES": visible}) == []
    assert gpus_to_share(0, {}) == []


def test_locks_that_cannot_be_made_are_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"cannot lock a GPU in .*Not a directory; fix") as caught:
        lease(["0"]).__enter__()
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("in_tmp_path")
def test_a_device_that_is_named_is_not_leased(tiny_config: Config) -> None:
    assert "GPU" not in succeed("generate", tiny_config, "--layer", "conv1", "--device", "cpu")
    assert len(unit_files()) == 6


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
@pytest.mark.usefixtures("in_tmp_path")
def test_generate_leases_a_real_gpu(tiny_config: Config) -> None:
    told = succeed("generate", tiny_config, "--layer", "conv1")
    assert "on GPU " in told
    assert len(unit_files()) == 6
