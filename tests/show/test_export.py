"""Images in formats of other programs, and the table beside them, by the command line."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from calling import fail, succeed
from PIL import Image
from places import ROOT
from running import Project
from scipy.io import loadmat

from cnnpref.display import clip_extreme, normalise
from cnnpref.planning.files import LAYER
from cnnpref.planning.plan import Plan
from cnnpref.results.unit_file import read_unit, write_unit

Made = tuple[Project, Plan]


@pytest.fixture
def made(finished: Project) -> Made:
    """A run of conv1 (6 units) and fire/expand (3), of which unit 1 is dead."""
    plan = finished.plan()
    path = plan.select("fire/expand")[0].path(1)
    dead = read_unit(path)
    write_unit(path, replace(dead, attributes={**dead.attributes, "status": "zero-gradient"}))
    succeed("collect", finished.config)
    return finished, plan


def table(folder: str) -> list[dict[str, str]]:
    with Path(folder, "units.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def images(plan: Plan, layer: str, name: str = "image") -> Any:
    with h5py.File(plan.path(LAYER, layer)) as file:
        return file[f"gd/{name}"][()]


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_pictures_are_as_sheets_show_them(made: Made, kind: str) -> None:
    project, plan = made
    succeed("export", project.config, "--format", kind, "--out", "out")
    rows = table("out")
    assert len(rows) == 9
    for row in rows:
        place = f"{row['layer'].replace('/', '=')}/gd/{row['unit']}.{kind}"
        assert row["file"] == (place if row["status"] == "ok" else "")
    assert rows[7]["status"] == "zero-gradient"
    one = next(int(row["unit"]) for row in rows if row["status"] == "ok")
    shown = normalise(clip_extreme(images(plan, "conv1")[one], 0.04))
    with Image.open(f"out/conv1/gd/{one}.{kind}") as picture:
        found = np.asarray(picture.convert("RGB"), float)
    assert np.abs(found - shown).mean() < (0.6 if kind == "png" else 12)
    assert not Path(f"out/fire=expand/gd/1.{kind}").exists()


def test_numbers_are_the_files_own(made: Made) -> None:
    project, plan = made
    for kind in ("npy", "mat", "h5"):
        succeed("export", project.config, "--format", kind, "--out", kind)
    wanted = images(plan, "fire/expand")
    assert np.array_equal(np.load("npy/fire=expand/gd.npy"), wanted)
    with h5py.File("h5/fire=expand/gd.h5") as file:
        assert np.array_equal(file["image"][()], wanted)
        assert file["status"].asstr()[1] == "zero-gradient"
        assert file.attrs["layer"] == "fire/expand"
    matlab = loadmat("mat/fire=expand/gd/2.mat")
    assert np.array_equal(matlab["img"], wanted[2])
    assert matlab["layer"].item() == "fire/expand"
    assert matlab["unit"].item() == 2
    rows = table("npy")
    assert (rows[-1]["file"], rows[-1]["index"]) == ("fire=expand/gd.npy", "2")
    with h5py.File(plan.path(LAYER, "conv1")) as layer:
        scores = layer["gd/score"][()].tolist()
    assert [float(row["activation"]) for row in rows[:6]] == scores


def test_a_part_of_it_and_the_best_iterates(made: Made) -> None:
    project, plan = made
    arguments = ("--layer", "conv1", "--method", "gd", "--best", "--format", "npy")
    succeed("export", project.config, *arguments, "--out", "out")
    assert {row["layer"] for row in table("out")} == {"conv1"}
    assert np.array_equal(np.load("out/conv1/gd.npy"), images(plan, "conv1", "image_best"))
    plan.path(LAYER, "conv1").unlink()
    told = fail("export", project.config, *arguments, "--out", "out")
    assert "conv1.h5: missing; run 'cnnpref collect'" in told


def test_scores_stand_in_the_table(made: Made) -> None:
    import polars

    project, plan = made
    key = plan.select("conv1")[0].digest[:8]
    (plan.folder / "scores").mkdir(exist_ok=True)
    told = {"unit": [0, 4], "key": [key] * 2, "method": ["gd"] * 2, "gain": [1.5, None]}
    polars.DataFrame(told).write_parquet(plan.folder / "scores" / "conv1.parquet")
    succeed("export", project.config, "--format", "npy", "--out", "out")
    assert [row["gain"] for row in table("out")] == ["1.5", *[""] * 8]


def test_the_readme_reads_the_files(made: Made) -> None:
    """Its examples run; its tables name what the files have, and nothing else."""
    project, plan = made
    text = (ROOT / "results" / "README.md").read_text()
    unit, layer = (part.partition("## Reading")[0] for part in text.split("\n## ")[1:3])
    with h5py.File(plan.series[0].path(0)) as file:
        assert set(named(unit)) - OPTIONAL == {*file, *file.attrs} - OPTIONAL - FORMAT
        kinds = {name: data.dtype.name for name, data in file.items()}
    with h5py.File(plan.path(LAYER, "conv1")) as file:
        plain, _, packed = layer.partition("### Packed")
        assert set(named(plain)) - OPTIONAL == set(file["gd"]) - OPTIONAL
        kinds |= {name: data.dtype.name for name, data in file["gd"].items()}
    tables = text.partition("\n## Scores")[0].splitlines()
    for line in (line for line in tables if line.startswith("| `") and "float" in line):
        for name in set(named(line)) - OPTIONAL:
            assert f"| {kinds[name]} |" in line
    path = plan.path(LAYER, "conv1").resolve()
    succeed("pack", project.config)
    with h5py.File(path) as file:
        assert {*named(plain), *named(packed)} - OPTIONAL == set(file["gd"]) - OPTIONAL
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        if "xarray" not in code or find_spec("xarray"):
            code = code.replace("results/shapes/layers/fc8.h5", str(path))
            exec(code.replace("spectral", "gd"), {})


FORMAT = {"format", "format_version"}
OPTIONAL = {"label", "latent", "importance", "frames", "frame_step", "attempts_status"}
OPTIONAL |= {"image_best_apart", "frame_count"}


def named(table: str) -> list[str]:
    """The names in the first column of tables."""
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]
