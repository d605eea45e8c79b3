"""The workflow with nets of the zoo: weights are fetched once, and no more follows from them."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from places import ROOT
from running import LAYER_FILE, Project
from serving import Page, Zoo

pytestmark = pytest.mark.workflow


@pytest.fixture
def project(zoo: Zoo) -> Project:
    few = {"gd": {"iter_n": 2}}
    wanted = {"layers": {"conv1": {"units": "0-3"}}, "methods": ["gd"], "batch": 2}
    return Project(zoo.folder, {"net": {"zoo": "tiny"}, **wanted, "options": few})


def jobs(output: str) -> dict[str, int]:
    """How many jobs of each kind ran, or would, after Snakemake's table; it is printed twice."""
    rows = set(re.findall(r"^((?:fetch|generate|collect)\w*) +(\d+)$", output, re.MULTILINE))
    kinds = [name.partition("_")[0] for name, number in rows for _ in range(int(number))]
    return {kind: kinds.count(kind) for kind in kinds}


def test_weights_are_fetched_once_and_their_date_does_not_matter(
    zoo: Zoo, project: Project
) -> None:
    dry = project.succeed("--dry-run", LAYER_FILE)
    assert jobs(dry) == {"fetch": 1, "generate": 2, "collect": 1}
    assert not zoo.cache.exists()
    project.succeed(LAYER_FILE)
    assert project.faults() == []
    assert zoo.weights.read_bytes() == zoo.content
    os.utime(zoo.weights)  # newer than the units
    assert "Nothing to be done" in project.succeed(LAYER_FILE)
    zoo.weights.unlink()
    assert "Nothing to be done" in project.succeed(LAYER_FILE)
    assert len(zoo.site.requests) == 1


def test_weights_that_are_here_are_not_fetched(zoo: Zoo, project: Project) -> None:
    zoo.cache.mkdir()
    zoo.weights.write_bytes(zoo.content)
    assert jobs(project.succeed(LAYER_FILE, batch=1)) == {"generate": 4, "collect": 1}
    assert project.faults() == []
    assert zoo.site.requests == []


def test_a_forced_fetch_verifies_what_is_here_and_keeps_it(zoo: Zoo, project: Project) -> None:
    project.succeed(str(zoo.weights))
    inode = zoo.weights.stat().st_ino
    assert jobs(project.succeed("--force", str(zoo.weights))) == {"fetch": 1}
    assert zoo.weights.stat().st_ino == inode
    assert len(zoo.site.requests) == 1


def test_a_fetch_that_fails_is_told_and_leaves_no_weights(zoo: Zoo, project: Project) -> None:
    zoo.page.content = zoo.content[::-1]
    failed = project.snakemake(str(zoo.weights))
    assert failed.returncode == 1
    assert "its sha1 is" in failed.stderr
    assert zoo.left() == set()
    zoo.page.content = zoo.content
    assert jobs(project.succeed(str(zoo.weights))) == {"fetch": 1}


def test_a_generator_is_fetched_for_the_methods_that_need_it(
    zoo: Zoo, project: Project, tiny_net: Path
) -> None:
    zoo.site.pages["/maker"] = Page((tiny_net / "generator.caffemodel").read_bytes())
    prototxt = str(tiny_net / "generator.prototxt")
    zoo.add("maker", prototxt=prototxt, mean=[0, 0, 0], weights="maker.caffemodel")
    zoo.change("maker", addresses=["/maker"])
    dry = project.succeed("--dry-run", LAYER_FILE, generator={"zoo": "maker"})
    assert jobs(dry) == {"fetch": 1, "generate": 2, "collect": 1}
    dry = project.succeed("--dry-run", LAYER_FILE, methods=["gd", "dgn_gd"], batch=1)
    assert jobs(dry) == {"fetch": 2, "generate": 8, "collect": 1}


def test_alexnet_dry_runs_without_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CNNPREF_ZOO", raising=False)
    monkeypatch.setenv("CNNPREF_HOME", str(tmp_path / "empty"))
    config = ROOT / "config" / "alexnet.yaml"
    done = Project(tmp_path, {}).call("--dry-run", "--quiet", "rules", "--configfile", str(config))
    assert done.returncode == 0, done.stderr
    assert jobs(done.stdout + done.stderr) == {"fetch": 2, "generate": 1075, "collect": 8}
    assert not (tmp_path / "empty").exists()
