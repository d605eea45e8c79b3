"""Unit files: what is written is read, what is broken is found out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from layers import DIGEST, files, no_superuser, unit_result

from cnnpref.errors import UserError
from cnnpref.results.unit_file import ATTRIBUTES, check_unit, read_unit, write_unit

floats = st.floats(width=32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@given(
    arrays(np.float32, (2, 3, 4, 3), elements=floats),
    arrays(np.float32, st.integers(0, 9), elements=floats),
    st.none() | arrays(np.float32, array_shapes(), elements=floats),
    st.none() | arrays(np.uint8, (3, 4)),
)
def test_a_unit_is_read_as_it_was_written(
    folder: Path, images: Any, trace: Any, latent: Any, importance: Any
) -> None:
    result = replace(
        unit_result(7),
        image=images[0],
        image_best=images[1],
        activation=trace,
        latent=latent,
        importance=importance,
    )
    write_unit(folder / "7.h5", result)
    read = read_unit(folder / "7.h5")
    assert read.attributes == result.attributes
    for name in ("image", "image_best", "activation", "latent", "importance"):
        np.testing.assert_array_equal(getattr(read, name), getattr(result, name))
    assert check_unit(folder / "7.h5", DIGEST) is None


def test_positions_and_long_options_survive(tmp_path: Path) -> None:
    bounds = np.linspace(0, 1, 20_000).tolist()  # more than the 64 KiB of an HDF5 attribute
    result = unit_result(3, position=(5, 6), options={"upper": bounds, "none": None})
    write_unit(tmp_path / "3.h5", result)
    assert read_unit(tmp_path / "3.h5").attributes == result.attributes


def test_a_diverged_unit_is_data_not_damage(tmp_path: Path) -> None:
    nothing = np.full((8, 8, 3), np.nan, np.float32)
    write_unit(tmp_path / "3.h5", replace(unit_result(3, status="diverged"), image=nothing))
    assert check_unit(tmp_path / "3.h5", DIGEST) is None


def test_the_file_has_the_layout_that_the_design_fixes(unit_file: Path) -> None:
    with h5py.File(unit_file) as file:
        assert {name: data.dtype for name, data in file.items()} == {
            "image": np.float32,
            "image_best": np.float32,
            "activation": np.float32,
        }
        assert file.attrs["format"] == "cnnpref unit"
        assert file.attrs["format_version"] == 1
        assert file.attrs["options"] == '{"iter_n": 200, "lr_start": 2.0}'
        assert file.attrs["receptive_field"].tolist() == [0, 0, 8, 8]
        assert set(ATTRIBUTES) <= set(file.attrs)


def test_the_same_result_gives_the_same_bytes(unit_file: Path, tmp_path: Path) -> None:
    write_unit(tmp_path / "3.h5", unit_result(3))
    assert (tmp_path / "3.h5").read_bytes() == unit_file.read_bytes()


def test_a_result_without_an_attribute_is_refused(tmp_path: Path) -> None:
    result = unit_result(3)
    del result.attributes["seed"]
    with pytest.raises(ValueError, match="seed"):
        write_unit(tmp_path / "3.h5", result)
    assert files(tmp_path) == []


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    assert check_unit(tmp_path / "3.h5", DIGEST) == "missing"
    with pytest.raises(UserError, match=r"3\.h5: missing; run 'cnnpref generate'"):
        read_unit(tmp_path / "3.h5")


@given(st.data())
def test_a_file_cut_anywhere_is_found_out(folder: Path, data: st.DataObject) -> None:
    whole, cut = folder / "11.h5", folder / "cut" / "11.h5"
    write_unit(whole, unit_result(11))
    cut.parent.mkdir(exist_ok=True)
    size = data.draw(st.integers(0, whole.stat().st_size - 1))
    cut.write_bytes(whole.read_bytes()[:size])
    assert check_unit(cut, DIGEST) == "truncated, damaged or not HDF5"


def test_a_text_file_is_found_out(tmp_path: Path) -> None:
    (tmp_path / "3.h5").write_text("<html>404 not found</html>\n" * 100)
    assert check_unit(tmp_path / "3.h5", DIGEST) == "truncated, damaged or not HDF5"


def test_a_folder_is_found_out(tmp_path: Path) -> None:
    (tmp_path / "3.h5").mkdir()
    assert check_unit(tmp_path / "3.h5", DIGEST) == "Is a directory"


def test_an_unreadable_file_is_found_out(unit_file: Path) -> None:
    unit_file.chmod(0)
    with no_superuser():
        assert check_unit(unit_file, DIGEST) == "Permission denied"


def test_a_file_of_other_options_is_found_out(unit_file: Path) -> None:
    fault = check_unit(unit_file, "f" * 64)
    assert fault == "other digest: 01234567..., wanted ffffffff..."
    assert check_unit(unit_file) is None


def test_a_file_under_the_name_of_another_unit_is_found_out(unit_file: Path) -> None:
    copy = unit_file.replace(unit_file.with_name("4.h5"))
    assert check_unit(copy, DIGEST) == "holds unit 3"


def without(name: str) -> Callable[[h5py.File], None]:
    return lambda file: file.__delitem__(name)


def with_data(name: str, data: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        file[name] = data

    return change


def with_attribute(name: str, value: Any) -> Callable[[h5py.File], None]:
    return lambda file: file.attrs.__setitem__(name, value)


def with_group(file: h5py.File) -> None:
    del file["image"]
    file.create_group("image")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (without("image"), "no dataset /image"),
        (without("image_best"), "no dataset /image_best"),
        (without("activation"), "no dataset /activation"),
        (with_group, "no dataset /image"),
        (with_data("image", np.zeros((8, 8, 3))), "/image is float64, not float32"),
        (with_data("activation", np.zeros(4, int)), "/activation is int64, not float32"),
        (with_data("image", np.zeros((8, 8), "f4")), "(8, 8), (8, 8, 3) and (4,), not"),
        (with_data("image", np.zeros((3, 8, 8), "f4")), "(3, 8, 8), (8, 8, 3) and (4,), not"),
        (with_data("image_best", np.zeros((9, 8, 3), "f4")), "(8, 8, 3), (9, 8, 3) and (4,), not"),
        (with_data("activation", np.float32(1)), "(8, 8, 3), (8, 8, 3) and (), not"),
        (with_attribute("format", "somebody's"), "not a cnnpref unit file"),
        (with_attribute("format_version", 2), "format version 2, this program reads 1"),
    ],
)
def test_a_malformed_file_is_found_out(
    unit_file: Path, change: Callable[[h5py.File], None], fault: str
) -> None:
    with h5py.File(unit_file, "r+") as file:
        change(file)
    assert fault in str(check_unit(unit_file, DIGEST))


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_a_file_without_an_attribute_is_found_out(unit_file: Path, name: str) -> None:
    with h5py.File(unit_file, "r+") as file:
        del file.attrs[name]
    assert check_unit(unit_file, DIGEST) == f"no attribute {name}"
