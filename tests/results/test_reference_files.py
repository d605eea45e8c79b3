"""Damaged files about reference images: what is wrong is told, with the file's name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from basics import refusal
from calling import fail, succeed

from cnnpref.results.reference_file import read_nature

FOLDER = Path("results/tiny/references")


@pytest.fixture
def config(
    tiny_config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """Of a run whose references are there, in the working directory."""
    monkeypatch.chdir(tmp_path)
    np.save("stack.npy", np.random.default_rng(0).integers(0, 256, (5, 12, 12, 3), np.uint8))
    made = {**tiny_config, "references": "stack.npy"}
    succeed("references", made)
    return made


def fewer_sums(table: h5py.Group) -> None:
    sums = table["sums"][()]
    del table["sums"]
    table["sums"] = sums[:2]


def other_bytes(table: h5py.Group) -> None:
    """In place of what was compressed."""
    table["counts"].id.write_direct_chunk((0, 0), b"no counts")


@pytest.mark.parametrize("damage", [fewer_sums, other_bytes])
def test_tables_of_a_shard(damage: Callable[[h5py.Group], None], config: dict[str, Any]) -> None:
    (path,) = FOLDER.glob("shards/*.h5")
    with h5py.File(path, "r+") as file:
        damage(file["layers/conv1"])
    told = "truncated, damaged or not HDF5; delete it and run 'cnnpref references' again"
    assert fail("merge-references", config) == f"cnnpref: {path}: {told}"


@pytest.mark.usefixtures("config")
def test_spectra_of_the_images() -> None:
    path = FOLDER / "nature.h5"
    with h5py.File(path, "r+") as file:
        del file["spectrum"]
        file["spectrum"] = 0
    assert refusal(read_nature, path).startswith(f"{path}: no group spectrum; delete it")
