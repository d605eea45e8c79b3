"""Damaged unit files: one command computes them again, with a warning, and nothing else."""

from __future__ import annotations

import os
import re
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


def files() -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in unit_files().items()}


@pytest.mark.workflow
def test_one_command_computes_them_again(finished: Project) -> None:
    before, wanted = files(), {unit: read_unit(finished.unit(unit)) for unit in (0, 3, 4)}
    for unit, damage in {0: truncate, 3: corrupt, 4: empty}.items():
        damage(finished.unit(unit))
    told = finished.succeed()
    (folder,) = Path("results/mine/units/conv1").glob("gd-*")
    warning = f"warning: {folder}: 3 damaged unit files, deleted, to be computed again: 0,3-4"
    assert told.count(f"{warning} ({REASON})") == 1
    logs = [path.read_text() for path in Path("results/mine/logs/generate").rglob("*.log")]
    assert sorted(re.findall(r"unit (\d): ok", "".join(logs))) == ["0", "3", "4"]
    succeed("check", "--config", "mine.yaml")
    after = files()
    for unit, result in wanted.items():
        np.testing.assert_array_equal(read_unit(finished.unit(unit)).image, result.image)
        del before[f"conv1/{unit}"], after[f"conv1/{unit}"]
    assert after == before


def test_a_layer_file_that_is_not_made_yet_protects_none(finished: Project) -> None:
    Path("results/mine/layers/conv1.h5").unlink()
    aged(finished.unit(1), truncate)
    assert len(discard_damaged(finished.plan())) == 1
    assert not finished.unit(1).exists()


@pytest.mark.workflow
def test_a_dry_run_leaves_them(finished: Project) -> None:
    truncate(finished.unit(1))
    before = files()
    assert "warning: " not in finished.succeed("--dry-run")
    assert files() == before


@pytest.mark.workflow
def test_what_was_collected_while_it_was_whole_is_for_check_to_find(finished: Project) -> None:
    aged(finished.unit(1), truncate)
    assert "Nothing to be done" in finished.succeed()
    assert f"/1.h5: {REASON}" in call("check", "--config", "mine.yaml").output


def test_units_of_a_layer_file_of_others_are_looked_at(finished: Project) -> None:
    before = sorted(files())
    aged(finished.unit(1), truncate)
    finished.change(layers={**finished.config["layers"], "conv1": {"units": "0-4"}})
    (line,) = discard_damaged(finished.plan())
    assert line.endswith(f"1 damaged unit file, deleted, to be computed again: 1 ({REASON})")
    assert not finished.unit(1).exists()
    assert sorted(files()) == [name for name in before if name != "conv1/1"]


@pytest.mark.parametrize("layer_file", [True, False])
def test_whole_files_stay(layer_file: bool, finished: Project) -> None:
    if not layer_file:
        Path("results/mine/layers/conv1.h5").unlink()
    before = files()
    assert discard_damaged(finished.plan()) == []
    assert files() == before


def test_what_cannot_be_read_stays(finished: Project) -> None:
    plan = finished.plan()
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


def test_a_layer_file_with_other_labels_is_made_again_of_the_same_unit_files(
    finished: Project,
) -> None:
    before = files()
    finished.change(layers={"conv1": {"labels": list("abcdef")}, "fire/expand": {"units": "0-2"}})
    assert discard_damaged(finished.plan()) == []
    assert files() == before
    assert [path.name for path in Path("results/mine/layers").iterdir()] == ["fire=expand.h5"]
    succeed("collect", "--config", "mine.yaml", "--layer", "conv1")
    assert discard_damaged(finished.plan()) == []
    assert Path("results/mine/layers/conv1.h5").exists()
