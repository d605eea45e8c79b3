"""What tests of the command line and of the workflow share: a small net and a config for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import cnnpref
from cnnpref.nets.caffe import save_caffemodel

torch.set_num_threads(1)  # the tests' files run side by side

TINY = """
name: "tiny"
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 3 dim: 12 dim: 12 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 6 kernel_size: 5 } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "fire/expand" type: "Convolution" bottom: "conv1" top: "fire/expand"
  convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "fc" type: "InnerProduct" bottom: "fire/expand" top: "fc"
  inner_product_param { num_output: 5 } }
"""


@pytest.fixture(scope="session")
def tiny_net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tiny.prototxt and tiny.caffemodel: conv1 (6), fire/expand (4), fc (5)."""
    folder = tmp_path_factory.mktemp("tiny")
    prototxt = folder / "tiny.prototxt"
    prototxt.write_text(TINY)
    net = cnnpref.load_caffe(prototxt)
    noise = torch.Generator().manual_seed(0)
    for weight in net.parameters():
        weight.normal_(std=0.1, generator=noise)
    save_caffemodel(net, folder / "tiny.caffemodel")
    return folder


@pytest.fixture
def tiny_config(tiny_net: Path) -> dict[str, Any]:
    """A config of 10 units in 2 layers that takes no time."""
    return {
        "run": "tiny",
        "net": {
            "prototxt": str(tiny_net / "tiny.prototxt"),
            "caffemodel": str(tiny_net / "tiny.caffemodel"),
            "mean": [104, 117, 123],
        },
        "layers": {"conv1": {}, "fire/expand": {"units": "0-3"}},
        "batch": 4,
        "options": {"gd": {"iter_n": 3}},
    }
