"""The profiles that come with the workflow."""

from __future__ import annotations

import re

import pytest
from running import LAYER_FILE, ROOT, Project

pytestmark = pytest.mark.workflow

WORKSTATION = str(ROOT / "workflow" / "profiles" / "workstation")


@pytest.mark.parametrize(("gpus", "rounds"), [(1, ["1", "1", "1"]), (2, ["2", "1"])])
def test_workstation_computes_on_as_many_gpus_as_it_is_told(
    gpus: int, rounds: list[str], fresh: Project
) -> None:
    told = fresh.succeed("--profile", WORKSTATION, LAYER_FILE, "--resources", f"gpu={gpus}")
    assert re.findall(r"^Execute (\d) jobs", told, re.MULTILINE) == rounds  # collect is the last
    assert fresh.faults() == []
