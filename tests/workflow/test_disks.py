"""Disks that are full or read-only: told in one line, nothing lost, made up for by another run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from calling import Config, call, fail, succeed, unit_files
from layers import files
from mounting import Disk, mounted
from running import Project

from cnnpref.results.unit_file import check_unit

FULL = "No space left on device; make room there and run it again"
READ_ONLY = "Read-only file system; fix that or choose another folder"
SHOWN = {"collect": "layers/conv1.h5", "sheet": "sheets/conv1/gd.png", "pages": "pages/conv1.html"}


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    """That of the results."""
    monkeypatch.chdir(tmp_path)
    with mounted(tmp_path / "results") as made:
        yield made


@pytest.fixture
def config(tiny_config: Config) -> Config:
    return {**tiny_config, "run": "mine", "layers": {"conv1": {}}}


def everything() -> dict[str, bytes]:
    """What is in the results, without the filler and the logs."""
    run = Path("results/mine")
    return {name: (run / name).read_bytes() for name in files(run) if not name.endswith(".log")}


def run_all(config: Config) -> None:
    for command in ("generate", "collect", "scores", "sheet", "pages", "gallery", "share"):
        succeed(command, config)


def told_of(command: str, line: str) -> str:
    """Why a command could not write its file, or the first of those that it writes."""
    found = re.search(r"cannot write results/mine/(\S+?): (.*)", line)
    assert found, line
    first = {"pages": "pictures/conv1/manifest.json"}
    assert found[1] in {SHOWN[command], first.get(command)}
    return found[2]


def test_units_on_a_full_disk(disk: Disk, config: Config) -> None:
    disk.remount("size=64k")
    line = fail("generate", config)
    assert "units could not be written; conv1/gd unit " in line
    assert line.endswith(f".h5: {FULL}")
    before = everything()
    assert 0 < len(before) < 6
    assert all(check_unit(path) is None for path in unit_files().values())
    assert {Path(name).suffix for name in before} == {".h5"}
    disk.remount("size=8m")
    succeed("generate", config)
    assert len(unit_files()) == 6
    assert before.items() <= everything().items()


@pytest.mark.parametrize("again", [False, True], ids=["first time", "over an old one"])
@pytest.mark.parametrize("command", SHOWN)
def test_what_is_shown_on_a_full_disk(
    command: str, again: bool, disk: Disk, config: Config
) -> None:
    run_all(config)
    whole = everything()
    if not again:
        (Path("results/mine") / SHOWN[command]).unlink()
    disk.fill()
    before = everything()
    assert told_of(command, fail(command, config)) == FULL
    assert everything() == before
    disk.make_room()
    succeed(command, config)
    assert everything().keys() == whole.keys()


@pytest.mark.parametrize("command", SHOWN)
def test_what_is_shown_on_a_read_only_disk(command: str, disk: Disk, config: Config) -> None:
    run_all(config)
    disk.remount("ro")
    assert told_of(command, fail(command, config)) == READ_ONLY
    assert "there and right" in call("check", config).output


def test_packing_on_a_full_disk(disk: Disk, config: Config) -> None:
    for command in ("generate", "collect"):
        succeed(command, config)
    disk.fill()
    before = everything()
    assert f"cannot write results/mine/layers/conv1.h5: {FULL}" in fail("pack", config)
    assert everything() == before
    disk.make_room()
    succeed("pack", config)
    disk.fill()
    packed = everything()
    assert FULL in fail("generate", config)
    assert packed.items() <= everything().items()
    disk.make_room()
    succeed("generate", config)
    assert len(unit_files()) == 6
    assert all(check_unit(path) is None for path in unit_files().values())


@pytest.mark.workflow
def test_a_run_on_a_full_disk_is_finished_by_the_next(disk: Disk, config: Config) -> None:
    project = Project(Path.cwd(), {**config, "batch": 2})
    disk.remount("size=48k")
    failed = project.snakemake()
    assert failed.returncode == 1
    assert f".h5: {FULL}" in failed.stderr
    assert "Traceback" not in failed.stderr
    before = {n: kept for n, kept in everything().items() if Path(n).name != ".running"}  # the lock
    assert {Path(name).suffix for name in before} == {".h5"}
    assert all(check_unit(path) is None for path in unit_files().values())
    disk.remount("size=8m")
    project.succeed()
    assert before.items() <= everything().items()
    succeed("check", "--config", "mine.yaml")


@pytest.mark.workflow
def test_a_run_on_a_read_only_disk(disk: Disk, config: Config) -> None:
    run_all(config)
    project = Project(Path.cwd(), config)
    disk.remount("ro")
    assert "Nothing to be done" in project.succeed()
    disk.remount("rw")
    project.unit(2).unlink()
    disk.remount("ro")
    failed = project.snakemake()
    assert failed.returncode == 1
    assert "Traceback" not in failed.stderr
    warning = "warning: cannot write into results/mine: missing files cannot be made there; fix"
    assert failed.stderr.count(warning) == 1
