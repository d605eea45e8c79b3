"""Several images per unit, each from a seed of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner

from cnnpref.cli import main
from cnnpref.results.layer_file import open_layer
from cnnpref.results.unit_file import read_unit


def run(command: str, config: dict[str, Any], *more: str) -> None:
    result = CliRunner().invoke(main, [command, "--config", json.dumps(config), *more])
    assert result.exit_code == 0, result.output


def test_seeds(tiny_config: dict[str, Any], tmp_path: Path) -> None:
    config = tiny_config | {"results": str(tmp_path), "seeds": 3, "seed": 5}
    for command in ("generate", "collect", "scores", "sheet", "pages", "gallery", "share"):
        run(command, config)
    folders = sorted((tmp_path / "tiny" / "units" / "conv1").glob("*/"))
    units = [read_unit(folder / "2.h5") for folder in folders]
    assert sorted(unit.attributes["seed"] for unit in units) == [5, 6, 7]
    images = [unit.image for unit in units]
    assert not any(np.array_equal(images[i], images[i - 1]) for i in range(3))
    with open_layer(tmp_path / "tiny" / "layers" / "conv1.h5") as methods:
        assert list(methods) == ["gd", "gd-seed6", "gd-seed7"]
        assert [{row.seed for row in data.rows()} for data in methods.values()] == [{5}, {6}, {7}]
    assert (tmp_path / "tiny" / "sheets" / "conv1" / "gd-seed7.png").is_file()


def test_one_seed_more_leaves_the_others(tiny_config: dict[str, Any], tmp_path: Path) -> None:
    """Files of seeds that were there are not touched; one seed alone can be asked for."""
    config = tiny_config | {"results": str(tmp_path)}
    run("generate", config)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.h5")}
    run("generate", config | {"seeds": 2}, "--method", "gd-seed1", "--layer", "conv1")
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.h5")}
    assert before.items() <= after.items()
    assert len(after) == len(before) + 6
