"""Damaged unit files: one command computes them again, with a warning, and nothing else."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from calling import call, succeed, unit_files
from layers import no_superuser
from running import Project

from cnnpref.results.discard import discard_damaged
from cnnpref.results.unit_file import check_unit, read_unit

REASON = "truncated, damaged or not HDF5"


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def corrupt(path: Path) -> None:
    path.write_bytes(b"\0" * 512 + path.read_bytes()[512:])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def aged(path: Path, damage: Callable[[Path], None]) -> None:
    """Damage a file that keeps its time stamp."""
    stamp = path.stat().st_mtime_ns
    damage(path)
    os.utime(path, ns=(stamp, stamp))


@pytest.fixture(scope="module")
def finished(tiny_net: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    net = {name: str(tiny_net / f"tiny.{name}") for name in ("prototxt", "caffemodel")}
    options = {"gd": {"iter_n": 3}}
    config = {"run": "mine", "net": net, "layers": {"conv1": {}}, "batch": 2, "options": options}
    made = Project(tmp_path_factory.mktemp("finished"), config)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made.folder)
        for command in ("generate", "collect", "sheet", "gallery"):
            succeed(command, config)
    return made


@pytest.fixture
def project(finished: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A run that is done, in the working directory."""
    shutil.copytree(finished.folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    made = Project(tmp_path, finished.config)
    made.change()
    return made


def files() -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in unit_files().items()}


def test_one_command_computes_them_again(project: Project) -> None:
    before, wanted = files(), {unit: read_unit(project.unit(unit)) for unit in (0, 3, 4)}
    for unit, damage in {0: truncate, 3: corrupt, 4: empty}.items():
        damage(project.unit(unit))
    told = project.succeed()
    (folder,) = Path("results/mine/units/conv1").iterdir()
    warning = f"warning: {folder}: 3 damaged unit files, deleted, to be computed again: 0,3-4"
    assert told.count(f"{warning} ({REASON})") == 1
    logs = [path.read_text() for path in Path("results/mine/logs/generate").rglob("*.log")]
    assert sorted(re.findall(r"unit (\d): ok", "".join(logs))) == ["0", "3", "4"]
    succeed("check", "--config", "mine.yaml")
    after = files()
    for unit, result in wanted.items():
        np.testing.assert_array_equal(read_unit(project.unit(unit)).image, result.image)
        del before[f"conv1/{unit}"], after[f"conv1/{unit}"]
    assert after == before


def test_a_layer_file_that_is_not_made_yet_protects_none(project: Project) -> None:
    Path("results/mine/layers/conv1.h5").unlink()
    aged(project.unit(1), truncate)
    assert len(discard_damaged(project.plan())) == 1
    assert not project.unit(1).exists()


def test_a_dry_run_leaves_them(project: Project) -> None:
    truncate(project.unit(1))
    before = files()
    assert "warning: " not in project.succeed("--dry-run")
    assert files() == before


def test_what_was_collected_while_it_was_whole_is_for_check_to_find(project: Project) -> None:
    aged(project.unit(1), truncate)
    assert "Nothing to be done" in project.succeed()
    assert f"/1.h5: {REASON}" in call("check", "--config", "mine.yaml").output


def test_units_of_a_layer_file_of_others_are_looked_at(project: Project) -> None:
    aged(project.unit(1), truncate)
    project.change(layers={"conv1": {"units": "0-4"}})
    (line,) = discard_damaged(project.plan())
    assert line.endswith(f"1 damaged unit file, deleted, to be computed again: 1 ({REASON})")
    assert not project.unit(1).exists()
    assert len(files()) == 5


@pytest.mark.parametrize("layer_file", [True, False])
def test_whole_files_stay(layer_file: bool, project: Project) -> None:
    if not layer_file:
        Path("results/mine/layers/conv1.h5").unlink()
    before = files()
    assert discard_damaged(project.plan()) == []
    assert files() == before


def test_what_cannot_be_read_stays(project: Project) -> None:
    plan = project.plan()
    unreadable, folder = (plan.series[0].path(unit) for unit in (1, 2))
    for place in (Path(), *(path for path in Path().rglob("*") if path.is_dir())):
        place.chmod(0o777)  # anybody may delete what is in it
    unreadable.touch()
    unreadable.chmod(0)
    folder.unlink()
    folder.mkdir()
    with no_superuser():
        assert check_unit(unreadable) == "Permission denied"
        assert discard_damaged(plan) == []
    assert unreadable.exists()
    assert folder.is_dir()
