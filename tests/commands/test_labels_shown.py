"""Labels on everything that a run makes, by the command line."""

from __future__ import annotations

from pathlib import Path

import h5py
import pytest
from calling import Config, call, fail, succeed, unit_files

from cnnpref.results.unit_file import read_unit

pytestmark = pytest.mark.usefixtures("in_tmp_path")

NAMES = ["tench, Tinca tinca", "goldfish", "<script>alert(1)</script>", "", "tench"]


@pytest.fixture
def config(tiny_config: Config) -> Config:
    layers = {"fc": {"units": ["Goldfish", 3, "<script>alert(1)</script>"]}, "conv1": {"units": 0}}
    return {**tiny_config, "labels": NAMES, "layers": layers}


def make(config: Config) -> None:
    for command in ("generate", "collect", "scores", "sheet", "pages", "gallery", "share"):
        succeed(command, config)


def test_they_are_in_unit_files_layer_files_and_pages(config: Config) -> None:
    make(config)
    told = {name: read_unit(path).attributes for name, path in unit_files().items()}
    assert {name: each.get("label") for name, each in told.items()} == {
        "conv1/0": None,
        "fc/1": NAMES[1],
        "fc/2": NAMES[2],
        "fc/3": None,
    }
    with h5py.File("results/tiny/layers/fc.h5") as file:
        assert file["gd/label"].asstr()[()].tolist() == NAMES[1:4]
        assert h5py.check_string_dtype(file["gd/label"].dtype).encoding == "utf-8"
    with h5py.File("results/tiny/layers/conv1.h5") as file:
        assert "label" not in file["gd"]
    page = Path("results/tiny/pages/fc.html").read_text()
    assert "<span>goldfish</span>" in page
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert" not in page
    assert "</b> <span>" not in Path("results/tiny/pages/conv1.html").read_text()
    assert "<h1>1 <span>goldfish</span>" in Path("results/tiny/units/fc/1.html").read_text()


def test_changed_labels_make_layer_files_stale_and_compute_nothing(config: Config) -> None:
    make(config)
    assert "all there and right" in call("check", config).stdout
    changed = {**config, "labels": ["x", "goldfish", NAMES[2], "y", "z"]}
    assert "with other labels" in call("check", changed).stdout
    assert "results/tiny: 1 stale" in fail("check", changed)
    assert "fc/gd: 0 of 3 units to do" in succeed("generate", changed)
    succeed("collect", changed)
    assert "with other labels" not in call("check", changed).stdout


def test_a_label_of_several_units_is_refused(config: Config) -> None:
    config["layers"] = {"fc": {"units": ["tench"]}}
    succeed("plan", config, "--quick")  # unit 4 has the whole label
    config["labels"] = ["tench", *NAMES[1:]]
    assert "the label of several units: 0 (tench), 4 (tench)" in fail("plan", config, "--quick")
