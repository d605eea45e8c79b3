"""Heaps, in which HDF5 keeps texts: it never comes back from those whose objects do not end."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from layers import unit_result

from cnnpref.foreign import open_hdf5
from cnnpref.results.unit_file import check_unit, write_unit

OPEN = "import cnnpref.foreign; cnnpref.foreign.open_hdf5({!r})"
READ = "import pathlib, cnnpref.results.unit_file as file; file.read_unit(pathlib.Path({!r}))"


def objects(data: bytes, start: int) -> dict[int, tuple[int, int]]:
    """{number: (place, size)} of those of a heap; 0 is what is free."""
    (end,), place, found = struct.unpack_from("<Q", data, start + 8), start + 16, {}
    while place < start + end:
        number, size = struct.unpack_from("<H6xQ", data, place)
        found[number] = place, size
        place += 16 + -(-size // 8) * 8 if number else size
    return found


def damage(path: Path, heap: int, number: int, change: Callable[[int], int]) -> None:
    """Change the size of an object of a heap; both are counted from the end if below 0."""
    data = bytearray(path.read_bytes())
    starts = [place for place in range(len(data)) if data.startswith(b"GCOL", place)]
    found = objects(data, starts[heap])
    place, size = found[number % (max(found) + 1)]
    struct.pack_into("<Q", data, place + 8, change(size))
    path.write_bytes(data)


ENDLESS: dict[str, tuple[int, int, Callable[[int], int]]] = {
    "free space of no size": (0, 0, lambda _: 0),
    "free space of less than its header": (0, 0, lambda _: 8),
    "a bit of the last text's size": (0, -1, lambda size: size ^ 64),
    "a size that wraps round": (0, 1, lambda _: 2**64 - 16),
    "a size that leads back": (0, 1, lambda _: 2**64 - 32),
    "the size of a text that fills a heap": (1, 1, lambda size: size - 64),
}


@pytest.mark.parametrize("case", ENDLESS)
def test_heaps_without_an_end_are_told(case: str, tmp_path: Path) -> None:
    path = tmp_path / "3.h5"
    write_unit(path, unit_result(3, label="x" * 70_000))
    assert check_unit(path) is None
    damage(path, *ENDLESS[case])
    words = [sys.executable, "-c", READ.format(str(path))]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert f"UserError: {path}: damaged: a heap without an end; run 'cnnpref gen" in done.stderr


def test_what_fills_heaps_of_all_sizes_is_read(tmp_path: Path) -> None:
    """HDF5 lets a heap grow to 64 KiB, and makes a larger one for a single object."""
    texts = {f"{n}": chr(97 + n % 26) * (n * 37 % 900) for n in range(300)} | {"": "x" * 70_000}
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, text in texts.items():
            file.attrs[name or "long"] = text
        for n in range(0, 300, 3):
            file.attrs[f"{n}"] = texts[f"{n}"] = "y" * (n * 91 % 900)
        file["texts"] = list(texts.values())
    with open_hdf5(tmp_path / "a.h5") as file:
        assert {name: file.attrs[name or "long"] for name in texts} == texts
        assert [text.decode() for text in file["texts"]] == list(texts.values())


def test_numbers_may_be_what_a_heap_starts_with(tmp_path: Path) -> None:
    numbers = np.frombuffer(b"GCOL\1\0\0\0", np.uint8)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["numbers"] = numbers
    with open_hdf5(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file["numbers"], numbers)


def test_virtual_datasets_lie_in_heaps_too(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["numbers"] = np.arange(3)
        layout = h5py.VirtualLayout((3,), int)
        layout[...] = h5py.VirtualSource(".", "numbers", (3,))
        file.create_virtual_dataset("same", layout)
    with open_hdf5(path) as file:
        np.testing.assert_array_equal(file["same"], np.arange(3))
    damage(path, *ENDLESS["free space of no size"])
    words = [sys.executable, "-c", OPEN.format(str(path))]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert "ForeignError: damaged: a heap without an end" in done.stderr
