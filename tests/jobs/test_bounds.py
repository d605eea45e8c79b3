"""Files of bounds: written as the published ones, read from text and arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from basics import refusal

from cnnpref.jobs.act_range import load_bounds, write_bounds


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_text_is_read_as_the_published_ranges_are() -> None:
    bounds = np.random.default_rng(0).lognormal(sigma=9, size=(6, 4, 4)).astype(np.float32)
    text, binary = write_bounds("3x/conv1.1", bounds)
    assert (str(text), str(binary)) == ("3x/conv1.1.txt", "3x/conv1.1.npy")
    read = np.loadtxt(text, delimiter=" ", usecols=np.arange(bounds.size), unpack=True)
    np.testing.assert_array_equal(read.astype(np.float32).reshape(bounds.shape), bounds)
    assert len(text.read_text().splitlines()) == 1
    np.testing.assert_array_equal(np.load(binary), bounds)
    for path in (text, binary):
        np.testing.assert_array_equal(load_bounds(path), bounds.ravel())


@pytest.mark.parametrize(
    "text", ["1.5 2e3 -0.25 inf \n", "1.5\n2e3\n-0.25\ninf\n", "1.5,2e3, -0.25 , 1e60\n\n"]
)
def test_bounds_in_a_row_or_in_a_column(text: str) -> None:
    Path("bounds.txt").write_text(text)
    bounds = load_bounds("bounds.txt")
    assert bounds.dtype == np.float32
    assert bounds.tolist() == [1.5, 2000, -0.25, np.inf]


@pytest.mark.parametrize("kind", ["float64", "int64", "float32"])
def test_bounds_in_an_array_of_any_shape(kind: str) -> None:
    np.save("bounds.npy", np.arange(24).reshape(2, 3, 4).astype(kind))
    assert load_bounds(Path("bounds.npy")).tolist() == list(range(24))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "one number for each unit wanted, got none"),
        (b" \n\n", "one number for each unit wanted, got none"),
        (b"1 2 nan 4", "one number for each unit wanted, got NaN at 2"),
        (b"1 2 three", "cannot be read as numbers: could not convert string to float: 'three'"),
        (b"1 2\n3 4\n", "one row or one column wanted, got 2 rows"),
        (b"\x93NUMPY\x01\x00\xff\xff", "cannot be read as numbers: "),
    ],
)
def test_texts_that_hold_no_bounds(content: bytes | None, said: str) -> None:
    if content is not None:
        Path("bounds.txt").write_bytes(content)
    message = refusal(load_bounds, "bounds.txt")
    assert message.startswith("bounds bounds.txt: ")
    assert said in message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (np.array([1, np.nan]), "got NaN at 1"),
        (np.zeros((0, 3)), "got none"),
        (np.array(["a", "b"]), "cannot be read as numbers: its type is <U1"),
        (np.array([True]), "its type is bool"),
        (np.array([{}]), "Python objects in dtype"),
    ],
)
def test_arrays_that_hold_no_bounds(content: npt.NDArray[Any], said: str) -> None:
    np.save("bounds.npy", content)
    assert said in refusal(load_bounds, "bounds.npy")
