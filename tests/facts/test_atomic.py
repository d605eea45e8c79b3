"""Files are on disk whole or not at all, whatever fails while they are written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from layers import DIGEST, files, no_superuser, unit_result, write_layer
from places import ROOT

from cnnpref.atomic import replacing
from cnnpref.errors import UserError
from cnnpref.results.unit_file import check_unit, read_unit, write_unit


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
    with no_superuser(), pytest.raises(UserError, match="Permission denied; fix that or choose"):
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
    assert told.splitlines() == ["10 None", "110 File too large", "120 File too large"]


def test_what_a_full_disk_did_not_take_is_read_back(tmp_path: Path) -> None:
    """As if it had been written, at random places; HDF5 crashes when it reads anything else."""
    script = """
        import io, os, random, resource
        from cnnpref.atomic import PatientFile

        resource.setrlimit(resource.RLIMIT_FSIZE, (500, resource.RLIM_INFINITY))
        chance = random.Random(0)
        with PatientFile("file", "x+") as file:
            memory = io.BytesIO()
            for _ in range(1000):
                place, data = chance.randrange(memory.tell() + 1), chance.randbytes(40)
                for each in (file, memory):
                    assert each.seek(place) == place
                    assert each.write(data) == 40
                end = memory.seek(0, os.SEEK_END)
                assert file.seek(0, os.SEEK_END) == end
                place, found = chance.randrange(end), bytearray(60)
                file.seek(place)
                count = file.readinto(found)
                memory.seek(place)
                assert found[:count] == memory.read(60)
                memory.seek(0, os.SEEK_END)
            assert file.error and end > 600
    """
    subprocess.run([sys.executable, "-c", dedent(script)], cwd=tmp_path, check=True)


def test_a_full_disk_is_told_wherever_it_strikes(tmp_path: Path) -> None:
    """A limit on the size of files stands in for the disk; HDF5 itself would crash the process."""
    layer = write_layer(tmp_path, [unit_result(unit, size=40) for unit in (0, 1)])
    unit = tmp_path / "units/gd/0.h5"
    write_unit(unit, read_unit(unit))  # its size depends on the order of its attributes
    old = layer.read_bytes()
    before = files(tmp_path)
    script = """
        import resource, sys
        from pathlib import Path
        from cnnpref.errors import UserError
        from layers import series_of
        from cnnpref.results.collecting import collect
        from cnnpref.results.unit_file import read_unit, write_unit

        layer = Path("layer.h5")
        units = [Path(f"units/gd/{u}.h5") for u in (0, 1)]
        result = read_unit(units[0])
        series = [series_of(Path("units/gd"), (0, 1))]
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
        [sys.executable, "-c", dedent(script)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests/helpers")])},
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert files(tmp_path) == before
    assert (tmp_path / "layer.h5").read_bytes() == old
    assert check_unit(tmp_path / "units/gd/0.h5", DIGEST) is None
