"""The workflow, run by Snakemake itself: what it does, does again, and does not do."""

from __future__ import annotations

import os
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from running import LAYER_FILE, Config, Project
from small_nets import write_net

from cnnpref.results.layer_file import open_layer
from cnnpref.results.unit_file import check_unit, read_unit

pytestmark = pytest.mark.workflow

AFTER_UNITS = {
    "collect": 1,
    "scores": 1,
    "join_scores": 1,
    "sheets": 1,
    "pages": 1,
    "gallery": 1,
    "share": 1,
}


def counts(output: str) -> dict[str, int]:
    """How many jobs of each kind there were, after Snakemake's table; batches count as generate."""
    rules = "generate|collect|scores|join_scores|sheets|pages|gallery|share"
    rows = re.findall(rf"^({rules})\w* +(\d+)$", output, re.MULTILINE)
    once = rows[: len(rows) // 2] if rows[: len(rows) // 2] == rows[len(rows) // 2 :] else rows
    return {kind: sum(int(n) for k, n in once if k == kind) for kind, _ in once}


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory, few_units: Config) -> Project:
    project = Project(tmp_path_factory.mktemp("made"), few_units)
    project.succeed()
    return project


@pytest.fixture
def made(made_once: Project, tmp_path: Path) -> Project:
    """What Snakemake made of few units, to do something with."""
    shutil.copytree(made_once.folder, tmp_path, dirs_exist_ok=True)
    return Project(tmp_path, made_once.config)


def test_one_command_makes_everything(made: Project) -> None:
    run = made.folder / "results" / "mine"
    names = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert names >= {"index.html", "pages/conv1.html", "layers/conv1.h5", "sheets/conv1.png"}
    assert made.faults() == []


def test_a_second_run_does_nothing(made: Project) -> None:
    assert "Nothing to be done" in made.succeed()


def test_a_deleted_unit_is_one_job_and_comes_back_the_same(made: Project) -> None:
    path = made.unit(2)
    before = read_unit(path)
    path.unlink()
    assert counts(made.succeed())["generate"] == 1
    log = made.log("conv1/*/2-3.log")
    assert "conv1/gd: 1 of 2 units to do, 1 already valid" in log
    assert re.findall(r"unit (\d): ok", log) == ["2"]
    np.testing.assert_array_equal(read_unit(path).image, before.image)
    np.testing.assert_array_equal(read_unit(path).image_best, before.image_best)


def test_another_batch_size_reruns_nothing(made: Project) -> None:
    assert "Nothing to be done" in made.succeed(batch=3)
    assert "Nothing to be done" in made.succeed(batch=1)


def test_added_units_alone_are_computed(made: Project) -> None:
    output = made.succeed(LAYER_FILE, layers={"conv1": {"units": "0-4"}}, batch=3)
    assert counts(output) == {"generate": 1, "collect": 1}
    assert "conv1/gd: 1 of 2 units to do, 1 already valid" in made.log("conv1/*/3-4.log")


def test_fewer_units_make_the_layer_file_anew(made: Project) -> None:
    output = made.succeed(LAYER_FILE, layers={"conv1": {"units": "0-2"}})
    assert counts(output) == {"collect": 1}
    with open_layer(made.folder / LAYER_FILE) as methods:
        assert [row.unit for row in methods["gd"].rows()] == [0, 1, 2]


def test_changed_options_go_beside_the_old_results_and_back(made: Project) -> None:
    before = made.unit(0)
    stamp, digest = before.stat().st_mtime_ns, made.plan().series[0].digest
    made.succeed(LAYER_FILE, options={"gd": {"iter_n": 4}})
    assert made.unit(0).parent.parent == before.parent.parent
    assert made.unit(0) != before
    assert made.faults() == []
    output = made.succeed(LAYER_FILE, options={"gd": {"iter_n": 3}})
    assert counts(output) == {"collect": 1}
    assert before.stat().st_mtime_ns == stamp
    with open_layer(made.folder / LAYER_FILE) as methods:
        assert methods["gd"].attributes["digest"] == digest


def test_changed_labels_are_shown_and_nothing_is_computed(made: Project) -> None:
    def shown() -> list[str]:
        with open_layer(made.folder / LAYER_FILE) as methods:
            return [row.label for row in methods["gd"].rows()]

    names = made.folder / "names.txt"
    wanted = {"conv1": {"units": "0-3", "labels": ["a", "b", "c", "d", "e", "f"]}}
    assert counts(made.succeed(layers=wanted)) == AFTER_UNITS
    assert shown() == list("abcd")
    assert "Nothing to be done" in made.succeed()
    wanted["conv1"]["labels"] = "names.txt"
    names.write_text("one\ntwo\n\nfour\nfive\nsix")
    assert counts(made.succeed(layers=wanted))["collect"] == 1
    assert shown() == ["one", "two", "", "four"]
    before = names.stat()
    names.write_text("one\ntwo\nIII\nfour\nfive\nsix")
    os.utime(names, ns=(before.st_atime_ns, before.st_mtime_ns))  # as `cp -p` leaves it
    assert counts(made.succeed()) == AFTER_UNITS
    assert shown() == ["one", "two", "III", "four"]
    assert "Nothing to be done" in made.succeed()
    names.write_text("1\n2\n3\n4\n5\n6")
    assert "collect" in made.succeed("-n")


def test_success_is_never_reported_over_stale_files(made: Project) -> None:
    """Options change, one unit of a batch fails: no later run may call the old files right."""
    made.change(options={"gd": {"iter_n": 5}})
    obstacle = made.unit(1)
    (obstacle / "in-the-way").mkdir(parents=True)
    failed = made.snakemake(LAYER_FILE)
    assert failed.returncode == 1
    assert "/1.h5: Is a directory" in failed.stderr
    assert len(made.faults()) == 1
    assert check_unit(made.unit(0)) is None  # its batch mate was written and kept
    shutil.rmtree(obstacle)
    assert counts(made.succeed(LAYER_FILE))["generate"] == 1
    assert made.faults() == []


def test_a_dry_run_counts_jobs_and_touches_nothing(fresh: Project) -> None:
    layers = {"conv1": {}, "fire/expand": {"units": {"count": 2}}}
    output = fresh.succeed("--dry-run", layers=layers, batch=4)
    assert counts(output) == {
        "generate": 3,
        "join_scores": 1,
        "gallery": 1,
        "share": 1,
    } | dict.fromkeys(("collect", "scores", "sheets", "pages"), 2)
    assert not (fresh.folder / "results").exists()


def test_batch_1_is_one_job_of_one_rule_for_each_unit(fresh: Project) -> None:
    target = "results/mine/layers/fire=expand.h5"
    output = fresh.succeed(target, layers={"fire/expand": {"units": [0, 3]}}, batch=1)
    assert re.search(r"^generate +2$", output, re.MULTILINE)
    assert fresh.faults() == []
    assert "1 of 1 units to do" in fresh.log("fire=expand/*/3.log")


def test_a_config_on_the_command_line_is_the_whole_config(fresh: Project) -> None:
    default = fresh.folder / "config" / "config.yaml"
    default.parent.mkdir()
    default.write_text(yaml.safe_dump({**fresh.config, "layers": {"fc": {"units": 0}}, "seed": 7}))
    output = fresh.succeed("--dry-run", "--printshellcmds")
    assert counts(output)["generate"] == 2
    assert '"fc"' not in output
    assert '"seed": 0' in output
    assert "results/mine/" in output
    output = fresh.call("--dry-run", "--printshellcmds", "--config", "batch=9").stdout
    assert '"seed": 7' in output
    assert '"batch": 9' in output
    assert "results/config/" in output


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"layers": {"conv2": {}}}, "has no layer 'conv2' (did you mean 'conv1'?)"),
        ({"net": {"prototxt": "${NO_SUCH}/a", "caffemodel": "b"}}, "NO_SUCH is not set"),
    ],
)
def test_bad_input_is_one_line(changes: Config, part: str, fresh: Project) -> None:
    done = fresh.snakemake(**changes)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("cnnpref: "))
    assert part in line
    assert not (fresh.folder / "results").exists()


def test_a_truncated_caffemodel_fails_its_jobs_with_a_clear_line(fresh: Project) -> None:
    whole = Path(fresh.config["net"]["caffemodel"]).read_bytes()
    (fresh.folder / "short.caffemodel").write_bytes(whole[:200])
    net = {**fresh.config["net"], "caffemodel": "short.caffemodel"}
    done = fresh.snakemake(net=net, batch=4)
    assert done.returncode == 1
    assert "cnnpref: short.caffemodel: truncated" in done.stderr
    assert not list(fresh.folder.rglob("*.h5"))


def test_a_run_says_at_its_start_what_there_is_to_do(made: Project) -> None:
    for path in (made.unit(2), made.folder / LAYER_FILE):
        path.unlink()
    told = "results/mine: layers 1, methods 1, unit files 4 (3 there), jobs to compute the others 1"
    assert made.succeed(LAYER_FILE).count(told) == 1
    assert told not in made.succeed("--dry-run")


def test_a_report_has_the_sheets(made: Project) -> None:
    told = made.succeed("--report", "report.zip")
    assert "WARNING" not in told
    with zipfile.ZipFile(made.folder / "report.zip") as report:
        images = {Path(n).name: report.read(n) for n in report.namelist() if n.endswith(".png")}
        page = report.read("report/report.html").decode()
        names = report.namelist()
    sheets = made.folder / "results" / "mine" / "sheets"
    assert images == {
        "conv1.png": (sheets / "conv1.png").read_bytes(),
        "gd.png": (sheets / "conv1" / "gd.png").read_bytes(),
    }
    for text in ("Contact sheets", "all, side by side", "conv1</tt> prefer, by one method"):
        assert text in page
    (index,) = (name for name in names if name.endswith("/index.html"))
    folder = index.removesuffix("index.html")
    assert {f"{folder}{name}" for name in ("pages/conv1.html", "assets/layer.js")} <= set(names)
    assert f"{folder}units/conv1/3.html" in names
    assert not [name for name in names if name.endswith(".h5")]


@pytest.mark.parametrize("batch", [1, 2])
def test_braces_and_spaces_in_any_name(
    batch: int, fresh: Project, tiny_net: Path, tmp_path: Path
) -> None:
    """Snakemake takes braces in strings for wildcards; a run is named after the config's file."""
    folder, layer = tmp_path / "p{1} [u]{x}", "[u]{x} {layer}"
    folder.mkdir()
    text = (tiny_net / "tiny.prototxt").read_text().replace('name: "fc"', f'name: "{layer}"')
    write_net(folder / "net {2}.prototxt", text)
    net = {key: str(folder / f"net {{2}}.{key}") for key in ("prototxt", "caffemodel")}
    fresh.change(net=net, layers={layer: {"units": "0-1"}}, batch=batch)
    (tmp_path / "mine.yaml").rename(tmp_path / "my {net}.yaml")
    done = fresh.call("--configfile", "my {net}.yaml")
    assert done.returncode == 0, done.stderr
    run = tmp_path / "results" / "my__net_"
    assert len(list(run.rglob("units/%5Bu%5D%7Bx%7D%20%7Blayer%7D/*/*.h5"))) == 2
    assert (run / "index.html").exists()
    assert "Nothing to be done" in fresh.call("--configfile", "my {net}.yaml").stderr
