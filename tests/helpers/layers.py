"""What tests of the result files share: unit files and layer files of made-up pictures."""

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
from cnnpref.planning.series import Series
from cnnpref.results.layer_file import collect
from cnnpref.results.unit_file import UnitResult, write_unit

DIGEST = "0123456789abcdef" * 4


def unit_result(unit: int = 3, size: int = 8, **attributes: Any) -> UnitResult:
    """A unit of noise, seeded by its number; whole pictures unless told otherwise."""
    random = np.random.default_rng(unit)
    image, best = random.uniform(-20, 280, (2, size, size, 3)).astype(np.float32)
    plain = {
        "net": "tiny",
        "sha256": {"prototxt": "ab" * 32, "caffemodel": None},
        "layer": "conv1",
        "unit": unit,
        "position": "center",
        "receptive_field": (0, 0, size, size),
        "method": "gd",
        "options": {"iter_n": 200, "lr_start": 2.0},
        "seed": 5,
        "status": "ok",
        "score": 1.5 + unit,
        "score_best": 2.5 + unit,
        "versions": {"cnnpref": "0.1.0"},
        "device": "cpu",
        "seconds": 0.25,
        "digest": DIGEST,
    }
    trace = random.normal(size=4 + unit % 3).astype(np.float32)
    return UnitResult(image, best, trace, plain | attributes)


def series_of(folder: Path, units: Sequence[int], name: str = "gd") -> Series:
    """The units whose files lie in a folder."""
    options = GdOptions()
    given = (tuple(units), "center", options, 5, {}, DIGEST, folder)
    return Series("conv1", name, name, *given)


def write_layer(folder: Path, results: Sequence[UnitResult]) -> Path:
    """Write the unit files of one layer, by methods in order of appearance, and collect them."""
    units: dict[str, list[int]] = {}
    for result in results:
        method, unit = result.attributes["method"], result.attributes["unit"]
        units.setdefault(method, []).append(unit)
        write_unit(folder / "units" / method / f"{unit}.h5", result)
    series = [series_of(folder / "units" / name, each, name) for name, each in units.items()]
    collect(folder / "layer.h5", series)
    return folder / "layer.h5"


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


def growth(work: Callable[..., None], *arguments: object) -> int:
    """MiB by which a fresh process grows over `work(*arguments)`, a public function."""
    peak = "resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024"
    script = f"""import pickle, resource, sys
work, arguments = pickle.load(sys.stdin.buffer)
before = {peak}
work(*arguments)
print({peak} - before)"""
    given = pickle.dumps((work, arguments))
    command = [sys.executable, "-c", script]
    return int(subprocess.run(command, input=given, check=True, capture_output=True).stdout)
