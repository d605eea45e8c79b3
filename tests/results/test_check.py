"""`cnnpref check`: says of every file of a run what is wrong with it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from calling import Config, call, fail, succeed, unit_files
from running import Project

from cnnpref.planning.files import GALLERY, PAGES

RUN = Path("results/mine")


@pytest.fixture
def config(finished: Project) -> Config:
    """The config of a run that lies in the working directory and may be spoilt."""
    return finished.config


def told(config: Config) -> list[str]:
    """What it prints about the files."""
    result = call("check", config)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"cnnpref: {RUN}: ")
    return result.stdout.splitlines()


def truncate(path: Path) -> None:
    """Leave half of a file, of the same age."""
    stamp = path.stat()
    path.write_bytes(path.read_bytes()[: stamp.st_size // 2])
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))


def test_a_complete_run_is_right(config: Config, finished: Project) -> None:
    result = call("check", config)
    assert (result.exit_code, result.stderr) == (0, "")
    shown = len(finished.plan().paths([*PAGES.makes, *GALLERY.makes]))
    counts = "9 unit files, 2 layer files, 2 score parts, 3 score tables"
    counts += ", 2 likeness tables, 4 sheets, 2 sheet looks"
    counts += f", {shown} gallery files, 1 gallery folder"
    assert result.stdout == f"{RUN}: {counts}: all there and right\n"


def test_a_run_that_was_not_started_misses_everything(config: Config, finished: Project) -> None:
    last = fail("check", {**config, "run": "other"})
    made = list(finished.plan().files())
    assert last.startswith(f"cnnpref: results/other: {len(made)} missing; ")


def test_missing_units_are_grouped(config: Config) -> None:
    for unit in (0, 1, 4):
        unit_files()[f"conv1/{unit}"].unlink()
    folder = unit_files()["conv1/2"].parent
    assert told(config) == [f"missing  {folder}: 3 unit files: 0-1,4"]


def test_changed_options_want_other_files(config: Config) -> None:
    lines = told({**config, "options": {"gd": {"iter_n": 3}}})
    assert [line.split()[0] for line in lines] == ["missing"] * 2 + ["stale"] * 4
    assert lines[2] == f"stale    {RUN}/layers/conv1.h5: of other units or options of gd"


def test_fewer_units_make_the_layer_file_stale(config: Config) -> None:
    config = {**config, "layers": {**config["layers"], "conv1": {"units": "0-3"}}}
    assert told(config) == [
        f"stale    {RUN}/layers/conv1.h5: of other units or options of gd",
        f"stale    {RUN}/scores/conv1.parquet: of other units or options",
    ]


def test_a_unit_of_other_options_in_the_place_of_one_is_stale(config: Config) -> None:
    succeed("generate", {**config, "options": {"gd": {"iter_n": 3}}}, "--layer", "conv1")
    here = call("check", config)
    assert here.exit_code == 0
    one, other = sorted(Path(RUN).glob("units/conv1/*/3.h5"))
    one_bytes = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(one_bytes)
    assert any(line.startswith("stale ") and "other digest" in line for line in told(config))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("units/fire=expand/*/1.h5", "truncated, damaged or not HDF5"),
        ("layers/conv1.h5", "not a complete layer file"),
        ("sheets/conv1/gd.png", "not a complete PNG"),
        ("pictures/conv1/manifest.json", "not a complete manifest"),
        ("pages/fire=expand.html", "not a complete page"),
    ],
)
def test_a_truncated_file_is_damaged(name: str, reason: str, config: Config) -> None:
    (path,) = RUN.glob(name)
    truncate(path)
    assert told(config) == [f"damaged  {path}: {reason}"]


@pytest.mark.parametrize(
    "name", ["layers/fire=expand.h5", "sheets/conv1.png", "sheets/conv1/gd.png", "index.html"]
)
def test_a_deleted_file_is_missing(name: str, config: Config) -> None:
    (RUN / name).unlink()
    assert told(config) == [f"missing  {RUN / name}"]


@pytest.mark.parametrize(
    ("newer", "older"),
    [
        ("units/conv1/*/3.h5", {"layers/conv1.h5"}),
        ("layers/conv1.h5", {"sheets/conv1.png", "sheets/conv1/gd.png"}),
        ("layers/conv1.h5", {"pages/conv1.html", "pictures/conv1/manifest.json"}),
        ("pages/conv1.html", {"index.html", "share"}),
    ],
)
def test_what_is_older_than_its_source_is_stale(
    newer: str, older: set[str], config: Config
) -> None:
    (source,) = RUN.glob(newer)
    os.utime(source)
    lines = told(config)
    assert {f"stale    {RUN / name}: older than {source}" for name in older} <= set(lines)
    assert all(line.startswith("stale ") for line in lines)


def test_many_damaged_files_are_counted(config: Config) -> None:
    for path in RUN.glob("units/conv1/*/*.h5"):
        path.write_text("")
    lines = told(config)
    assert sum(": truncated" in line for line in lines) == 5
    assert any(line.endswith(": and 1 more file") for line in lines)
    assert "6 damaged, 1 stale" in fail("check", config)


@pytest.mark.parametrize(
    "name", ["units/conv1/3.html", "units/conv1/*/3.png", "pictures/conv1/gd/3.webp"]
)
def test_a_lost_or_truncated_file_of_a_page_is_named(name: str, config: Config) -> None:
    (path,) = RUN.glob(name)
    manifest = f"damaged  {RUN}/pictures/conv1/manifest.json: of its files, {path} missing or not"
    for spoil in (truncate, Path.unlink):
        spoil(path)
        (line,) = told(config)
        assert line.startswith(manifest)
    succeed("pages", config, "--layer", "conv1")
    assert path.exists()
    assert not any("manifest" in line for line in told(config) if line.startswith("damaged"))
