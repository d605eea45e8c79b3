"""The workflow with a model of torchvision: planned without its weights, fetched once, read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from libraries import Libraries, imported
from places import ROOT
from running import LAYER_FILE, Project

pytestmark = pytest.mark.workflow

NET = {
    "torch": "torchvision:squeezenet1_1",
    "weights": "IMAGENET1K_V1",
    "input_shape": [3, 64, 64],
}


@pytest.mark.slow
def test_weights_are_fetched_before_any_job(libraries: Libraries, tmp_path: Path) -> None:
    imported("torchvision.models")
    content = libraries.torchvision()
    helpers = ROOT / "tests" / "helpers"
    before = [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]
    paths = [str(helpers / "site"), str(helpers), *before]
    libraries.patch.setenv("PYTHONPATH", os.pathsep.join(paths))
    few = {"gd": {"iter_n": 2}}
    wanted = {"layers": {"features.0": {"units": "0-1"}}, "methods": ["gd"], "options": few}
    project = Project(tmp_path, {"net": NET, **wanted})
    layer_file = LAYER_FILE.replace("conv1", "features.0")
    assert "fetch_net" in project.succeed("--dry-run", layer_file)
    assert libraries.site.requests == []
    project.succeed(layer_file)
    assert libraries.file.read_bytes() == content
    assert len(libraries.site.requests) == 1
    assert project.faults() == []
