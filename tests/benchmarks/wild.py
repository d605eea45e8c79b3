"""How many Caffe files of other people can be used, and what stands in the way of the others.

    python tests/benchmarks/wild.py FOLDER [--load-only] [--only PATTERN] [--largest PIXELS]

Reads every file below the folder that looks like a prototxt: does it load, which of its layers can
be computed, and, on a random image with random weights, does a pass forward and back through the
last of these go well. An `expected.json` in the folder holds {file: {inputs, layers: {name: shape
without the batch}}}, with which shapes are compared. Nets whose image has more pixels than
`--largest` are loaded only.
"""

from __future__ import annotations

import argparse
import json
import re
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch

from cnnpref.errors import UserError
from cnnpref.nets.caffe import CaffeNet, load_caffe

SUFFIXES = (".prototxt", ".pt", ".txt", ".pbtxt")
DEPENDS = "it depends on "


@dataclass
class Found:
    """What came of one file.

    Attributes:
        name: its path below the folder.
        error: why it does not load, or "".
        layers: how many can be computed.
        refused: {layer: why it cannot be computed}.
        compared, differing: layers that were compared with what is expected; where they differ.
        absent: layers that are expected and cannot be computed.
        passed: what came of a pass: "ok", "skipped" or an error.
        seconds: to load.
    """

    name: str
    error: str = ""
    layers: int = 0
    refused: Mapping[str, str] = field(default_factory=dict)
    compared: int = 0
    differing: list[str] = field(default_factory=list)
    absent: int = 0
    passed: str = "skipped"
    seconds: float = 0.0

    @property
    def usable(self) -> float:
        """The part of its layers that can be computed."""
        return self.layers / max(1, self.layers + len(self.refused))


def survey(
    folder: Path, only: str = "", load_only: bool = False, largest: int = 512 * 512
) -> list[Found]:
    """What comes of each file below a folder."""
    path = folder / "expected.json"
    expected = json.loads(path.read_text()) if path.exists() else {}
    names = expected or sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if _is_net(p))
    chosen = [name for name in names if re.search(only, name)]
    return [_examine(folder, name, expected.get(name), load_only, largest) for name in chosen]


def _is_net(path: Path) -> bool:
    if path.suffix not in SUFFIXES or not path.is_file():
        return False
    return (
        re.search(r"^\s*layers?\s*\{", path.read_text(errors="replace"), re.MULTILINE) is not None
    )


def _examine(
    folder: Path, name: str, expected: Mapping[str, Any] | None, load_only: bool, largest: int
) -> Found:
    found, start = Found(name), time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            net = load_caffe(folder / name)
    except UserError as error:
        found.error = str(error).removeprefix(f"{folder / name}: ")
        return found
    found.seconds = time.perf_counter() - start
    found.layers, found.refused = len(net.layers), net.refused
    _compare(found, net, expected or {})
    if not load_only and _pixels(net) <= largest:
        found.passed = _pass(net)
    return found


def _compare(found: Found, net: CaffeNet, expected: Mapping[str, Any]) -> None:
    for layer, shape in expected.get("layers", {}).items():
        found.absent += layer not in net.layers
        if layer in net.layers:
            found.compared += 1
            if list(net.layers[layer]) != shape:
                found.differing.append(f"{layer}: {list(net.layers[layer])}, not {shape}")


def _pixels(net: CaffeNet) -> int:
    return net.input_shape[1] * net.input_shape[2] if len(net.input_shape) == 3 else 1


def _pass(net: CaffeNet) -> str:
    """Forward and back through the layers that no other reads."""
    random = torch.Generator().manual_seed(0)
    for weight in net.parameters():
        if weight.ndim > 1 and weight.shape[0] > 1:
            weight.normal_(0, (2 / weight[0].numel()) ** 0.5, generator=random)
        else:
            weight.uniform_(0.5, 1.5, generator=random)
    read = {bottom for node in net.graph.nodes for bottom in node.bottoms}
    last = [name for name, value in net.graph.layers.items() if value not in read]
    image = torch.randn(1, *net.input_shape, generator=random, requires_grad=True)
    try:
        for name in last:
            top = net.activations(image, name)
            assert tuple(top.shape[1:]) == net.layers[name], f"{name}: {tuple(top.shape)}"
            if top.requires_grad:
                top.sum().backward()
            assert top.isfinite().all(), f"{name}: not finite"
    except (UserError, AssertionError, RuntimeError) as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return "ok" if image.grad is None or image.grad.isfinite().all() else "gradient not finite"


def reason(text: str) -> str:
    """What a refusal is about, without names and numbers of one file."""
    text = re.sub(r" \(line \d+\)| \(did you mean.*?\)| on \[[\d, \[\]]*\]", "", text)
    text = re.sub(r"\[[\d, ]*\]", "[...]", text)
    return re.sub(r"^\d+:\d+ : ", "", text.partition("not a readable prototxt: ")[2] or text)[:90]


def _table(rows: Iterable[tuple[object, ...]]) -> None:
    for row in rows:
        print("  ".join(f"{cell:>7}" if isinstance(cell, int) else str(cell) for cell in row))


def report(found: list[Found]) -> None:
    """Print counts, and what stands in the way, by reason."""
    loaded = [each for each in found if not each.error]
    compared = [each for each in loaded if each.compared]
    tried = [each for each in loaded if each.passed != "skipped"]
    usable = [each.usable for each in loaded] or [0.0]
    _table(
        [
            (len(found), "files"),
            (len(loaded), f"load ({100 * len(loaded) / max(1, len(found)):.1f} %)"),
            (sum(not each.refused for each in loaded), "of these with all of their layers"),
            (sum(each.compared for each in compared), f"shapes compared in {len(compared)} files"),
            (sum(len(each.differing) for each in compared), "of these differ"),
            (sum(each.absent for each in loaded), "more are expected of layers that are refused"),
            (len(tried), "tried: forward and back on a random image"),
            (sum(each.passed == "ok" for each in tried), "of these ok"),
        ]
    )
    low, middle = min(usable), median(usable)
    print(f"layers that can be computed: {middle:.1%} in the median file, {low:.1%} in the worst")
    slowest = max(found, key=lambda each: each.seconds)
    print(f"slowest to load: {slowest.name}, {slowest.seconds:.1f} s")
    print("\n  files  does not load, because")
    _table((n, why) for why, n in Counter(reason(e.error) for e in found if e.error).most_common())
    print("\n  files   layers  cannot be computed, because")
    _table(_refusals(loaded))
    print()
    for each in found:
        if each.differing or each.passed not in ("ok", "skipped"):
            print(each.name, *each.differing, each.passed, sep="\n    ")


def _refusals(found: Iterable[Found]) -> list[tuple[int, int, str]]:
    """Files and layers by reason; layers that depend on others are counted together."""
    files: dict[str, set[str]] = {}
    layers: Counter[str] = Counter()
    for each in found:
        for why in each.refused.values():
            told = "of what they depend on" if why.startswith(DEPENDS) else reason(why)
            files.setdefault(told, set()).add(each.name)
            layers[told] += 1
    return [(len(files[why]), count, why) for why, count in layers.most_common()]


def main() -> None:
    """Survey the folder that is given."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--load-only", action="store_true")
    parser.add_argument("--only", default="", help="a regular expression for names of files")
    parser.add_argument("--largest", type=int, default=512 * 512, help="pixels of an image")
    given = parser.parse_args()
    report(survey(given.folder, given.only, given.load_only, given.largest))


if __name__ == "__main__":
    main()
