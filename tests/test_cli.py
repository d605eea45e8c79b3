"""The command line: what it makes, and what it says when it cannot."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

import cnnpref
from cnnpref.cli import main
from cnnpref.nets.caffe import save_caffemodel
from cnnpref.store import read_unit

Config = dict[str, Any]


def call(*args: str | Config) -> Result:
    """Run `cnnpref` with these arguments; a dict stands for `--config` and itself as JSON."""
    texts = [["--config", json.dumps(a)] if isinstance(a, dict) else [a] for a in args]
    return CliRunner().invoke(main, [text for part in texts for text in part])


def succeed(*args: str | Config) -> str:
    result = call(*args)
    assert result.exit_code == 0, result.output
    return result.stderr


def fail(*args: str | Config) -> str:
    """The one line that a failing call prints."""
    result = call(*args)
    assert result.exit_code == 1, result.output
    *before, last = result.stderr.splitlines()
    assert last.startswith("cnnpref: ")
    assert not any(line.startswith(("cnnpref: ", "Traceback")) for line in before)
    return last


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def unit_files() -> dict[str, Path]:
    """Paths by "layer/unit"."""
    return {f"{p.parts[-3]}/{p.stem}": p for p in sorted(Path("results").rglob("units/**/*.h5"))}


def test_generate_makes_a_file_for_every_unit(tiny_config: Config) -> None:
    succeed("generate", tiny_config)
    names = [f"conv1/{u}" for u in range(6)] + [f"fire=expand/{u}" for u in range(4)]
    assert sorted(unit_files()) == names


def test_a_unit_file_says_where_it_comes_from(tiny_config: Config) -> None:
    succeed("generate", tiny_config, "--layer", "fire/expand", "--units", "3")
    ((_, path),) = unit_files().items()
    result = read_unit(path)
    told = result.attributes
    assert result.image.shape == result.image_best.shape == (12, 12, 3)
    assert result.activation.shape == (3,)
    assert (told["net"], told["layer"], told["unit"]) == ("tiny", "fire/expand", 3)
    assert (told["method"], told["position"], told["seed"]) == ("gd", "center", 0)
    assert (told["options"]["iter_n"], told["options"]["jitter_size"]) == (3, 4)
    assert told["receptive_field"] == (3, 3, 10, 10)
    assert told["digest"][:8] in str(path)
    weights = Path(tiny_config["net"]["caffemodel"]).read_bytes()
    assert told["sha256"]["net"]["caffemodel"] == hashlib.sha256(weights).hexdigest()
    assert told["versions"]["torch"] == torch.__version__
    assert told["seconds"] > 0


def test_the_score_is_the_nets_own_answer(tiny_config: Config) -> None:
    tiny_config["layers"] = {"conv1": {"position": [2, 5]}}
    succeed("generate", tiny_config)
    net = cnnpref.load_caffe(**tiny_config["net"])
    result = read_unit(unit_files()["conv1/4"])
    x = torch.from_numpy(net.space.encode(result.image)[None])
    assert float(net.activations(x, "conv1")[0, 4, 2, 5]) == pytest.approx(
        result.attributes["score"], rel=1e-4
    )


def test_valid_files_are_left_alone(tiny_config: Config) -> None:
    succeed("generate", tiny_config)
    before = {path: path.stat().st_mtime_ns for path in unit_files().values()}
    told = succeed("generate", tiny_config)
    assert "conv1/gd: 0 of 4 units to do, 4 already valid" in told
    assert {path: path.stat().st_mtime_ns for path in unit_files().values()} == before


def test_a_missing_unit_alone_is_computed_and_is_the_same(tiny_config: Config) -> None:
    succeed("generate", tiny_config)
    path = unit_files()["conv1/2"]
    before = read_unit(path)
    path.unlink()
    told = succeed("generate", tiny_config)
    assert "conv1/gd: 1 of 4 units to do, 3 already valid" in told
    assert told.count(" ok, activation ") == 1
    after = read_unit(path)
    np.testing.assert_array_equal(before.image, after.image)
    np.testing.assert_array_equal(before.image_best, after.image_best)
    np.testing.assert_array_equal(before.activation, after.activation)


def test_an_invalid_unit_is_computed_again_with_a_warning(tiny_config: Config) -> None:
    succeed("generate", tiny_config)
    path = unit_files()["conv1/2"]
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    told = succeed("generate", tiny_config)
    assert f"warning: {path} is not valid (truncated, damaged or not HDF5)" in told
    assert told.count(" ok, activation ") == 1
    assert read_unit(path).attributes["unit"] == 2


def test_the_batch_does_not_matter(tiny_config: Config) -> None:
    succeed("generate", {**tiny_config, "run": "together"})
    succeed("generate", {**tiny_config, "run": "alone", "batch": 1})
    for path in Path("results/together").rglob("*.h5"):
        other = Path("results/alone", *path.parts[2:])
        np.testing.assert_allclose(read_unit(path).image, read_unit(other).image, atol=1e-2)


def test_a_unit_that_cannot_be_written_does_not_stop_the_others(tiny_config: Config) -> None:
    succeed("generate", tiny_config, "--layer", "conv1", "--units", "2")
    path = unit_files()["conv1/2"]
    path.unlink()
    (path / "in-the-way").mkdir(parents=True)
    line = fail("generate", tiny_config, "--layer", "conv1")
    assert "1 units could not be written; conv1/gd unit 2: cannot write" in line
    assert sorted(unit_files()) == [f"conv1/{u}" for u in range(6)]
    (path / "in-the-way").rmdir()
    path.rmdir()
    assert "1 of 4 units to do" in succeed("generate", tiny_config, "--layer", "conv1")


def test_a_unit_that_diverges_is_a_result_and_harms_no_other(
    tiny_config: Config, tmp_path: Path
) -> None:
    net = cnnpref.load_caffe(**tiny_config["net"])
    conv1_bias = list(net.parameters())[1]
    conv1_bias[2] = float("inf")
    save_caffemodel(net, tmp_path / "broken.caffemodel")
    broken = {**tiny_config["net"], "caffemodel": str(tmp_path / "broken.caffemodel")}
    told = succeed("generate", {**tiny_config, "net": broken}, "--layer", "conv1")
    assert "conv1/gd unit 2: diverged" in told
    status = {name: read_unit(p).attributes["status"] for name, p in unit_files().items()}
    assert status.pop("conv1/2") == "diverged"
    assert set(status.values()) == {"ok"}


def test_collect_sheet_and_gallery(tiny_config: Config) -> None:
    succeed("generate", tiny_config)
    for command in ("collect", "sheet", "gallery"):
        succeed(command, tiny_config)
    run = Path("results/tiny")
    made = {str(p.relative_to(run)) for p in run.rglob("*") if p.is_file()}
    assert made >= {
        *("layers/conv1.h5", "sheets/conv1.png", "sheets/conv1/gd.png", "pages/conv1.html"),
        *("layers/fire=expand.h5", "sheets/fire=expand.png", "pages/fire=expand.html"),
        "index.html",
    }
    assert "pages/fire%3Dexpand.html" in (run / "index.html").read_text()


def test_sheet_can_make_one_alone(tiny_config: Config) -> None:
    succeed("generate", tiny_config, "--layer", "conv1")
    succeed("collect", tiny_config, "--layer", "conv1")
    succeed("sheet", tiny_config, "--layer", "conv1", "--method", "gd")
    sheets = Path("results/tiny/sheets")
    assert [p for p in sheets.rglob("*") if p.is_file()] == [sheets / "conv1" / "gd.png"]


def test_info_lists_the_layers(tiny_config: Config) -> None:
    result = call("info", tiny_config)
    assert result.exit_code == 0
    rows = {line.split()[0]: line for line in result.stdout.splitlines()}
    assert "4 x 6 x 6" in rows["fire/expand"]
    assert "7 x 7, rows 3-10, columns 3-10" in rows["fire/expand"]


def edited(tmp_path: Path, config: Config, old: str, new: str) -> Config:
    """The config with another prototxt: some text of it replaced."""
    text = Path(config["net"]["prototxt"]).read_text()
    assert old in text
    path = tmp_path / "edited.prototxt"
    path.write_text(text.replace(old, new))
    return {**config, "net": {**config["net"], "prototxt": str(path)}}


def truncated(tmp_path: Path, config: Config) -> Config:
    whole = Path(config["net"]["caffemodel"]).read_bytes()
    path = tmp_path / "short.caffemodel"
    path.write_bytes(whole[: len(whole) // 2])
    return {**config, "net": {**config["net"], "caffemodel": str(path)}}


BAD: dict[str, tuple[Callable[[Path, Config], Config], list[str]]] = {
    "unknown layer": (
        lambda _, c: {**c, "layers": {"conv2": {}}},
        ["no layer 'conv2'", "did you mean 'conv1'"],
    ),
    "unit out of range": (
        lambda _, c: {**c, "layers": {"conv1": {"units": [6]}}},
        ["got 6", "'conv1' has 6 units"],
    ),
    "unknown key": (
        lambda _, c: {**c, "methdos": ["gd"]},
        ["unknown key 'methdos'", "did you mean 'methods'"],
    ),
    "missing caffemodel": (
        lambda _, c: {**c, "net": {**c["net"], "caffemodel": "no.caffemodel"}},
        ["no.caffemodel"],
    ),
    "truncated caffemodel": (truncated, ["short.caffemodel"]),
    "missing prototxt": (
        lambda _, c: {**c, "net": {**c["net"], "prototxt": "no.prototxt"}},
        ["no.prototxt"],
    ),
    "prototxt with a syntax error": (
        lambda p, c: edited(p, c, 'type: "ReLU"', 'type "ReLU"'),
        ["edited.prototxt", "7:28"],
    ),
    "unknown layer type": (
        lambda p, c: edited(p, c, 'type: "ReLU"', 'type: "Relux"'),
        ["relu1", "Relux"],
    ),
    "undefined variable": (
        lambda _, c: {**c, "net": {**c["net"], "prototxt": "${CNNPREF_NOWHERE}/a"}},
        ["net.prototxt", "CNNPREF_NOWHERE is not set"],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_line(case: str, tiny_config: Config, tmp_path: Path) -> None:
    change, parts = BAD[case]
    line = fail("generate", change(tmp_path, tiny_config))
    assert [part for part in parts if part not in line] == []
    assert not unit_files()


@pytest.mark.parametrize(
    ("option", "part"),
    [
        (["--layer", "conv2"], "no layer 'conv2' (did you mean 'conv1'?); the config has conv1"),
        (["--method", "lbfgs"], "no method 'lbfgs'; the config has gd"),
        (["--units", "4-9"], "got '4-9'; the config asks for the units 0-5 of layer 'conv1'"),
        (["--units", "x"], "units: got 'x'; allowed: ranges such as '0-24,30'"),
        (["--device", "cuda:77"], "no device 'cuda:77'"),
        (["--device", "toaster"], "no device 'toaster'"),
    ],
)
def test_bad_options(option: list[str], part: str, tiny_config: Config) -> None:
    assert part in fail("generate", tiny_config, *option)


def test_usage_errors_exit_with_2(tiny_config: Config) -> None:
    assert call("generate").exit_code == 2
    assert call("generate", tiny_config, "--thread", "2").exit_code == 2
    assert call("info").exit_code == 2


def test_a_file_in_place_of_the_results_folder(tiny_config: Config) -> None:
    Path("results").write_text("")
    assert "cannot write into results/tiny/units/conv1" in fail("generate", tiny_config)


def test_a_read_only_results_folder(tiny_config: Config, tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "none", str(results)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a read-only folder is not permitted here")
    try:
        line = fail("generate", tiny_config)
    finally:
        subprocess.run(["umount", str(results)], check=True)
    assert "cannot write into results/tiny/units/conv1" in line
    assert "Read-only file system" in line
