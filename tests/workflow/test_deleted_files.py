"""Every file of a run: when it is deleted, `check` misses it, and the workflow makes it again."""

from __future__ import annotations

import shutil

import pytest
from calling import call, succeed
from running import Project

from cnnpref.planning.files import KINDS, Kind

pytestmark = pytest.mark.workflow


# The run has no reference images and no PDFs.
MADE = [kind for kind in KINDS if not (kind.on_request or kind.path.startswith("references/"))]


@pytest.mark.parametrize("kind", MADE, ids=lambda kind: kind.path)
def test_a_deleted_file_is_missing_and_made_again(kind: Kind, finished: Project) -> None:
    path = finished.plan().paths([kind])[-1]
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    result = call("check", "--config", "mine.yaml")
    assert result.exit_code == 1
    assert result.stderr.startswith("cnnpref: results/mine: 1 missing; ")
    assert result.stdout.startswith(f"missing  {path.parent}")
    finished.succeed()
    assert path.exists()
    succeed("check", "--config", "mine.yaml")
    assert "Nothing to be done" in finished.succeed()
