"""Reference images in the workflow: in shards, changed, and with jobs that are killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import h5py
import numpy as np
import pytest
from calling import Config, call, fail, succeed
from drawings import MEAN, NET, drawings, write_pngs
from killing import Watched
from running import Project

COUNT = 40
LAYERS = ("conv1", "conv5", "fc8")
FILES = [*(f"{layer}.h5" for layer in LAYERS), "nature.h5"]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """Drawings in a folder, two units of each of three layers."""
    monkeypatch.chdir(tmp_path)
    write_pngs(tmp_path / "photos", drawings(COUNT))
    return {
        **{"run": "mine", "net": {**NET, "mean": MEAN}, "methods": ["gd"]},
        "options": {"gd": {"iter_n": 2}},
        "layers": {layer: {"units": "0-1"} for layer in LAYERS},
        "references": {"images": "photos", "shard": 10},
    }


def contents(path: Path) -> dict[str, bytes]:
    """All arrays of a file, to the bit; of its attributes all but the digest."""
    found: dict[str, bytes] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            values = item[()]
            plain = values.tolist() if values.dtype == object else None
            found[name] = repr(plain).encode() if plain is not None else values.tobytes()

    with h5py.File(path) as file:
        file.visititems(visit)
        for name, value in file.attrs.items():
            if name != "digest":
                found[f"@{name}"] = np.asarray(value).tobytes()
    return found


def made(names: Sequence[str] = FILES) -> dict[str, dict[str, bytes]]:
    return {name: contents(Path("results/mine/references", name)) for name in names}


def shards() -> dict[str, int]:
    """Files and their dates."""
    paths = Path("results/mine/references/shards").glob("*.h5")
    return {path.name: path.stat().st_mtime_ns for path in paths}


def test_shards_and_the_order_of_files_change_nothing(config: Config) -> None:
    succeed("references", {**config, "references": {"images": "photos"}})
    assert len(shards()) == 1
    wanted = made()
    for number in (3, 7):
        shutil.rmtree("results")
        section = {"images": "photos", "shard": round(COUNT / number)}
        succeed("references", {**config, "references": section})
        assert len(shards()) == number
        assert made() == wanted
    names = sorted(Path("photos").iterdir())
    Random(1).shuffle(names)
    listed = Path("list.txt")
    listed.write_text("\n".join(map(str, names)))
    shutil.rmtree("results")
    succeed("references", {**config, "references": {"images": "list.txt", "shard": 13}})
    assert made() == wanted


def test_bad_images_are_named_and_skipped(config: Config) -> None:
    good = Path("photos/0003.png").read_bytes()
    Path("photos/bad.png").write_bytes(good[: len(good) // 2])
    shutil.copy("photos/0004.png", "photos/copy.png")
    odd = "photos/\t%s {layer} $HOME ü\n#.png"
    Path("photos/0005.png").rename(odd)
    told = succeed("references", config)
    assert "photos/bad.png: skipped: " in told
    with h5py.File("results/mine/references/fc8.h5") as file:
        assert file.attrs["count"] == COUNT
        columns = (file[f"skipped/{column}"].asstr()[()] for column in ("name", "reason"))
        skipped = dict(zip(*columns, strict=True))
        names = file["images/name"].asstr()[()].tolist()
    assert skipped.keys() == {"photos/bad.png", "photos/copy.png"}
    assert skipped["photos/copy.png"] == "the same as photos/0004.png"
    assert set(names) == {f"photos/{n:04d}.png" for n in range(COUNT) if n != 5} | {odd}
    (listed,) = Path("results/mine/references").glob("images-*.tsv")
    lines = listed.read_text("utf-8").splitlines()
    assert len(lines) == COUNT + 2
    assert "photos/\\t%s {layer} $HOME ü\\n#.png" in {line.split("\t")[1] for line in lines}


def test_without_images_it_says_so(config: Config) -> None:
    assert "no reference images" in fail("references", {k: config[k] for k in ("net", "layers")})
    Path("empty").mkdir()
    assert "no image below it" in fail("references", {**config, "references": "empty"})
    (Path("empty") / "a.jpg").write_text("no image")
    assert "none of 1 images can be read" in fail("references", {**config, "references": "empty"})
    assert "allowed: 'crops' or 'paths'" in fail(
        "references", {**config, "references": {"images": "photos", "store": "all"}}
    )
    assert "--shard: got 9" in fail("references", config, "--shard", "9")


def test_paths_in_place_of_crops(config: Config) -> None:
    section = {**config["references"], "store": "paths"}
    succeed("references", {**config, "references": section})
    with h5py.File("results/mine/references/conv1.h5") as file:
        assert "crops" not in file
        assert "crop" not in file["top"]
        assert file["top/box"].shape == (32, 9, 4)


def test_only_what_must_is_computed_again(config: Config) -> None:
    succeed("references", config)
    before = shards()
    write_pngs(Path("photos"), drawings(COUNT + 1)[-1:], COUNT)
    succeed("references", config)
    assert len(shards().keys() - before.keys()) == 1
    assert all(shards()[name] == date for name, date in before.items())
    new = made()
    shutil.rmtree("results")
    succeed("references", config)
    assert made() == new


def test_check_and_clean_know_the_files(config: Config) -> None:
    made = ("generate", "collect", "references", "scores", "sheet", "pages", "gallery", "share")
    for command in made:
        succeed(command, config)
    assert call("check", config).exit_code == 0
    (first, *_) = sorted(Path("results/mine/references/shards").iterdir())
    first.write_bytes(first.read_bytes()[:1000])
    output = call("check", config).output
    assert f"damaged  {first}" in output
    changed = {**config, "references": {**config["references"], "top": 3}}
    output = call("check", changed).output
    assert "of other images, layers or settings" in output
    assert "references/shards" in call("clean", changed).output


@pytest.mark.slow
def test_killed_jobs_end_as_undisturbed_ones(config: Config) -> None:
    succeed("references", config)
    wanted, took = made(), 12.0
    shutil.rmtree("results")
    command = [sys.executable, "-c", "from cnnpref.cli import main; main()", "references"]
    random, kills = Random(2), 0
    while kills < 5:
        start = time.monotonic()
        job = subprocess.Popen([*command, "--config", json.dumps(config)], stderr=subprocess.PIPE)
        try:
            job.communicate(timeout=random.uniform(0.3, 1) * took)
        except subprocess.TimeoutExpired:
            job.send_signal(signal.SIGKILL)
            job.communicate()
            kills += 1
        else:
            took = time.monotonic() - start
            assert made() == wanted
            shutil.rmtree("results")
    succeed("references", config)
    assert made() == wanted


@pytest.mark.workflow
def test_the_workflow_makes_them(config: Config, tmp_path: Path) -> None:
    project = Project(tmp_path, config)
    project.succeed()
    wanted, before = made(), shards()
    assert "Nothing to be done" in project.succeed()
    assert call("check", config).exit_code == 0
    Path("photos/0000.png").unlink()
    project.succeed()
    assert len(shards().keys() - before.keys()) == 1
    with h5py.File("results/mine/references/conv1.h5") as file:
        assert file.attrs["count"] == COUNT - 1
    write_pngs(Path("photos"), drawings(1))
    project.succeed()
    assert made() == wanted


@pytest.mark.workflow
def test_a_killed_workflow_ends_as_an_undisturbed_one(config: Config, tmp_path: Path) -> None:
    """Killed with all of its jobs, five times, at any moment."""
    succeed("references", config)
    wanted = made()
    shutil.rmtree("results")
    project = Project(tmp_path, config)
    project.change()
    watched = Watched(project, seed=3)
    targets = [f"results/mine/references/{name}" for name in FILES]
    while watched.kills.total() < 5:
        run = watched.start(*targets)
        if watched.goes_on(run):
            watched.kill_snakemake(run)
            for job in watched.jobs():
                os.kill(job.pid, signal.SIGKILL)
        else:
            assert made() == wanted
            shutil.rmtree("results")
    assert watched.start(*targets).wait() == 0
    assert made() == wanted
