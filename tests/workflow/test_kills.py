"""Runs that are killed at any moment and started again: they end as an undisturbed run does."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from calling import net_of, succeed
from killing import Watched
from running import Config, Project

from cnnpref.results.unit_file import UnitResult, read_unit

pytestmark = pytest.mark.workflow

KILLS = 10
ARRAYS = ("image", "image_best", "activation", "latent")


@pytest.fixture(scope="module")
def config(tiny_net: Path) -> Config:
    """22 units in 8 batches; jobs of fc go on until another Snakemake has started."""
    nets = {"net": net_of(tiny_net), "generator": net_of(tiny_net, "generator")}
    options = {"gd": {"iter_n": 300}, "dgn_lbfgs": {"maxiter": 20}}
    layers = {"conv1": {}, "fc": {"options": {"gd": {"iter_n": 5000}}}}
    methods = {"methods": list(options), "options": options}
    return {"run": "mine", **nets, "layers": layers, **methods, "batch": 3}


def contents(folder: Path) -> dict[str, UnitResult]:
    paths = folder.glob("results/mine/units/*/*/*.h5")
    return {str(path.relative_to(folder)): read_unit(path) for path in paths}


@pytest.fixture(scope="module")
def undisturbed(config: Config, tmp_path_factory: pytest.TempPathFactory) -> dict[str, UnitResult]:
    """All units, by path."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        succeed("generate", config, "--threads", "1", "--device", "cpu")
    return contents(folder)


@pytest.fixture
def watched(tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    monkeypatch.chdir(tmp_path)
    project = Project(tmp_path, config)
    project.change()
    made = Watched(project, seed=1)
    yield made
    print(f"killed at {dict(made.kills)}; in flight {made.counts}")


def finish(watched: Watched, undisturbed: dict[str, UnitResult]) -> None:
    """Run it until it is done; then all is as it should be. Start over."""
    run = watched.start()
    watched.watch(lambda: run.poll() is not None and not watched.jobs())
    assert run.returncode == 0, (watched.project.folder / "told").read_text()[-5000:]
    succeed("check", "--config", "mine.yaml")
    assert_the_same(contents(watched.project.folder), undisturbed)
    assert watched.computed_again() <= watched.in_flight
    shutil.rmtree("results")
    watched.forget()


def assert_the_same(found: dict[str, UnitResult], wanted: dict[str, UnitResult]) -> None:
    """To the bit, though another attempt has smaller batches."""
    assert found.keys() == wanted.keys()
    for path, result in found.items():
        for name in ARRAYS:
            np.testing.assert_array_equal(getattr(result, name), getattr(wanted[path], name))
        for name in ("digest", "unit", "seed", "status", "options"):
            assert result.attributes[name] == wanted[path].attributes[name]


def test_snakemake_is_killed(watched: Watched, undisturbed: dict[str, UnitResult]) -> None:
    """Alone: its jobs go on, beside those of the next run."""
    while watched.kills.total() < KILLS:
        run = watched.start()
        if watched.goes_on(run):
            watched.kill_snakemake(run)
        else:
            finish(watched, undisturbed)
    finish(watched, undisturbed)


def test_jobs_are_killed(watched: Watched, undisturbed: dict[str, UnitResult]) -> None:
    """One after the other, in a run that tries them again."""
    while watched.kills.total() < KILLS:
        run = watched.start("--retries", str(KILLS))
        while watched.kills.total() < KILLS and watched.goes_on(run):
            watched.kill_job()
        watched.watch(lambda run=run: run.poll() is not None)
        finish(watched, undisturbed)
