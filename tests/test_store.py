"""Unit files and layer files: what is written is read, what is broken is found out."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from layers import DIGEST, growth, unit_result, write_layer

from cnnpref.atomic import replacing
from cnnpref.errors import UserError
from cnnpref.store import ATTRIBUTES, Series, check_unit, collect, open_layer, read_unit, write_unit

floats = st.floats(width=32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("units")


@pytest.fixture
def unit_file(tmp_path: Path) -> Path:
    path = tmp_path / "units" / "3.h5"
    write_unit(path, unit_result(3))
    return path


def files(folder: Path) -> list[str]:
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


# ---------------------------------------------------------------------------------- unit files


@given(
    arrays(np.float32, (2, 3, 4, 3), elements=floats),
    arrays(np.float32, st.integers(0, 9), elements=floats),
    st.none() | arrays(np.float32, array_shapes(), elements=floats),
)
def test_a_unit_is_read_as_it_was_written(
    folder: Path, images: Any, trace: Any, latent: Any
) -> None:
    result = replace(
        unit_result(7), image=images[0], image_best=images[1], activation=trace, latent=latent
    )
    write_unit(folder / "7.h5", result)
    read = read_unit(folder / "7.h5")
    assert read.attributes == result.attributes
    for name in ("image", "image_best", "activation", "latent"):
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


# ---------------------------------------------------------------------------------- validity


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


# ---------------------------------------------------------------------------- whole or not at all


def test_nothing_but_the_file_is_left(unit_file: Path) -> None:
    write_unit(unit_file, unit_result(3, seed=6))
    assert files(unit_file.parent) == ["3.h5"]
    assert read_unit(unit_file).attributes["seed"] == 6


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_a_failed_body_changes_nothing(tmp_path: Path, failure: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail(temporary: Path) -> None:
        temporary.write_text("new")
        raise failure

    with pytest.raises(failure), replacing(path) as temporary:
        fail(temporary)
    assert path.read_text() == "old"
    assert files(tmp_path) == ["a.txt"]


def test_a_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "units").touch()
    with pytest.raises(UserError, match=r"cannot write .*units/3\.h5: (File exists|Not a dir)"):
        write_unit(tmp_path / "units" / "3.h5", unit_result(3))


def test_a_read_only_folder_is_told(unit_file: Path) -> None:
    unit_file.parent.chmod(0o500)
    with no_superuser(), pytest.raises(UserError, match="Permission denied; mend that or choose"):
        write_unit(unit_file, unit_result(3))
    assert files(unit_file.parent) == ["3.h5"]


def test_a_write_cut_short_is_an_error(tmp_path: Path) -> None:
    script = """
        import resource
        from cnnpref.atomic import PatientFile

        resource.setrlimit(resource.RLIMIT_FSIZE, (50, resource.RLIM_INFINITY))
        with PatientFile("file", "x+") as file:
            for count in (10, 100, 10):
                assert file.write(bytes(count)) == count
                print(file.tell(), file.error and file.error.strerror)
    """
    told = subprocess.check_output([sys.executable, "-c", dedent(script)], cwd=tmp_path, text=True)
    assert told.splitlines() == ["10 None", "50 File too large", "50 File too large"]


def test_a_full_disk_is_told_wherever_it_strikes(tmp_path: Path) -> None:
    """A limit on the size of files stands in for the disk; HDF5 itself would crash the process."""
    old = write_layer(tmp_path, [unit_result(unit, size=40) for unit in (0, 1)]).read_bytes()
    before = files(tmp_path)
    script = """
        import resource, sys
        from pathlib import Path
        from cnnpref.errors import UserError
        from cnnpref.store import Series, collect, read_unit, write_unit

        layer = Path("layer.h5")
        units = [Path(f"units/gd/{u}.h5") for u in (0, 1)]
        result = read_unit(units[0])
        series = [Series("gd", result.attributes["digest"], units)]
        for path, work, data in (
            (units[0], write_unit, result),
            (layer, collect, series),
        ):
            size = path.stat().st_size
            for limit in (*range(0, size, size // 25), size - 1):
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
                try:
                    work(path, data)
                except UserError as error:
                    assert f"cannot write {path}: File too large" in str(error), error
                else:
                    sys.exit(f"{path} was written within {limit} of {size} bytes")
    """
    done = subprocess.run(
        [sys.executable, "-c", dedent(script)], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert files(tmp_path) == before
    assert (tmp_path / "layer.h5").read_bytes() == old
    assert check_unit(tmp_path / "units/gd/0.h5", DIGEST) is None


# ---------------------------------------------------------------------------------- layer files


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
        collect(path, [Series("gd", DIGEST, units)])
    assert path.read_bytes() == old
    assert [name for name in files(tmp_path) if "tmp" in name] == []


def test_collecting_holds_one_unit_in_memory(tmp_path: Path) -> None:
    units = [unit_result(unit, size=512) for unit in range(20)]  # 120 MiB of pictures
    path = write_layer(tmp_path, units)
    paths = [tmp_path / "units" / "gd" / f"{unit}.h5" for unit in range(20)]
    assert growth(collect, path, [Series("gd", DIGEST, paths)]) < 40


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


def test_what_is_no_layer_file_is_told(tmp_path: Path, unit_file: Path) -> None:
    with pytest.raises(UserError, match=r"none\.h5: missing; run"):
        open_layer(tmp_path / "none.h5").__enter__()
    with pytest.raises(UserError, match=r"3\.h5: not a cnnpref layer file; run"):
        open_layer(unit_file).__enter__()
