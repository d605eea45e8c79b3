"""Two small nets of random weights: one that looks at images of 20 x 20, one that makes them."""

from __future__ import annotations

from pathlib import Path

import torch

import cnnpref
from cnnpref.ascent.variables import Generator
from cnnpref.nets.caffe import CaffeNet

NET = """
name: "small"
input: "data" input_shape { dim: 1 dim: 3 dim: 20 dim: 20 }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 10 kernel_size: 5 stride: 2 } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "norm1" type: "LRN" bottom: "conv1" top: "norm1" lrn_param { alpha: 0.01 } }
layer { name: "pool1" type: "Pooling" bottom: "norm1" top: "pool1"
  pooling_param { kernel_size: 3 stride: 2 } }
layer { name: "conv2" type: "Convolution" bottom: "pool1" top: "conv2"
  convolution_param { num_output: 12 kernel_size: 3 pad: 1 group: 2 } }
layer { name: "relu2" type: "ReLU" bottom: "conv2" top: "conv2" }
layer { name: "fc" type: "InnerProduct" bottom: "conv2" top: "fc"
  inner_product_param { num_output: 9 } }
"""
GENERATOR = """
name: "maker"
input: "feat" input_shape { dim: 1 dim: 16 }
layer { name: "up" type: "InnerProduct" bottom: "feat" top: "up"
  inner_product_param { num_output: 363 } }
layer { name: "map" type: "Reshape" bottom: "up" top: "map"
  reshape_param { shape { dim: 1 dim: 3 dim: 11 dim: 11 } } }
layer { name: "grow" type: "Deconvolution" bottom: "map" top: "made"
  convolution_param { num_output: 3 kernel_size: 4 stride: 2 pad: 1 } }
"""


def random_net(folder: Path, text: str = NET, scale: float = 0.1) -> CaffeNet:
    """The net of a prototxt with normal weights, always the same."""
    path = folder / "net.prototxt"
    path.write_text(text)
    net = cnnpref.load_caffe(path, mean=(100, 110, 120))
    noise = torch.Generator().manual_seed(1)
    for weight in net.parameters():
        weight.normal_(std=scale, generator=noise)
    return net


def random_generator(folder: Path) -> Generator:
    """Makes images of 22 x 22 from 16 features."""
    return Generator(random_net(folder, GENERATOR, 0.3))
