"""What tests of the result files share: unit files and layer files of random images."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from cnnpref.methods import GdOptions
from cnnpref.planning.files import LAYER, LAYER_SHEET, METHOD_SHEET, UNITS
from cnnpref.planning.plan import Plan
from cnnpref.planning.series import Series, escape
from cnnpref.results.collecting import collect
from cnnpref.results.unit_file import UnitResult, write_unit
from cnnpref.show.sheet import draw_sheet

DIGEST = "0123456789abcdef" * 4

# Not by `getrusage`: a process starts with the peak of the one that started it.
GROWTH = r"""
import pickle, re, sys
from pathlib import Path
def peak():
    told = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s*(\d+)", told)[1]) // 1024
work, arguments = pickle.load(sys.stdin.buffer)
before = peak()
work(*arguments)
print(peak() - before)
"""


def unit_result(unit: int = 3, size: int = 8, **attributes: Any) -> UnitResult:
    """A unit of noise, seeded by its number; its field is the whole image unless told otherwise."""
    random = np.random.default_rng(unit)
    image, best = random.uniform(-20, 280, (2, size, size, 3)).astype(np.float32)
    plain = {
        "net": "tiny",
        "sha256": {"prototxt": "ab" * 32, "caffemodel": None},
        "layer": "conv1",
        "unit": unit,
        "position": "center",
        "sign": 1,
        "receptive_field": (0, 0, size, size),
        "method": "gd",
        "options": {"iter_n": 200, "lr_start": 2.0},
        "seed": 5,
        "status": "ok",
        "attempts": 1,
        "score": 1.5 + unit,
        "score_best": 2.5 + unit,
        "versions": {"cnnpref": "0.1.0"},
        "device": "cpu",
        "seconds": 0.25,
        "digest": DIGEST,
    }
    trace = random.normal(size=4 + unit % 3).astype(np.float32)
    return UnitResult(image, best, trace, plain | attributes)


def series_of(
    folder: Path, units: Sequence[int], method: str = "gd", layer: str = "conv1"
) -> Series:
    """The units whose files lie in a folder."""
    given = (tuple(units), "center", GdOptions(), 5, {}, DIGEST, folder)
    return Series(layer, method, method, *given)


def write_units(results: Sequence[UnitResult], place: str) -> list[Series]:
    """Write unit files; returns the series by layer and method, in order of appearance.

    Args:
        results: of any layers and methods.
        place: of the files of a series, with the fields `{layer}`, `{method}` and `{key}`.
    """
    found: dict[Path, list[UnitResult]] = {}
    for result in results:
        layer, method = (result.attributes[name] for name in ("layer", "method"))
        folder = Path(place.format(layer=escape(layer), method=method, key=DIGEST[:8]))
        write_unit(folder / f"{result.attributes['unit']}.h5", result)
        found.setdefault(folder, []).append(result)
    return [
        series_of(
            folder,
            [each.attributes["unit"] for each in units],
            *(units[0].attributes[name] for name in ("method", "layer")),
        )
        for folder, units in found.items()
    ]


def write_layer(folder: Path, results: Sequence[UnitResult]) -> Path:
    """Write the unit files of one layer and collect them."""
    collect(folder / "layer.h5", write_units(results, f"{folder}/units/{{method}}"))
    return folder / "layer.h5"


def write_run(folder: Path, results: Sequence[UnitResult]) -> Plan:
    """Write a run of these units but for its gallery: unit files, layer files, sheets."""
    config = {"results": str(folder.parent), "run": folder.name}
    plan = Plan(config, tuple(write_units(results, f"{folder}/{UNITS}")), {})
    for layer in plan.layers:
        data = plan.path(LAYER, layer)
        collect(data, plan.select(layer))
        draw_sheets(plan, layer)
    return plan


def draw_sheets(plan: Plan, layer: str) -> None:
    """Draw the sheets of a layer from its layer file."""
    data = plan.path(LAYER, layer)
    draw_sheet(data, plan.path(LAYER_SHEET, layer))
    for series in plan.select(layer):
        draw_sheet(data, plan.path(METHOD_SHEET, layer, series.name), series.name)


def files(folder: Path) -> list[str]:
    """The files in and below a folder, as relative paths."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@contextmanager
def no_superuser() -> Iterator[None]:
    """Permissions count: root, who may do anything, becomes nobody for the moment."""
    user = os.geteuid()
    os.seteuid(user or 65534)
    try:
        yield
    finally:
        os.seteuid(user)


def multiply(layer_file: Path, units: int) -> Path:
    """Repeat the only unit of each method of a layer file, in place."""
    with h5py.File(layer_file, "r+") as file:
        for group in file.values():
            for name in list(group):
                many = np.repeat(group[name][()], units, axis=0)
                del group[name]
                group[name] = np.arange(units) if name == "unit" else many
    return layer_file


def growth(work: Callable[..., object], *arguments: object) -> int:
    """MiB by which a fresh process grows over `work(*arguments)`, a public function."""
    given = pickle.dumps((work, arguments))
    command = [sys.executable, "-c", GROWTH]
    done = subprocess.run(command, input=given, check=True, stdout=subprocess.PIPE)
    return int(done.stdout.splitlines()[-1])
