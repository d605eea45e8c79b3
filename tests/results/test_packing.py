"""Packed layer files: they stand for unit files, and give them back to the bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from calling import call, succeed, unit_files
from layers import DIGEST, files, series_of, unit_result, write_layer
from running import Project

from cnnpref.errors import UserError
from cnnpref.nets import describe
from cnnpref.planning.config import read_config
from cnnpref.planning.plan import make_plan
from cnnpref.results.discard import discard_damaged
from cnnpref.results.layer_file import open_layer, packed_units
from cnnpref.results.packing import pack, unpack
from cnnpref.results.unit_file import ARRAYS, UnitResult, read_unit, write_unit

LAYER = "results/mine/layers/conv1.h5"


def of_every_kind() -> list[UnitResult]:
    """Units that differ in all that unit files can differ in."""
    plain = unit_result(0, size=40)
    frames = np.arange(2 * 4800, dtype=np.uint8).reshape(2, 40, 40, 3)
    nothing = np.full((40, 40, 3), np.nan, np.float32)
    nothing[0, 0, 0] = -0.0
    return [
        replace(plain, image_best=plain.image),
        unit_result(1, size=40, position=(3, 4), label="näme", attempts_status=["stuck"]),
        replace(unit_result(2, size=40, status="diverged"), image=nothing, image_best=nothing),
        replace(unit_result(3, size=40), importance=np.eye(40, dtype=np.uint8)),
        replace(unit_result(4, size=40), latent=np.arange(2000, dtype=np.float32)),
        replace(unit_result(5, size=40), frames=frames, frame_step=np.array([1, 4], np.int32)),
        replace(unit_result(6, size=40), frames=frames[:0], frame_step=np.zeros(0, np.int32)),
        replace(unit_result(7, size=40), frames=frames[:1] + 1, frame_step=np.ones(1, np.int32)),
        replace(unit_result(8, size=40), activation=np.zeros(0, np.float32)),
    ]


def content(path: Path) -> tuple[dict[str, object], dict[str, object]]:
    """All that a unit file holds, to be compared."""
    result = read_unit(path)
    arrays = {name: getattr(result, name) for name in ARRAYS}
    bits = {n: None if a is None else (a.tobytes(), a.shape, a.dtype) for n, a in arrays.items()}
    return bits, result.attributes


def run_files() -> dict[str, bytes]:
    """What is in the results, without logs."""
    run = Path("results/mine")
    return {name: (run / name).read_bytes() for name in files(run) if not name.endswith(".log")}


def test_unit_files_come_back_to_the_bit(tmp_path: Path) -> None:
    results = of_every_kind()
    layer = write_layer(tmp_path, results)
    folder = tmp_path / "units" / "gd"
    series = series_of(folder, range(len(results)))
    before = {path.name: content(path) for path in series.paths()}
    assert pack(layer, [series]) == len(results)
    assert not folder.exists()
    assert packed_units(layer, DIGEST) == {*range(len(results))}
    assert unpack(layer, tmp_path) == len(results)
    back = tmp_path / "units" / "conv1" / "gd-01234567"
    assert {path.name: content(path) for path in back.iterdir()} == before
    assert not layer.exists()


@pytest.mark.parametrize("apart", [(), (1,), (0, 2), (0, 1, 2)])
def test_images_of_a_layer_are_stored_once(tmp_path: Path, apart: tuple[int, ...]) -> None:
    results = [unit_result(unit, size=40) for unit in range(3)]
    results = [r if n in apart else replace(r, image_best=r.image) for n, r in enumerate(results)]
    copy = tmp_path / "copy.h5"
    with open_layer(write_layer(tmp_path, results)) as methods, h5py.File(copy, "w") as output:
        methods["gd"].copy(output)
        found = [methods["gd"].read("image_best", row) for row in range(3)]
    for row, result in enumerate(results):
        np.testing.assert_array_equal(found[row], result.image_best)
    with h5py.File(copy) as file, h5py.File(tmp_path / "layer.h5") as layer:
        np.testing.assert_array_equal(file["image_best"][()], np.stack(found))
        np.testing.assert_array_equal(layer["gd/image_best"][()], np.stack(found))
        data = [layer["gd"][name] for name in ("image", *images_of(layer))]
        stored = sum(each.id.get_num_chunks() for each in data)
        assert stored == 3 + len(apart)


def images_of(layer: h5py.File) -> set[str]:
    """The datasets of a layer file that have images of their own, beside `image`."""
    group = layer["gd"]
    names = {name for name in group if name.startswith("image_best")}
    return {n for n in names if not group[n].is_virtual and group[n] != group["image"]}


def test_one_that_is_not_as_the_layer_file_says_stays(tmp_path: Path) -> None:
    layer = write_layer(tmp_path, [unit_result(0), unit_result(1)])
    series = series_of(tmp_path / "units" / "gd", (0, 1))
    pack(layer, [series])
    write_unit(series.path(1), unit_result(1, seconds=9.0))
    with pytest.raises(UserError, match=r"gd/1\.h5: is not as .*layer\.h5 has it; run 'cnnpref co"):
        pack(layer, [series])
    assert series.path(1).exists()


def test_a_missing_unit_is_told_and_nothing_deleted(tmp_path: Path) -> None:
    layer = write_layer(tmp_path, [unit_result(0), unit_result(1)])
    series = series_of(tmp_path / "units" / "gd", (0, 1))
    series.path(1).unlink()
    before = layer.read_bytes()
    with pytest.raises(UserError, match=r"gd/1\.h5: missing"):
        pack(layer, [series])
    assert series.path(0).exists()
    assert layer.read_bytes() == before


@pytest.mark.usefixtures("finished")
def test_all_is_right_after_packing_and_can_be_made_again() -> None:
    shown = {name: data for name, data in run_files().items() if Path(name).suffix != ".h5"}
    said = call("plan", "--config", "mine.yaml", "--quick").stdout
    told = succeed("pack", "--config", "mine.yaml")
    assert told.splitlines()[0].startswith(f"{LAYER}: 6 unit files packed, 0.")
    assert not unit_files()
    assert "there and right" in call("check", "--config", "mine.yaml").output
    assert call("plan", "--config", "mine.yaml", "--quick").stdout == said
    for command in ("scores", "sheet"):
        succeed(command, "--config", "mine.yaml")
    now = run_files()
    assert {name: now[name] for name in shown} == shown
    for command in ("pages", "gallery", "share"):
        succeed(command, "--config", "mine.yaml")
    page = Path("results/mine/units/conv1/3.html").read_text()
    assert "../../layers/conv1.h5" in page
    assert "3.h5" not in page
    assert {n for n in run_files() if n.endswith((".png", ".webp"))} == {
        n for n in shown if n.endswith((".png", ".webp"))
    }
    assert call("clean", "--config", "mine.yaml").output.startswith("nothing that no config")


@pytest.mark.usefixtures("finished")
def test_another_packing_ends_what_was_cut_short() -> None:
    kept = {path: path.read_bytes() for path in list(unit_files().values())[:2]}
    succeed("pack", "--config", "mine.yaml")
    for path, data in kept.items():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    assert "2 unit files packed" in succeed("pack", "--config", "mine.yaml")
    assert "0 unit files packed" in succeed("pack", "--config", "mine.yaml")
    assert not unit_files()


@pytest.mark.usefixtures("finished")
def test_generate_writes_packed_units_again_and_computes_none() -> None:
    before = {name: content(path) for name, path in unit_files().items()}
    succeed("pack", "--config", "mine.yaml")
    assert "2 of 2 units to do" not in succeed("generate", "--config", "mine.yaml")
    assert {name: content(path) for name, path in unit_files().items()} == before


@pytest.mark.usefixtures("finished")
def test_a_packed_layer_that_is_damaged_is_told() -> None:
    succeed("pack", "--config", "mine.yaml")
    Path(LAYER).write_bytes(Path(LAYER).read_bytes()[:-1])
    output = call("check", "--config", "mine.yaml").output
    assert f"damaged  {LAYER}: not a complete layer file" in output
    assert "6 unit files: 0-5" in output


def test_a_layer_file_that_draws_on_others_is_refused(tmp_path: Path) -> None:
    """A missing source would be read as black pictures."""
    layer = write_layer(tmp_path, [unit_result(0), unit_result(1)])
    with h5py.File(layer, "r+") as file:
        layout = h5py.VirtualLayout((2, 8, 8, 3), "f4")
        for row in (0, 1):
            layout[row] = h5py.VirtualSource(f"units/gd/{row}.h5", "image", (8, 8, 3))
        del file["gd/image"]
        file["gd"].create_virtual_dataset("image", layout)
    with pytest.raises(UserError, match="/gd/image refers to other files"):
        open_layer(layer).__enter__()


@pytest.mark.workflow
def test_snakemake_computes_nothing_that_was_packed(finished: Project) -> None:
    finished.succeed("--touch")
    before = {name: content(path) for name, path in unit_files().items()}
    succeed("pack", "--config", "mine.yaml")
    assert "Nothing to be done" in finished.succeed()
    finished.succeed("--forcerun", "collect", "--until", "collect")
    assert {name: content(path) for name, path in unit_files().items()} == before


@pytest.mark.workflow
def test_other_units_compute_what_is_new_and_lose_nothing(finished: Project) -> None:
    before = {name: content(path) for name, path in unit_files().items()}
    succeed("pack", "--config", "mine.yaml")
    layers = {"conv1": {"units": "0-1"}, "fire/expand": {"units": "0-3"}}
    told = finished.succeed(layers=layers)
    assert f"{LAYER}: not what the config asks for; its 6 unit files are there again" in told
    after = {name: content(path) for name, path in unit_files().items()}
    assert after.keys() - before.keys() == {"fire=expand/3"}
    assert {name: after[name] for name in before} == before
    with open_layer(Path(LAYER)) as methods:
        assert methods["gd"].units() == [0, 1]
    assert "there and right" in call("check", "--config", "mine.yaml").output


@pytest.mark.usefixtures("finished")
def test_other_labels_bring_the_unit_files_back() -> None:
    before = {name: content(path) for name, path in unit_files().items()}
    succeed("pack", "--config", "mine.yaml")
    config = read_config("mine.yaml")
    config["layers"]["conv1"] = {"labels": [*"abcdef"]}
    told = discard_damaged(make_plan(config, describe))
    assert told == [f"{LAYER}: not what the config asks for; its 6 unit files are there again"]
    assert not Path(LAYER).exists()
    after = {name: content(path) for name, path in unit_files().items()}
    assert after == {n: known for n, known in before.items() if n.startswith("conv1")}
