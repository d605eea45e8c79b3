"""Memory and open files of one process that computes thousands of units, as they go on.

python tests/benchmarks/long_run.py --units 2000
"""

from __future__ import annotations

import argparse
import gc
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import torch
from small_nets import write_net

from cnnpref.jobs.job import run_batch
from cnnpref.jobs.nets import Nets
from cnnpref.nets import describe
from cnnpref.planning.batches import batches
from cnnpref.planning.config import resolve_config
from cnnpref.planning.plan import make_plan

NET = """
name: "wide"
input: "data" input_shape {{ dim: 1 dim: 3 dim: 16 dim: 16 }}
layer {{ name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param {{ num_output: 8 kernel_size: 5 stride: 2 }} }}
layer {{ name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }}
layer {{ name: "fc" type: "InnerProduct" bottom: "conv1" top: "fc"
  inner_product_param {{ num_output: {} }} }}
"""
OPTIONS = {"gd": {"iter_n": 5}, "lbfgs": {"maxiter": 5}}
BATCH = 10


class Moment(NamedTuple):
    """After so many units: the process's memory in MiB, and its open files."""

    units: int
    memory: float
    files: int


def curve(units: int, folder: Path) -> Iterator[Moment]:
    """Moments of this process, after each job of ten units of a layer by each method."""
    prototxt = folder / "wide.prototxt"
    write_net(prototxt, NET.format(units))
    net = {"prototxt": str(prototxt), "caffemodel": str(prototxt.with_suffix(".caffemodel"))}
    config = {"net": net, "methods": [*OPTIONS], "options": OPTIONS, "batch": BATCH}
    config |= {"layers": {"fc": {}}, "results": str(folder)}
    plan = make_plan(resolve_config(config, "wide"), describe)
    nets, process, done = Nets(plan.config, torch.device("cpu")), psutil.Process(), 0
    for batch in batches(plan):
        assert run_batch(batch, nets) == []
        done += len(batch.units)
        gc.collect()
        yield Moment(done, process.memory_info().rss / 2**20, process.num_fds())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--units", type=int, default=2000, help="images in all")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print("units   MiB  open files")
    with tempfile.TemporaryDirectory() as folder:
        for moment in curve(given.units // len(OPTIONS), Path(folder)):
            if moment.units % max(BATCH, given.units // 20) == 0:
                print(f"{moment.units:5} {moment.memory:5.0f} {moment.files:6}", flush=True)


if __name__ == "__main__":
    main()
