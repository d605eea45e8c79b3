"""The profiles that come with the workflow."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from running import LAYER_FILE, ROOT, Project

WORKSTATION = str(ROOT / "workflow" / "profiles" / "workstation")


@pytest.fixture
def project(tiny_net: Path, tmp_path: Path) -> Project:
    net = {name: str(tiny_net / f"tiny.{name}") for name in ("prototxt", "caffemodel")}
    few = {"gd": {"iter_n": 2}}
    layers = {"conv1": {"units": "0-3"}}
    return Project(tmp_path, {"net": net, "layers": layers, "batch": 2, "options": few})


@pytest.mark.parametrize(("gpus", "rounds"), [(1, ["1", "1", "1"]), (2, ["2", "1"])])
def test_workstation_computes_on_as_many_gpus_as_it_is_told(
    gpus: int, rounds: list[str], project: Project
) -> None:
    told = project.succeed("--profile", WORKSTATION, LAYER_FILE, "--resources", f"gpu={gpus}")
    assert re.findall(r"^Execute (\d) jobs", told, re.MULTILINE) == rounds  # collect is the last
    assert project.faults() == []
