"""The command line: what it makes."""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from calling import Config, call, fail, succeed, unit_files

import cnnpref
from cnnpref.nets.caffe import save_caffemodel
from cnnpref.results.layer_file import open_layer
from cnnpref.results.unit_file import read_unit

pytestmark = pytest.mark.usefixtures("in_tmp_path")


def test_generate_makes_a_file_for_every_unit(tiny_config: Config) -> None:
    succeed("generate", tiny_config)
    names = [f"conv1/{u}" for u in range(6)] + [f"fire=expand/{u}" for u in range(4)]
    assert sorted(unit_files()) == names


def test_a_unit_file_says_where_it_comes_from(tiny_config: Config) -> None:
    succeed("generate", tiny_config, "--layer", "fire/expand", "--units", "3")
    ((_, path),) = unit_files().items()
    result = read_unit(path)
    told = result.attributes
    assert result.image.shape == result.image_best.shape == (12, 12, 3)
    assert result.activation.shape == (3,)
    assert (told["net"], told["layer"], told["unit"]) == ("tiny", "fire/expand", 3)
    assert (told["method"], told["position"], told["seed"]) == ("gd", "center", 0)
    assert (told["options"]["iter_n"], told["options"]["jitter_size"]) == (3, 4)
    assert told["receptive_field"] == (3, 3, 10, 10)
    assert told["digest"][:8] in str(path)
    weights = Path(tiny_config["net"]["caffemodel"]).read_bytes()
    assert told["sha256"]["net"]["caffemodel"] == hashlib.sha256(weights).hexdigest()
    assert told["versions"]["torch"] == version("torch")
    assert told["seconds"] > 0


def test_the_score_is_the_nets_own_answer(tiny_config: Config) -> None:
    tiny_config["layers"] = {"conv1": {"position": [2, 5]}}
    succeed("generate", tiny_config)
    net = cnnpref.load_caffe(**tiny_config["net"])
    result = read_unit(unit_files()["conv1/4"])
    x = torch.from_numpy(net.space.encode(result.image)[None])
    assert float(net.activations(x, "conv1")[0, 4, 2, 5]) == pytest.approx(
        result.attributes["score"], rel=1e-4
    )


def test_all_methods(tiny_config: Config, tiny_net: Path) -> None:
    few = {"gd": {"iter_n": 3}, "dgn_gd": {"iter_n": 3}}
    config = {
        **tiny_config,
        "methods": ["gd", "lbfgs", "dgn_gd", "dgn_lbfgs"],
        "layers": {"fc": {"units": [1, 3]}},
        "options": {**few, "lbfgs": {"maxiter": 3}, "dgn_lbfgs": {"maxiter": 3}},
        "generator": {
            "prototxt": str(tiny_net / "generator.prototxt"),
            "caffemodel": str(tiny_net / "generator.caffemodel"),
            "upper": "bounds.txt",
        },
    }
    Path("bounds.txt").write_text("1 2 3 4 5 6 7")
    succeed("generate", config)
    succeed("collect", config)
    results = [read_unit(path) for path in Path("results").rglob("units/**/3.h5")]
    latents = {r.attributes["method"]: r.latent for r in results}
    assert latents["gd"] is latents["lbfgs"] is None
    for method in ("dgn_gd", "dgn_lbfgs"):
        assert ((latents[method] >= 0) & (latents[method] <= np.arange(1, 8))).all()
    with open_layer(Path("results/tiny/layers/fc.h5")) as layer:
        assert list(layer) == config["methods"]


def test_valid_files_are_left_alone(tiny_config: Config) -> None:
    succeed("generate", tiny_config)
    before = {path: path.stat().st_mtime_ns for path in unit_files().values()}
    told = succeed("generate", tiny_config)
    assert "conv1/gd: 0 of 4 units to do, 4 already valid" in told
    assert {path: path.stat().st_mtime_ns for path in unit_files().values()} == before


def test_a_missing_unit_alone_is_computed_and_is_the_same(tiny_config: Config) -> None:
    succeed("generate", tiny_config)
    path = unit_files()["conv1/2"]
    before = read_unit(path)
    path.unlink()
    told = succeed("generate", tiny_config)
    assert "conv1/gd: 1 of 4 units to do, 3 already valid" in told
    assert told.count(" ok, activation ") == 1
    after = read_unit(path)
    np.testing.assert_array_equal(before.image, after.image)
    np.testing.assert_array_equal(before.image_best, after.image_best)
    np.testing.assert_array_equal(before.activation, after.activation)


def test_an_invalid_unit_is_computed_again_with_a_warning(tiny_config: Config) -> None:
    succeed("generate", tiny_config)
    path = unit_files()["conv1/2"]
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    told = succeed("generate", tiny_config)
    assert f"warning: {path} is not valid (truncated, damaged or not HDF5)" in told
    assert told.count(" ok, activation ") == 1
    assert read_unit(path).attributes["unit"] == 2


def test_the_batch_does_not_matter(tiny_config: Config) -> None:
    succeed("generate", {**tiny_config, "run": "together"})
    succeed("generate", {**tiny_config, "run": "alone", "batch": 1})
    for path in Path("results/together").rglob("*.h5"):
        other = Path("results/alone", *path.parts[2:])
        np.testing.assert_allclose(read_unit(path).image, read_unit(other).image, atol=1e-2)


def test_a_unit_that_cannot_be_written_does_not_stop_the_others(tiny_config: Config) -> None:
    succeed("generate", tiny_config, "--layer", "conv1", "--units", "2")
    path = unit_files()["conv1/2"]
    path.unlink()
    (path / "in-the-way").mkdir(parents=True)
    line = fail("generate", tiny_config, "--layer", "conv1")
    assert "1 units could not be written; conv1/gd unit 2: cannot write" in line
    assert sorted(unit_files()) == [f"conv1/{u}" for u in range(6)]
    (path / "in-the-way").rmdir()
    path.rmdir()
    assert "1 of 4 units to do" in succeed("generate", tiny_config, "--layer", "conv1")


def test_a_unit_that_diverges_is_a_result_and_harms_no_other(
    tiny_config: Config, tmp_path: Path
) -> None:
    net = cnnpref.load_caffe(**tiny_config["net"])
    conv1_bias = list(net.parameters())[1]
    conv1_bias[2] = float("inf")
    save_caffemodel(net, tmp_path / "broken.caffemodel")
    broken = {**tiny_config["net"], "caffemodel": str(tmp_path / "broken.caffemodel")}
    told = succeed("generate", {**tiny_config, "net": broken}, "--layer", "conv1")
    assert "conv1/gd unit 2: diverged" in told
    units = {name: read_unit(path) for name, path in unit_files().items()}
    assert units.pop("conv1/2").attributes["status"] == "diverged"
    assert len(units) == 5
    Path("results").rename("broken")
    succeed("generate", tiny_config, "--layer", "conv1")
    for name, unit in units.items():
        whole = read_unit(unit_files()[name])
        assert unit.attributes["status"] == whole.attributes["status"] != "diverged"
        np.testing.assert_array_equal(unit.image, whole.image)
        np.testing.assert_array_equal(unit.activation, whole.activation)


def test_collect_sheet_and_gallery(tiny_config: Config) -> None:
    succeed("generate", tiny_config)
    for command in ("collect", "scores", "sheet", "pages", "gallery", "share"):
        succeed(command, tiny_config)
    run = Path("results/tiny")
    made = {str(p.relative_to(run)) for p in run.rglob("*") if p.is_file()}
    assert made >= {
        *("layers/conv1.h5", "sheets/conv1.png", "sheets/conv1/gd.png", "pages/conv1.html"),
        *("layers/fire=expand.h5", "sheets/fire=expand.png", "pages/fire=expand.html"),
        "index.html",
    }
    assert "pages/fire%3Dexpand.html" in (run / "index.html").read_text()


def test_sheet_can_make_one_alone(tiny_config: Config) -> None:
    succeed("generate", tiny_config, "--layer", "conv1")
    succeed("collect", tiny_config, "--layer", "conv1")
    succeed("sheet", tiny_config, "--layer", "conv1", "--method", "gd")
    sheets = Path("results/tiny/sheets")
    assert [p for p in sheets.rglob("*") if p.is_file()] == [sheets / "conv1" / "gd.png"]


def test_info_lists_the_layers(tiny_config: Config) -> None:
    result = call("info", tiny_config)
    assert result.exit_code == 0
    rows = {line.split()[0]: line for line in result.stdout.splitlines()}
    assert "4 x 6 x 6" in rows["fire/expand"]
    assert "7 x 7, rows 3-10, columns 3-10" in rows["fire/expand"]
    assert rows["conv1"].split()[6] == "456"  # 6 x 3 x 5 x 5 and 6
    assert "input 3 x 12 x 12, 1,401 weights" in result.stdout


def test_info_says_which_layers_cannot_be_computed_and_why(tiny_config: Config) -> None:
    text = Path(tiny_config["net"]["prototxt"]).read_text()
    Path("foreign.prototxt").write_text(text.replace('type: "ReLU"', 'type: "Python"'))
    rows = call("info", "--prototxt", "foreign.prototxt").stdout.splitlines()
    assert any(row.startswith("conv1 ") and "6 x 8 x 8" in row for row in rows)
    assert any(
        row.startswith("relu1 ") and "cannot be computed: unknown type 'Python'" in row
        for row in rows
    )


def test_info_of_a_generator(tiny_net: Path) -> None:
    result = call("info", "--prototxt", str(tiny_net / "generator.prototxt"))
    assert result.exit_code == 0
    assert "input 7, 3,456 weights" in result.stdout
