"""How long a caffemodel of AlexNet's size takes to load, and how much memory beside its size.

    python tests/benchmarks/loading.py

Writes 240 MB of random weights into a temporary folder, reads them in a fresh process, and prints
the time beside that of reading the file alone, and the growth of the process's peak memory over
the file's size (1 is what the weights themselves take). Measured on 2 cores: 14 x the time of
reading, 1.00 x the memory. (With the file parsed as one message: 78 x and 3.00 x.)
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from cnnpref.nets.caffe import write_caffemodel

LAYERS = {  # name: outputs, inputs of the layers that weigh most in AlexNet
    "fc6": (4096, 9216),
    "fc7": (4096, 4096),
    "fc8": (1000, 4096),
    "fc9": (700, 1000),
}

MEASURE = """
import re, sys, time
from pathlib import Path
import torch
from cnnpref.nets.caffe import load_caffe
prototxt, caffemodel = sys.argv[1:]
def peak():
    return 1024 * int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
load_caffe(prototxt.replace("net.", "tiny."))  # what is imported on first use
start = time.perf_counter()
with open(caffemodel, "rb") as file:
    buffer = bytearray(1 << 20)
    while file.readinto(buffer):
        pass
read, before = time.perf_counter() - start, peak()
start = time.perf_counter()
net = load_caffe(prototxt, caffemodel)
seconds = time.perf_counter() - start
size = Path(caffemodel).stat().st_size
print(f"{size / 1e6:.0f} MB: loaded in {seconds:.2f} s, {seconds / read:.1f} x reading the file;"
      f" memory {(peak() - before) / size:.2f} x its size")
"""


def prototxt(layers: dict[str, tuple[int, int]]) -> str:
    """Fully-connected layers one after another."""
    inputs = next(iter(layers.values()))[1]
    text, bottom = f'input: "data" input_shape {{ dim: 1 dim: {inputs} }}\n', "data"
    for name, (outputs, _) in layers.items():
        text += (
            f'layer {{ name: "{name}" type: "InnerProduct" bottom: "{bottom}" top: "{name}"'
            f" inner_product_param {{ num_output: {outputs} }} }}\n"
        )
        bottom = name
    return text


def main() -> None:
    """Write the files, and print what loading them costs."""
    random = np.random.default_rng(0)
    with TemporaryDirectory() as folder:
        net, tiny, model = (Path(folder, name) for name in ("net.prototxt", "tiny.prototxt", "m"))
        net.write_text(prototxt(LAYERS))
        tiny.write_text(prototxt({"fc": (2, 2)}))
        layers = (
            (name, "InnerProduct", [random.standard_normal(shape, np.float32), np.zeros(shape[0])])
            for name, shape in LAYERS.items()
        )
        write_caffemodel(model, "random", layers)
        subprocess.run([sys.executable, "-c", MEASURE, net, model], check=True)


if __name__ == "__main__":
    main()
