"""What a config may say, and what is said when it says something else."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml
from option_tables import with_tables
from places import ROOT
from planning import BASE, NET, message

from cnnpref.errors import UserError
from cnnpref.methods import METHODS
from cnnpref.planning.config import read_config, resolve_config
from cnnpref.planning.plan import make_plan


@pytest.mark.parametrize(
    ("config", "part"),
    [
        (
            {"laiers": {}},
            "unknown key 'laiers' (did you mean 'layers'",
        ),
        (
            {"layers": {"conv1": {"unit": 1}}},
            "unknown key 'unit' in layers.conv1 (did you mean 'uni",
        ),
        ({"layers": {"conv2": {}}}, "has no layer 'conv2' (did you mean 'conv1'?)"),
        ({"layers": {"loss": {}}}, "'loss' has the shape ()"),
        ({"layers": {}}, "layers: got {}; allowed: 'all', or a mapping"),
        ({"layers": "conv1"}, "layers: got 'conv1'; allowed: 'all', or a mapping"),
        ({"layers": {"conv1": 3}}, "layers.conv1: got 3; allowed: a mapping"),
        ({"net": {"prototxt": "x"}}, "the key 'caffemodel' in net is missing"),
        (
            {"net": {"prototxt": "x", "caffemodel": "y", "mean": []}},
            "net.mean: got []; allowed: a num",
        ),
        ({"batch": 0}, "batch: got 0; allowed: 'auto', or a whole number"),
        ({"batch": "many"}, "batch: got 'many'; allowed"),
        ({"seed": -1}, "seed: got -1"),
        ({"run": "../up"}, "run: got '../up'; allowed: a name"),
        ({"results": "a{b}"}, "results: got 'a{b}'"),
        ({"methods": ["gdd"]}, "unknown method 'gdd' (did you mean 'gd'?)"),
        ({"methods": ["dgn_gd"]}, "method 'dgn_gd' needs the key 'generator'"),
        ({"methods": []}, "methods: got []"),
        ({"sheets": {"tiles": 3}}, "unknown key 'tiles' in sheets; allowed: units, alpha, under"),
        ({"sheets": {"units": 0}}, "sheets.units: got 0; allowed: a whole number"),
        ({"keep_frames": -1}, "keep_frames: got -1; allowed: a whole number of frames"),
        ({"methods": [1]}, "methods.0: got 1"),
        (
            {"options": {"gd": {"iter": 3}}},
            "unknown key 'iter' in options.gd (did you mean 'iter_n'",
        ),
        (
            {"options": {"gd": {"iter_n": "x"}}},
            "options.gd.iter_n: got 'x'; allowed: an integer in 1..",
        ),
        ({"options": {"gd": 3}}, "options.gd: got 3"),
        ({"layers": {"conv1": {"preset": "medium"}}}, "no method of gd has the preset 'medium'"),
        ({"layers": {"conv1": {"position": [30, 0]}}}, "got [30, 0]; allowed: y in 0..29"),
        (
            {"layers": {"conv1": {"position": "middle"}}},
            "position: got 'middle'; allowed: 'cen",
        ),
        ({"layers": {"fc6": {"position": [0, 0]}}}, "'fc6' has no map"),
    ],
)
def test_bad_config(config: dict[str, Any], part: str) -> None:
    assert part in message(**config)


def test_whole_numbers_may_be_written_with_a_point() -> None:
    base = {**BASE, "layers": "all"}
    for pixels, whole in ((64.0, 64), ([64.0, 32.0], [64, 32])):
        given = {"images": "photos", "top": 3.0, "shard": 7.0, "resize": pixels}
        config = resolve_config({**base, "batch": 4.0, "seed": 1.0, "references": given}, "x")
        wanted = {"images": "photos", "top": 3, "shard": 7, "resize": whole}
        other = resolve_config({**base, "batch": 4, "seed": 1, "references": wanted}, "x")
        assert json.dumps(config) == json.dumps(other)


def test_a_config_without_net_names_the_key() -> None:
    with pytest.raises(UserError, match="the key 'net' is missing"):
        resolve_config({"layers": "all"}, "x")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("net: [", "is not valid YAML: .*line 2, column 1"),
        ("- net", "a config is a mapping of keys to values, got \\['net'\\]"),
        ("", "a config is a mapping of keys to values, got None"),
    ],
)
def test_bad_yaml(text: str, part: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text + "\n")
    with pytest.raises(UserError, match=part):
        read_config(str(path))


def test_a_missing_config_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read the config .*no\.yaml"):
        read_config(str(tmp_path / "no.yaml"))


def test_the_run_is_named_after_its_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"net": BASE["net"], "layers": {"conv1": None}}))
    config = read_config(str(path))
    assert config["run"] == "mine"
    assert read_config(json.dumps(config)) == config
    assert make_plan(config, lambda _: NET).folder == Path("results/mine")


@pytest.mark.parametrize(
    ("stem", "run"),
    [("my net", "my_net"), ("-a{1}", "_a_1_"), (".hidden", "_hidden"), ("ü.1", "ü.1")],
)
def test_any_file_names_a_run(stem: str, run: str, tmp_path: Path) -> None:
    path = tmp_path / f"{stem}.yaml"
    path.write_text(yaml.safe_dump({"net": BASE["net"], "layers": {"conv1": None}}))
    assert read_config(str(path))["run"] == run


def test_paths_are_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NET_FOLDER", "/nets")
    monkeypatch.setenv("HOME", "/home/me")
    section = {"prototxt": "${NET_FOLDER}/a.prototxt", "caffemodel": "~/$NET_FOLDER/b"}
    net = resolve_config({**BASE, "net": section, "layers": "all"}, "x")["net"]
    assert net == {"prototxt": "/nets/a.prototxt", "caffemodel": "/home/me//nets/b"}


def test_an_undefined_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NET_FOLDER", raising=False)
    section = {"prototxt": "${NET_FOLDER}/a", "caffemodel": "b"}
    assert "net.prototxt: the environment variable NET_FOLDER is not set" in message(net=section)


README = (ROOT / "config" / "README.md").read_text()
SCHEMA = yaml.safe_load((resources.files("cnnpref.planning") / "config.schema.yaml").read_text())


def test_the_readmes_tables_are_those_of_the_options() -> None:
    assert with_tables(README) == README
    assert [name for name in METHODS if f"<!-- options: {name} -->" not in README] == []


def test_the_readme_tells_every_key() -> None:
    parts = {name: SCHEMA["$defs"][name]["properties"] for name in ("net", "generator", "layer")}
    keys = {*SCHEMA["properties"], *parts["layer"]} - {"net"}
    keys |= {f"net.{key}" for key in parts["net"]}
    keys |= {f"generator.{key}" for key in parts["generator"] if key not in parts["net"]}
    assert {key for key in keys if f"`{key}`" not in README} == set()


def test_without_methods_it_is_spectral_and_options_of_others_are_refused() -> None:
    raw = {"net": BASE["net"], "layers": {"conv1": {"options": {"spectral": {"steps": 9}}}}}
    assert resolve_config(raw, "x")["methods"] == ["spectral"]
    for where in ({"options": {"gd": {}}}, {"layers": {"conv1": {"options": {"gd": {}}}}}):
        with pytest.raises(UserError, match=r"options of gd, but the key 'methods' is missing, .*"):
            resolve_config({**raw, **where}, "x")
        assert resolve_config({**raw, **where, "methods": ["lbfgs"]}, "x")
