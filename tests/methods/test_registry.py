"""A method is one file and its entry in the registry; options that come later move no results."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from calling import call, fail, succeed
from places import ROOT
from planning import plan
from sign_gd import SignGd
from torch import nn

import cnnpref
from cnnpref.errors import UserError
from cnnpref.methods import METHODS, GdOptions, keyed
from cnnpref.methods.options import Whole, option
from cnnpref.results.unit_file import read_unit


@pytest.fixture
def fifth() -> Iterator[None]:
    """A method more."""
    METHODS[SignGd.name] = SignGd()
    yield
    del METHODS[SignGd.name]


@pytest.mark.usefixtures("fifth", "in_tmp_path")
def test_a_method_of_one_file_goes_through_everything(tiny_config: dict[str, Any]) -> None:
    config = {**tiny_config, "methods": ["sign_gd", "gd"]}
    config["options"] = {**config["options"], "sign_gd": {"size": 2}}
    assert call("plan", config).stdout.count("sign_gd") == 2  # layers
    for command in ("generate", "collect", "scores", "sheet", "pages", "gallery", "share", "check"):
        succeed(command, config)
    units = list(Path("results").rglob("sign_gd-*/*.h5"))
    assert len(units) == 10
    unit = read_unit(units[0])
    assert unit.attributes["options"] == {
        "feature_weight": 1.0,
        "retries": 3,
        "revive": "all",
        "steps": 8,
        "size": 2.0,
    }
    assert unit.activation[-1] > unit.activation[0]
    assert len(unit.activation) == 8
    sheets = {path.name for path in Path("results/tiny/sheets/conv1").glob("*.png")}
    assert sheets == {"gd.png", "sign_gd.png"}
    assert "sign_gd" in Path("results/tiny/pages/conv1.html").read_text()
    told = fail("plan", {**config, "options": {"sign_gd": {"size": 256}}})
    assert "options.sign_gd.size: got 256; allowed: a number in 0..255" in told


def test_the_rules_name_no_method() -> None:
    rules = [*(ROOT / "workflow").glob("rules/*.smk"), ROOT / "workflow" / "Snakefile"]
    texts = [path.read_text() for path in rules]
    assert [name for name in METHODS for text in texts if f'"{name}"' in text] == []


def test_options_of_another_method_are_refused() -> None:
    net = cnnpref.load_torch(nn.Sequential(nn.Conv2d(3, 2, 3)), (3, 8, 8))
    target = cnnpref.Objective.units(net, "0", [0])
    with pytest.raises(UserError, match="method 'lbfgs' takes LbfgsOptions, got GdOptions; make"):
        cnnpref.maximise(net, target, "lbfgs", GdOptions())


# As they were when the first results were made: a change here means that people's results are no
# longer found. An option that came later needs `neutral`.
DIGESTS = {
    ("conv1", "gd"): "ec8f19f008774062ce26ef3eb6f595b40660cb7f5e2f2c8216b53acb4e814cb5",
    ("conv1", "lbfgs"): "a314d5158a4a02bc7874840805f96e7a8c8b05fac0b34e71f24d5fc41b09b146",
    ("fc6", "gd"): "cb5923638470ff64c360ccccd62dd5a4b9dce28295a859c763122fbce49ed5af",
    ("fc6", "lbfgs"): "941642443b45839b64e2e3dc54570979fe55f080b4b72317dc0eaa45e30dc757",
}


def test_keys_are_those_of_the_results_that_people_have() -> None:
    once = {method: {"retries": 0, "revive": "dead"} for method in ("gd", "lbfgs")}
    reference = {"preset": "reference", "options": {"gd": {"iter_n": 7}}}
    layers = {"conv1": {"options": once, "sign": 1}, "fc6": reference}
    series = plan(layers=layers, methods=["gd", "lbfgs"]).series
    assert {(each.layer, each.method): each.digest for each in series} == DIGESTS


@dataclass(frozen=True, kw_only=True)
class LaterOptions(GdOptions):
    """With an option that came later."""

    warm_up: int = option(5, Whole(0), "iterations before it begins", neutral=0)


def test_an_option_that_came_later_names_results_only_where_it_does_something() -> None:
    assert keyed(LaterOptions(warm_up=0)) == keyed(GdOptions())
    assert keyed(LaterOptions()) == {**keyed(GdOptions()), "warm_up": 5}
