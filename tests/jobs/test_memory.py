"""Batches that are as large as memory allows: estimated beforehand, halved when it runs out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from small_nets import write_net

import cnnpref
from cnnpref.jobs.memory import free_bytes, rows_at_once

WIDE = """
name: "wide"
input: "data" input_shape { dim: 1 dim: 3 dim: 16 dim: 16 }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 2000 kernel_size: 1 } }
layer { name: "square" type: "Power" bottom: "conv1" top: "square" power_param { power: 2 } }
layer { name: "fc" type: "InnerProduct" bottom: "square" top: "fc"
  inner_product_param { num_output: 40 } }
"""
ROW = 4 * 16 * 16 * 2000  # bytes of one value of one image

# Runs `cnnpref` in a process that may take so many bytes more than it has with all imported.
LIMITED = """
import re, resource, sys
from pathlib import Path
import numpy.random
import cnnpref.jobs.job
from cnnpref.cli import main
size = int(re.search(r"VmSize:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
resource.setrlimit(resource.RLIMIT_AS, (size + int(sys.argv[1]), -1))
main(sys.argv[2:])
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    write_net(Path("wide.prototxt"), WIDE)
    return {
        "run": "wide",
        "net": {"prototxt": "wide.prototxt", "caffemodel": "wide.caffemodel"},
        "layers": {"fc": {}},
        "options": {"gd": {"iter_n": 2, "jitter_size": 2}},
    }


def generate(config: dict[str, Any], room: int) -> subprocess.CompletedProcess[str]:
    arguments = ["generate", "--config", json.dumps(config), "--threads", "1", "--device", "cpu"]
    command = [sys.executable, "-c", LIMITED, str(room), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_batch_that_is_too_large_is_halved(config: dict[str, Any]) -> None:
    weights = 3 * 4 * 40 * 16 * 16 * 2000  # read, and laid out by the kernels
    done = generate(config, weights + 100 * ROW)
    assert done.returncode == 0, done.stderr
    assert "fc/gd: out of memory with 40 units at once: going on with half" in done.stderr
    assert len(list(Path("results").rglob("*.h5"))) == 40


def test_a_unit_that_is_too_large_is_told(config: dict[str, Any]) -> None:
    done = generate(config, 4 * 40 * 16 * 16 * 2000 + 20 * ROW // 10)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("cnnpref: ")
    assert "Traceback" not in done.stderr


def test_the_estimate(tmp_path: Path) -> None:
    """Of units whose values fill memory; small ones are taken 64 at a time."""
    large = WIDE.replace("dim: 16 dim: 16", "dim: 128 dim: 128").partition('layer { name: "fc"')[0]
    Path(tmp_path, "large.prototxt").write_text(large)
    net = cnnpref.load_caffe(tmp_path / "large.prototxt")
    rows = {layer: rows_at_once(net, layer) for layer in net.layers}
    assert 64 >= rows["conv1"] >= rows["square"] >= 1
    free, row = free_bytes(net.device), 64 * ROW
    assert rows["square"] * 2 * row < free
    assert rows["square"] == 64 or rows["square"] * 20 * row > free / 4


def test_many_small_units_are_taken_in_turns(config: dict[str, Any]) -> None:
    config["layers"] = {"conv1": {"units": "0-99"}}
    done = generate(config, 2**40)
    assert done.returncode == 0, done.stderr
    assert "conv1/gd: 64 units at once" in done.stderr
    assert len(list(Path("results").rglob("*.h5"))) == 100
