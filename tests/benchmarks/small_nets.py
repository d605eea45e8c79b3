"""Files of nets whose weights do not matter."""

from __future__ import annotations

from pathlib import Path

import torch

import cnnpref
from cnnpref.nets.caffe import save_caffemodel


def write_net(prototxt: Path, text: str) -> None:
    """Write a prototxt, and beside it a caffemodel of random weights."""
    prototxt.write_text(text)
    net = cnnpref.load_caffe(prototxt)
    noise = torch.Generator().manual_seed(0)
    for weight in net.parameters():
        weight.normal_(std=0.1, generator=noise)
    save_caffemodel(net, prototxt.with_suffix(".caffemodel"))
