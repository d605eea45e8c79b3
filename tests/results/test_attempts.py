"""What unit files, layer files, sheets and pages tell of attempts, and of what units like least."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from calling import fail, succeed
from layers import unit_result, write_layer
from planning import plan

from cnnpref.results.layer_file import open_layer
from cnnpref.results.unit_file import read_unit, write_unit

COMMANDS = ("generate", "collect", "scores", "sheet", "pages", "gallery", "share", "check")

Config = dict[str, Any]


def test_attempts_are_kept(tmp_path: Path) -> None:
    tried = {"attempts": 3, "attempts_status": ["stuck", "zero-gradient"]}
    results = [unit_result(0), unit_result(1, **tried), unit_result(2, status="stuck")]
    write_unit(tmp_path / "1.h5", results[1])
    assert read_unit(tmp_path / "1.h5").attributes.items() >= tried.items()
    older = unit_result(0)
    del older.attributes["attempts"], older.attributes["sign"]
    write_unit(tmp_path / "0.h5", older)
    assert read_unit(tmp_path / "0.h5").attributes["attempts"] == 1
    path = write_layer(tmp_path, results)
    with open_layer(path) as methods:
        rows = methods["gd"].rows()
        assert not methods["gd"].is_suppressed
    assert [row.attempts for row in rows] == [1, 3, 1]
    assert [row.status.failed for row in rows] == [False, False, True]
    with h5py.File(path, "a") as file:
        del file["gd/attempts"], file["gd"].attrs["sign"]
    with open_layer(path) as methods:
        assert [row.attempts for row in methods["gd"].rows()] == [1, 1, 1]
        assert not methods["gd"].is_suppressed


def test_the_key_says_what_is_wanted() -> None:
    digests = {
        sign: plan(layers={"conv1": settings}).series[0].digest
        for sign, settings in (("none", {}), ("most", {"sign": 1}), ("least", {"sign": -1}))
    }
    assert digests["none"] == digests["most"] != digests["least"]


@pytest.mark.usefixtures("in_tmp_path")
def test_what_units_like_least_goes_through_everything(tiny_config: Config) -> None:
    config = {**tiny_config, "layers": {"conv1": {"sign": -1}}, "methods": ["lbfgs"]}
    config["options"] = {"lbfgs": {"maxiter": 4}}
    for command in COMMANDS:
        succeed(command, config)
    units = [read_unit(path) for path in sorted(Path("results").rglob("units/**/*.h5"))]
    assert {unit.attributes["sign"] for unit in units} == {-1}
    for unit in units:
        assert unit.attributes["score_best"] <= np.nanmin(unit.activation) + 1e-3
    assert "what they like least" in Path("results/tiny/pages/conv1.html").read_text()
    message = "conv1.sign: got 0; allowed: 1, or -1 for what the units like least"
    assert message in fail("plan", {**config, "layers": {"conv1": {"sign": 0}}})


@pytest.mark.usefixtures("in_tmp_path")
def test_a_stuck_unit_is_a_result(tiny_config: Config) -> None:
    """Without further starts; its log line is a warning, and the run is complete."""
    options = {"gd": {"iter_n": 3, "lr_start": 0, "lr_end": 0, "image_blur": False}}
    options["gd"] |= {"decay_start": 0, "decay_end": 0, "clip_small_norm": False}
    options["gd"] |= {"clip_small_contribution": False, "retries": 1}
    config = {**tiny_config, "layers": {"conv1": {"units": "0-1"}}, "options": options}
    told = [succeed(c, config) for c in COMMANDS]
    assert "conv1/gd unit 1: stuck" in told[0]
    unit = read_unit(next(Path("results").rglob("units/**/1.h5")))
    assert unit.attributes["status"] == "stuck"
    assert unit.attributes["attempts"] == 2
    assert unit.attributes["attempts_status"] == ["stuck"]
    assert "2 stuck" in Path("results/tiny/index.html").read_text()
