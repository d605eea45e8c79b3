"""Layers of every kind from a config: plans, files, sheets, pages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from basics import refusal
from calling import call, succeed

from cnnpref.nets import describe
from cnnpref.planning.config import resolve_config
from cnnpref.planning.plan import Plan, make_plan
from cnnpref.results.layer_file import open_layer
from cnnpref.results.unit_file import read_unit

OPTIONS = {"gd": {"iter_n": 2}, "spectral": {"steps": 3}}


def net(kind: str, **args: Any) -> dict[str, Any]:
    """The section of a module of `helpers/kinds.py` or `helpers/modules.py`."""
    where = "modules" if kind == "Plain" else "kinds"
    return {"torch": f"{where}:{kind}", "input_shape": [3, 16, 16], "args": args}


def plan(section: Mapping[str, Any], layers: Any) -> Plan:
    return make_plan(resolve_config({"net": section, "layers": layers}, "run"), describe)


def test_tokens_go_all_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = {
        **{"run": "kinds", "net": net("Tokens"), "methods": ["spectral", "gd"]},
        "layers": {
            "block.mlp.0": {"units": [0, 11], "position": "cls"},
            "block.attention.0": {"units": 3, "position": 5},
            "patches": {"units": 1, "position": [1, 2]},
            "block": {"units": 1},
        },
        "options": OPTIONS,
    }
    for command in ("generate", "collect", "scores", "sheet", "pages", "gallery", "share", "check"):
        succeed(command, config)
    folder = tmp_path / "results" / "kinds"
    (path,) = folder.glob("units/block.attention.0/gd-*/3.h5")
    told = read_unit(path).attributes
    assert (told["position"], told["receptive_field"]) == (5, (0, 0, 16, 16))
    with open_layer(folder / "layers" / "block.mlp.0.h5") as methods:
        assert methods["spectral"].attributes["position"] == "cls"
    assert "cls" in (folder / "pages" / "block.mlp.0.html").read_text()


@pytest.mark.parametrize(
    ("kind", "layer", "position", "told"),
    [
        ("Tokens", "block", 17, "got 17; allowed: 'center', 'cls', 'all' or a token in 0..16"),
        ("Tokens", "block", [1, 2], "got [1, 2]; allowed: 'center', 'cls', 'all' or a token in"),
        ("Tokens", "head", "cls", "got 'cls'; 'head' has no map: leave it out"),
        ("Tokens", "patches", "cls", "got 'cls'; allowed: y in 0..3, x in 0..3; 'center' or"),
        ("Clip", "conv", [1, 2], "got [1, 2]; allowed: t in 0..4, y in 0..15, x in 0..15; 'cen"),
        ("Clip", "conv", "middle", "got 'middle'; allowed: 'center', 'all' or [y, x]; of tokens"),
    ],
)
def test_positions_that_do_not_exist(kind: str, layer: str, position: Any, told: str) -> None:
    assert told in refusal(plan, net(kind), {layer: {"position": position}})


@pytest.mark.parametrize(
    ("kind", "layer", "told"),
    [
        ("Tokens", "block.attention", "no layer 'block.attention' (did you mean 'block.attention."),
        ("Tokens", "block.attention", "it gives several values: the layers 'block.attention.0', "),
        ("KeptOff", "off", "'off' of kinds:KeptOff cannot be computed: it is computed without a"),
        ("OneWay", "fc", "cannot be computed: no gradient can be taken through it: not this way"),
        ("Spectrum", "fft", "its values are of torch.complex64, and have no gradient"),
        ("Windows", "inside", "which has no entry for each image"),
    ],
)
def test_what_is_no_layer_is_refused_by_name(kind: str, layer: str, told: str) -> None:
    assert told in refusal(plan, net(kind), {layer: {}})


LEFT_OUT = "layers: all leaves out what cannot be computed: "


def test_all_layers_but_those_that_cannot_be_computed() -> None:
    with pytest.warns(UserWarning, match=f"{LEFT_OUT}off; 'cnnpref info' says why"):
        assert plan(net("KeptOff"), "all").layers == ("on", "add", "mean", "fc")
    with pytest.warns(UserWarning, match=f"{LEFT_OUT}dropout, dropout_1, fc"):
        assert plan(net("Chance", way="dropout"), "all").layers == ("conv", "mean")
    with pytest.warns(UserWarning, match=f"{LEFT_OUT}7;"):
        small = plan({**net("Plain"), "input_shape": [3, 12, 12]}, "all")
    assert small.layers == ("0", "1", "2", "3", "4", "5", "6")
    assert "fft" not in plan(net("Spectrum"), "all").layers
    units = {each.layer: len(each.units) for each in plan(net("Tokens"), "all").series}
    assert (units["block"], units["block.mlp.0"], units["block.attention.1"]) == (8, 12, 17)


def test_chance_is_told_when_a_run_is_planned() -> None:
    told = "random numbers go into 'fc', first into 'dropout': if they change its values"
    with pytest.warns(UserWarning, match=told):
        plan(net("Chance", way="dropout"), {"fc": {}})


def test_info_tells_of_all() -> None:
    told = call("info", {"net": net("KeptOff"), "layers": "all"}).output
    assert re.search("off +cannot be computed: it is computed without a gradient", told)
    told = call("info", {"net": net("Chance", way="drop"), "layers": "all"}).output
    assert "drop " in told
    assert told.count("may depend on random numbers") == 3
