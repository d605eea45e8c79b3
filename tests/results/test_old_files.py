"""Files that earlier versions wrote: `tests/data/results_1`, of 20 x 20 pixels, not compressed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from layers import DIGEST, series_of, unit_result
from places import ROOT

from cnnpref.results.collecting import collect
from cnnpref.results.layer_file import MethodData, open_layer
from cnnpref.results.packing import pack, unpack
from cnnpref.results.unit_file import UnitResult, check_unit, read_unit

OLD = ROOT / "tests" / "data" / "results_1"
WANTED = [
    replace(unit_result(0, size=20), latent=np.arange(7, dtype=np.float32)),
    replace(unit_result(1, size=20), latent=np.ones(7, np.float32)),
]
WANTED[0] = replace(WANTED[0], image_best=WANTED[0].image)


def same(found: UnitResult, wanted: UnitResult) -> bool:
    names = ("image", "image_best", "activation", "latent")
    equal = (np.array_equal(getattr(found, name), getattr(wanted, name)) for name in names)
    return all(equal) and found.attributes == wanted.attributes


@pytest.fixture
def layer() -> Iterator[MethodData]:
    with open_layer(OLD / "layer.h5") as methods:
        yield methods["gd"]


@pytest.mark.parametrize("unit", [0, 1])
def test_unit_files_are_read(unit: int) -> None:
    assert check_unit(OLD / f"{unit}.h5", DIGEST) is None
    assert same(read_unit(OLD / f"{unit}.h5"), WANTED[unit])


def test_a_layer_file_is_read(layer: MethodData) -> None:
    assert [row.unit for row in layer.rows()] == [0, 1]
    assert not layer.is_packed
    for row, wanted in enumerate(WANTED):
        np.testing.assert_array_equal(layer.image(row), wanted.image)
        np.testing.assert_array_equal(layer.read("image_best", row), wanted.image_best)


def test_they_are_collected_and_packed_as_new_ones_are(tmp_path: Path) -> None:
    folder = tmp_path / "units" / "conv1" / "gd-01234567"
    folder.mkdir(parents=True)
    for unit in (0, 1):
        shutil.copy(OLD / f"{unit}.h5", folder)
    series, path = series_of(folder, (0, 1)), tmp_path / "layers" / "conv1.h5"
    collect(path, [series])
    with h5py.File(path) as file:
        assert len(file["gd/image_best_apart"]) == 1
        assert file["gd/image"].compression == "gzip"
    pack(path, [series])
    assert unpack(path, tmp_path) == 2
    assert all(same(read_unit(folder / f"{unit}.h5"), WANTED[unit]) for unit in (0, 1))
