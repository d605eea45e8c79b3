"""`cnnpref clean`: what it names, what it deletes, and what it never touches."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from calling import Config, call, succeed

pytestmark = pytest.mark.usefixtures("in_tmp_path")
RUN = Path("results/tiny")


@pytest.fixture
def old(tiny_config: Config) -> Config:
    """The config by which the run was made."""
    for command in ("generate", "collect", "scores", "sheet", "pages", "gallery", "share"):
        succeed(command, tiny_config)
    return tiny_config


@pytest.fixture
def new(old: Config) -> Config:
    """Another config of the same run, whose units are there too."""
    config = {**old, "layers": {"conv1": {}}, "options": {"gd": {"iter_n": 2}}}
    succeed("generate", config)
    return config


def files() -> set[str]:
    return {str(p.relative_to(RUN)) for p in RUN.rglob("*") if p.is_file() or p.is_symlink()}


def cleaned(*configs: Config, yes: bool = True) -> str:
    result = call("clean", *configs, *(["--yes"] if yes else []))
    assert result.exit_code == 0, result.output
    return result.stdout


def test_what_the_configs_ask_for_stays(old: Config, new: Config) -> None:
    before = files()
    assert cleaned(old, new) == "nothing that no config asks for\n"
    assert files() == before


@pytest.mark.parametrize("arguments", [[], ["--dry-run"], ["-n"]])
def test_it_only_names_them_unless_told_otherwise(arguments: list[str], new: Config) -> None:
    before = files()
    result = call("clean", new, *arguments)
    assert result.exit_code == 0
    (folder,) = (p.resolve() for p in RUN.glob("units/fire=expand/*/"))
    assert any(line.endswith(f"     8 files  {folder}") for line in result.stdout.splitlines())
    assert "that no config asks for; --yes deletes them" in result.stdout
    assert files() == before


def test_old_options_and_layers_go(new: Config) -> None:
    before = files()
    assert ": deleted" in cleaned(new)
    gone = before - files()
    units = {Path(n).name for n in gone if n.startswith("units/conv1/")}
    assert {name for name in units if name.endswith(".h5")} == {f"{n}.h5" for n in range(6)}
    assert "0.png" in units
    assert gone >= {"units/fire=expand/3.html", "pictures/fire=expand/gd/3.webp"}
    assert "units/conv1/3.html" in files()
    assert gone >= {"layers/fire=expand.h5", "sheets/fire=expand.png", "pages/fire=expand.html"}
    assert "layers/conv1.h5" in files()
    assert not (RUN / "units" / "fire=expand").exists()
    assert "0 of 4 units to do, 4 already valid" in succeed("generate", new)
    assert cleaned(new) == "nothing that no config asks for\n"


def test_units_that_are_no_longer_wanted_go(old: Config) -> None:
    fewer = {**old, "layers": {**old["layers"], "conv1": {"units": "0-1"}}}
    before = files()
    cleaned(fewer)
    assert before - files() == {
        name for name in before if re.fullmatch(r"units/conv1/(.*/)?[2-5]\.\w+", name)
    }


def test_logs_of_what_goes_go_too(new: Config) -> None:
    folders = [path.relative_to(RUN / "units") for path in RUN.glob("units/*/*/")]
    for folder in folders:
        log = RUN / "logs" / "generate" / folder / "0-3.log"
        log.parent.mkdir(parents=True)
        log.touch()
    (RUN / "logs" / "gallery.log").touch()
    cleaned(new)
    kept = {name for name in files() if name.startswith("logs/")}
    (folder,) = (path.relative_to(RUN / "units") for path in RUN.glob("units/*/*/"))
    assert kept == {"logs/gallery.log", f"logs/generate/{folder}/0-3.log"}


def test_files_of_others_and_fresh_temporary_ones_stay(old: Config) -> None:
    (folder,) = RUN.glob("units/conv1/*/")
    for path in (RUN / "notes.h5", folder / "notes.txt", folder / ".7.h5.0a.tmp"):
        path.touch()
    abandoned = folder / ".8.h5.0b.tmp"
    abandoned.touch()
    os.utime(abandoned, (0, 0))
    before = files()
    cleaned(old)
    assert before - files() == {str(abandoned.relative_to(RUN))}


def test_links_are_not_followed(old: Config, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "1.h5").touch()
    (RUN / "units" / "conv9").symlink_to(elsewhere, target_is_directory=True)
    (RUN / "layers" / "conv9.h5").symlink_to(elsewhere / "1.h5")
    assert cleaned(old) == "nothing that no config asks for\n"
    (RUN / "layers").rename(tmp_path / "moved")
    (RUN / "layers").symlink_to(tmp_path / "moved", target_is_directory=True)
    (tmp_path / "moved" / "conv8.h5").touch()
    assert cleaned(old) == "nothing that no config asks for\n"
    assert (elsewhere / "1.h5").exists()


def test_other_runs_stay(old: Config) -> None:
    before = files()
    assert cleaned({**old, "run": "another"}) == "nothing that no config asks for\n"
    assert files() == before
