"""Batches that are as large as memory allows: estimated beforehand, halved when it runs out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from layers import growth, series_of
from small_nets import write_net

import cnnpref
from cnnpref.jobs.job import run_batch
from cnnpref.jobs.memory import free_bytes, rows_at_once
from cnnpref.jobs.nets import Nets
from cnnpref.nets import describe
from cnnpref.nets.zoo import find
from cnnpref.planning.config import resolve_config
from cnnpref.planning.estimate import unit_memory
from cnnpref.planning.plan import make_plan
from cnnpref.planning.series import Batch

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

CPU = torch.device("cpu")


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    write_net(Path("wide.prototxt"), WIDE)
    return {
        "run": "wide",
        "net": {"prototxt": "wide.prototxt", "caffemodel": "wide.caffemodel"},
        "methods": ["gd"],
        "layers": {"fc": {}},
        "options": {"gd": {"iter_n": 2, "jitter_size": 2}},
    }


def generate(config: dict[str, Any], room: int) -> subprocess.CompletedProcess[str]:
    arguments = ["generate", "--config", json.dumps(config), "--threads", "1", "--device", "cpu"]
    command = [sys.executable, "-c", LIMITED, str(room), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
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


def test_so_many_units_fit_as_free_memory_holds(tmp_path: Path) -> None:
    """By the estimate that `mem_mb` is made of; the nets' values fill gigabytes."""
    text = WIDE.replace("dim: 16 dim: 16", "dim: 128 dim: 128").partition('layer { name: "fc"')[0]
    Path(tmp_path, "wide.prototxt").write_text(text)
    net = cnnpref.load_caffe(tmp_path / "wide.prototxt")
    for layer in net.layers:
        series = series_of(tmp_path, [0], "gd", layer)
        needed, free, rows = (
            unit_memory(series, net),
            free_bytes(net.device),
            rows_at_once(series, net),
        )
        assert rows == 64 or 0.5 * free < (rows + 1) * needed  # others take and give memory
        assert rows == 1 or rows * needed < free


def test_many_small_units_are_taken_in_turns(config: dict[str, Any]) -> None:
    config["layers"] = {"conv1": {"units": "0-99"}}
    done = generate(config, 2**40)
    assert done.returncode == 0, done.stderr
    assert "conv1/gd: 64 units at once" in done.stderr
    assert len(list(Path("results").rglob("*.h5"))) == 100


@pytest.mark.slow
@pytest.mark.usefixtures("in_tmp_path")
@pytest.mark.parametrize("method", ["gd", "lbfgs", "spectral", "maco"])
def test_units_take_no_more_than_the_estimate(method: str) -> None:
    """Units of SqueezeNet's last layer: 14 more of them take less than 14 estimates."""
    prototxt = find("squeezenet1.1").prototxt
    write_net(Path("net.prototxt"), prototxt.read_text())
    config = resolve_config(
        {
            "net": {"prototxt": "net.prototxt", "caffemodel": "net.caffemodel"},
            "methods": [method],
            "layers": {"conv10": {"units": "0-15", "position": "all"}},
            "options": {
                "gd": {"iter_n": 3},
                "lbfgs": {"maxiter": 12},
                "spectral": {"steps": 3},
                "maco": {"steps": 3},
            },
        },
        "run",
    )
    (series,) = make_plan(config, describe).series
    batches = (Batch(series, series.units[:count]) for count in (2, 16))
    two, sixteen = (growth(run_batch, batch, Nets(config, CPU)) for batch in batches)
    estimate = unit_memory(series, describe(config["net"]))
    assert 1 < 14 * estimate / (sixteen - two) / 2**20 < 6


def test_free_memory_is_what_the_system_has(tmp_path: Path) -> None:
    write_tree(tmp_path, {"proc/meminfo": "MemTotal: 9000 kB\nMemAvailable: 5000 kB\n"})
    assert free_bytes(CPU, tmp_path) == part() * 5000 * 1024


GROUPS = {
    "the job's own group": (
        "0::/slurm/job_7/step_0",
        {
            "slurm/memory.max": "max",
            "slurm/job_7/memory.max": "1000000",
            "slurm/job_7/memory.current": "600000",
            "slurm/job_7/memory.stat": "anon 350000\ninactive_file 250000\n",
            "slurm/job_7/step_0/memory.max": "max",
        },
        650_000,
    ),
    "one above it that others fill": (
        "0::/slurm/job_7",
        {
            "slurm/memory.max": "3000000",
            "slurm/memory.current": "2900000",
            "slurm/job_7/memory.max": "1000000",
            "slurm/job_7/memory.current": "200000",
        },
        100_000,
    ),
    "a container's, seen as the uppermost": (
        "0::/",
        {"memory.max": "800000", "memory.current": "300000"},
        500_000,
    ),
    "more taken than it has": (
        "0::/a",
        {"a/memory.max": "1000", "a/memory.current": "2000"},
        0,
    ),
    "version 1": (
        "5:cpu,cpuacct:/slurm\n4:memory:/slurm/job_7\n0::/",
        {
            "memory/memory.limit_in_bytes": "9223372036854771712",
            "memory/slurm/job_7/memory.limit_in_bytes": "1000000",
            "memory/slurm/job_7/memory.usage_in_bytes": "600000",
            "memory/slurm/job_7/memory.stat": "inactive_file 1\ntotal_inactive_file 100000\n",
        },
        500_000,
    ),
    "version 1 in a container that is not shown its path": (
        "4:memory:/docker/0123",
        {
            "memory/memory.limit_in_bytes": "700000",
            "memory/memory.usage_in_bytes": "400000",
        },
        300_000,
    ),
    "version 1 below a limit that is not shown": (
        "4:memory:/",
        {
            "memory/memory.limit_in_bytes": "9223372036854771712",
            "memory/memory.usage_in_bytes": "400000",
            "memory/memory.stat": "hierarchical_memory_limit 900000\n",
        },
        500_000,
    ),
    "none that has a limit": ("0::/user", {"user/memory.max": "max"}, 5000 * 1024),
}


@pytest.mark.parametrize(("groups", "files", "left"), GROUPS.values(), ids=GROUPS)
def test_control_groups_limit_free_memory(
    groups: str, files: dict[str, str], left: int, tmp_path: Path
) -> None:
    system = {"proc/meminfo": "MemAvailable: 5000 kB\n", "proc/self/cgroup": groups + "\n"}
    write_tree(tmp_path, system)
    write_tree(tmp_path / "sys/fs/cgroup", files)
    assert free_bytes(CPU, tmp_path) == part() * left


def part() -> float:
    """This process's of the memory, by its threads."""
    return min(1.0, torch.get_num_threads() / len(os.sched_getaffinity(0)))


def write_tree(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
