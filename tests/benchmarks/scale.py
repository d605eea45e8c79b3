"""What the workflow takes beside the work of the nets: all of AlexNet's units by all four methods.

    python tests/benchmarks/scale.py                 # 42,272 units
    python tests/benchmarks/scale.py --part 40       # a fortieth of each layer's units

The layers have AlexNet's names and numbers of units and cost nothing: each one looks at the mean of
four corners of an image of 8 x 8 pixels, for an iteration. The whole workflow makes unit files,
layer files, sheets and gallery; before and after it, what one does around a run. Printed are
elapsed time, CPU time and the most memory that a process took, and the run's time for each unit.
"""

from __future__ import annotations

import os
import subprocess
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from time import perf_counter, time

import yaml
from small_nets import write_net

SNAKEFILE = Path(__file__).parents[2] / "workflow" / "Snakefile"
ALEXNET = {
    "conv1": 96,
    "conv2": 256,
    "conv3": 384,
    "conv4": 384,
    "conv5": 256,
    "fc6": 4096,
    "fc7": 4096,
    "fc8": 1000,
}
RUN = "snakemake"
METHODS = {"gd": "iter_n", "lbfgs": "maxiter", "dgn_gd": "iter_n", "dgn_lbfgs": "maxiter"}

IMAGE = """
name: "stub"
input: "data" input_shape { dim: 1 dim: 3 dim: 8 dim: 8 }
layer { name: "pool" type: "Pooling" bottom: "data" top: "pool"
  pooling_param { pool: AVE kernel_size: 4 stride: 4 } }
"""
CONVOLUTION = """
layer {{ name: "{name}" type: "Convolution" bottom: "pool" top: "{name}"
  convolution_param {{ num_output: {units} kernel_size: 1 }} }}
"""
CONNECTED = """
layer {{ name: "{name}" type: "InnerProduct" bottom: "pool" top: "{name}"
  inner_product_param {{ num_output: {units} }} }}
"""
GENERATOR = """
name: "generator"
input: "feat" input_shape { dim: 1 dim: 8 }
layer { name: "draw" type: "InnerProduct" bottom: "feat" top: "draw"
  inner_product_param { num_output: 192 } }
layer { name: "image" type: "Reshape" bottom: "draw" top: "image"
  reshape_param { shape { dim: 0 dim: 3 dim: 8 dim: 8 } } }
"""


@dataclass(frozen=True)
class Cost:
    """What a command took: seconds, seconds of all its processes, MB of the largest of them."""

    elapsed: float
    cpu: float
    memory: float


def image_net() -> str:
    """The prototxt of the net: its layers stand side by side."""
    kinds = {"conv": CONVOLUTION, "fc": CONNECTED}
    layers = (kinds[name[:-1]].format(name=name, units=n) for name, n in ALEXNET.items())
    return IMAGE + "".join(layers)


def write_config(folder: Path, part: int, batch: int) -> str:
    """Write the nets, and a config for a part of the units of each layer."""
    texts = {"net": image_net(), "generator": GENERATOR}
    for name, text in texts.items():
        write_net(folder / f"{name}.prototxt", text)
    config = {
        **{
            name: {kind: str(folder / f"{name}.{kind}") for kind in ("prototxt", "caffemodel")}
            for name in texts
        },
        "methods": list(METHODS),
        "layers": {name: {"units": {"count": n // part}} for name, n in ALEXNET.items()},
        "batch": batch,
        "options": {method: {steps: 1} for method, steps in METHODS.items()},
    }
    path = folder / "stub.yaml"
    path.write_text(yaml.safe_dump(config))
    return str(path)


def cost(folder: Path, command: Sequence[str]) -> Cost:
    """Run a command of this environment in a folder; it must succeed."""
    started = perf_counter()
    with TemporaryFile() as told:
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=told)
        _, status, usage = os.wait4(process.pid, 0)
        elapsed = perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            told.seek(0)
            sys.exit(told.read().decode())
    return Cost(elapsed, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000)


def steps(config: str, cores: int) -> dict[str, list[str]]:
    """The commands, in order, by what they are."""
    snakemake, cnnpref = (str(Path(sys.executable).with_name(n)) for n in ("snakemake", "cnnpref"))
    workflow = [snakemake, "--snakefile", str(SNAKEFILE), "--configfile", config]
    dry = [*workflow, "--dry-run", "--quiet", "all"]
    return {
        "cnnpref plan --quick": [cnnpref, "plan", "--quick", "--config", config],
        "snakemake -n": dry,
        "snakemake -n, batch: 1": [*dry, "--config", "batch=1"],
        RUN: [*workflow, "--cores", str(cores)],
        "snakemake -n, when all is done": dry,
        "cnnpref check": [cnnpref, "check", "--config", config],
    }


def stages(run: Path, started: float, taken: Cost) -> str:
    """When the last file of each kind was there, and what a unit took."""
    kinds = {
        "unit files": "units/*/*/*.h5",
        "layer files": "layers/*.h5",
        "sheets": "sheets/**/*.png",
        "gallery": "index.html",
    }
    files = {kind: list(run.glob(pattern)) for kind, pattern in kinds.items()}
    ends = {kind: max(path.stat().st_mtime for path in paths) for kind, paths in files.items()}
    told = ", ".join(f"{kind} {end - started:.0f} s" for kind, end in ends.items())
    units = len(files["unit files"])
    each = f"{1000 * taken.elapsed / units:.1f} ms, {1000 * taken.cpu / units:.1f} ms of CPU"
    return f"  last of the {told}; each of {units:,} units {each}"


def arguments() -> Namespace:
    """What the command line says."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--part", type=int, default=1, help="of each layer's units one of so many")
    add("--cores", type=int, default=2, help="for snakemake")
    add("--batch", type=int, default=128, help="units per job")
    return parser.parse_args()


def main() -> None:
    """Run every step and print what it takes."""
    given = arguments()
    with TemporaryDirectory() as name:
        folder = Path(name)
        config = write_config(folder, given.part, given.batch)
        print(f"{'':32}{'elapsed':>10}{'CPU':>10}{'memory':>10}")
        for what, command in steps(config, given.cores).items():
            started = time()
            taken = cost(folder, command)
            print(f"{what:32}{taken.elapsed:8.1f} s{taken.cpu:8.1f} s{taken.memory:7.0f} MB")
            if what == RUN:
                print(stages(folder / "results" / "stub", started, taken), flush=True)


if __name__ == "__main__":
    main()
