"""A minute of changed inputs, always the same ones: all is read, or refused in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest
from inputs import KINDS
from places import ROOT

INPUTS = 25  # of each kind; `make fuzz` goes on for as long as it is told


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What came of all inputs. They are forked off a process that has a single thread."""
    told = tmp_path_factory.mktemp("fuzz") / "found.json"
    words = [sys.executable, str(ROOT / "tests" / "fuzz" / "campaign.py")]
    given = ["--seed", "0", "--inputs", str(INPUTS), "--json", str(told)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*words, *given], env=environment, check=False, capture_output=True)
    assert told.exists(), done.stderr.decode()
    print(done.stdout.decode())
    result: dict[str, dict[str, Any]] = json.loads(told.read_text())
    return result


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_but_user_errors(kind: str, found: dict[str, dict[str, Any]]) -> None:
    assert found[kind]["inputs"] == INPUTS
    assert found[kind]["faults"] == {}


def test_the_same_seed_changes_inputs_alike(tmp_path: Path) -> None:
    """Otherwise a fault that was found could not be found again."""
    contents = []
    for number in range(2):
        path = tmp_path / f"{number}.yaml"
        path.write_text("run: mine\nlayers: {conv1: {units: 0-3}, fc: {}}\nbatch: 4\n")
        for seed in range(20):
            for change in KINDS["config"].changes:
                kept = path.read_text()
                change(Random(f"{seed}"), path)
                contents.append(path.read_bytes())
                path.write_text(kept)
    assert contents[: len(contents) // 2] == contents[len(contents) // 2 :]
    assert len(set(contents)) > 20
