"""Layer files: the units of a layer, stacked for analysis."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from layers import files, growth, series_of, unit_result, write_layer

from cnnpref.errors import UserError
from cnnpref.results.collecting import collect
from cnnpref.results.layer_file import open_layer
from cnnpref.results.unit_file import write_unit


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


def test_a_layer_file_stacks_its_units_for_analysis(tmp_path: Path) -> None:
    results = [unit_result(unit, seed=9) for unit in (4, 0, 2)]
    results[1] = replace(unit_result(0, status="diverged"), latent=None)
    with h5py.File(write_layer(tmp_path, results)) as file:
        group = file["gd"]
        assert group["unit"][()].tolist() == [4, 0, 2]
        assert group["status"].asstr()[()].tolist() == ["ok", "diverged", "ok"]
        assert group["score"][()].tolist() == [5.5, 1.5, 3.5]
        assert group["score_best"][()].tolist() == [6.5, 2.5, 4.5]
        assert group["seed"][()].tolist() == [9, 5, 9]
        assert group["evaluations"][()].tolist() == [5, 4, 6]
        assert group["receptive_field"][()].tolist() == [[0, 0, 8, 8]] * 3
        assert group["image"].chunks == (1, 8, 8, 3)
        for row, result in enumerate(results):
            trace = group["activation"][row]
            length = len(result.activation)
            np.testing.assert_array_equal(trace[:length], result.activation)
            assert np.isnan(trace[length:]).all()
            np.testing.assert_array_equal(group["image"][row], result.image)
            np.testing.assert_array_equal(group["image_best"][row], result.image_best)


def test_latents_are_stacked_where_a_method_has_them(tmp_path: Path) -> None:
    latent = np.arange(6, dtype=np.float32).reshape(2, 3)
    results = [unit_result(1), replace(unit_result(1, method="dgn_gd"), latent=latent)]
    with h5py.File(write_layer(tmp_path, results)) as file:
        assert "latent" not in file["gd"]
        np.testing.assert_array_equal(file["dgn_gd/latent"], latent[None])


def test_a_layer_file_is_read_in_the_order_of_collection(tmp_path: Path) -> None:
    results = [unit_result(u, method=m) for m in ("lbfgs", "gd", "dgn_gd") for u in (7, 1)]
    with open_layer(write_layer(tmp_path, results)) as methods:
        assert list(methods) == ["lbfgs", "gd", "dgn_gd"]
        data = methods["gd"]
        assert data.attributes["options"] == {"iter_n": 200, "lr_start": 2.0}
        assert data.attributes["method"] == "gd"
        row = data.rows()[1]
        assert (row.unit, row.score, row.seed, row.status) == (1, 2.5, 5, "ok")
        assert row.receptive_field == (0, 0, 8, 8)
        np.testing.assert_array_equal(row.activation, unit_result(1).activation)
        np.testing.assert_array_equal(data.image(1), unit_result(1).image)


def test_the_same_units_give_the_same_layer_file(tmp_path: Path) -> None:
    results = [unit_result(u, method=m) for m in ("gd", "lbfgs") for u in (0, 1)]
    one, two = (write_layer(tmp_path / name, results) for name in "ab")
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (Path.unlink, "missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "truncated"),
        (lambda path: write_unit(path, unit_result(1, digest="f" * 64)), "other digest"),
    ],
)
def test_a_bad_unit_file_is_named_and_harms_nothing(
    tmp_path: Path, spoil: Callable[[Path], None], reason: str
) -> None:
    path = write_layer(tmp_path, [unit_result(0), unit_result(1)])
    old = path.read_bytes()
    units = [tmp_path / "units" / "gd" / f"{unit}.h5" for unit in (0, 1)]
    spoil(units[1])
    with pytest.raises(UserError, match=rf"gd/1\.h5: {reason}.*; run 'cnnpref generate'"):
        collect(path, [series_of(units[1].parent, (0, 1))])
    assert path.read_bytes() == old
    assert [name for name in files(tmp_path) if "tmp" in name] == []


def test_a_unit_file_whose_attributes_mean_nothing_is_named(tmp_path: Path) -> None:
    units = tmp_path / "units"
    write_unit(units / "3.h5", unit_result(3))
    with h5py.File(units / "3.h5", "r+") as file:
        file.attrs["receptive_field"] = "a:b"
    with pytest.raises(UserError, match=r"3\.h5: .*; run 'cnnpref generate' for this unit again"):
        collect(tmp_path / "conv1.h5", [series_of(units, (3,))])
    assert not (tmp_path / "conv1.h5").exists()


def test_collecting_holds_one_unit_in_memory(tmp_path: Path) -> None:
    paths = [tmp_path / f"{unit}.h5" for unit in range(32)]
    for unit, path in enumerate(paths):
        write_unit(path, unit_result(unit, size=512))  # 6 MiB of images
    few, many = (
        growth(collect, tmp_path / "layer.h5", [series_of(tmp_path, range(count))])
        for count in (8, 32)
    )
    assert few < 40
    assert many < few + 20


@given(st.floats(0, 1, exclude_max=True))
@example(0.0)
def test_a_layer_file_cut_anywhere_is_told(folder: Path, part: float) -> None:
    whole = folder / "layer" / "layer.h5"
    if not whole.exists():
        write_layer(whole.parent, [unit_result(0), unit_result(1)])
    cut = folder / "cut.h5"
    cut.write_bytes(whole.read_bytes()[: int(part * whole.stat().st_size)])
    with pytest.raises(UserError, match=r"cut\.h5: truncated.*; run 'cnnpref collect'"):
        open_layer(cut).__enter__()


def test_what_is_no_layer_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.h5: missing; run"):
        open_layer(tmp_path / "none.h5").__enter__()
    write_unit(tmp_path / "3.h5", unit_result(3))
    with pytest.raises(UserError, match=r"3\.h5: not a cnnpref layer file; run"):
        open_layer(tmp_path / "3.h5").__enter__()
