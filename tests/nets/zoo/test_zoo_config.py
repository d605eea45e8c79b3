"""Nets of the zoo in a config: planned without their weights, computed with them."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from calling import call, fail, net_of, succeed
from places import ROOT
from planning import message
from serving import Page, Zoo

from cnnpref.jobs.devices import pick_device
from cnnpref.jobs.nets import Nets
from cnnpref.nets import describe, open_net, with_zoo_files
from cnnpref.planning.config import read_config, resolve_config
from cnnpref.planning.plan import make_plan
from cnnpref.results.unit_file import read_unit

pytestmark = pytest.mark.usefixtures("in_tmp_path")
Config = dict[str, Any]


@pytest.fixture
def config(zoo: Zoo, tiny_net: Path) -> Config:
    """Tiny and its generator by name, one unit by two methods."""
    generator = tiny_net / "generator.prototxt"
    zoo.site.pages["/maker"] = Page(generator.with_suffix(".caffemodel").read_bytes())
    zoo.add("maker", prototxt=str(generator), mean=[1, 2, 3], weights="maker.caffemodel")
    zoo.change("maker", addresses=["/maker"], kind="generator", input="feat", output="image")
    few = {"gd": {"iter_n": 2}, "dgn_gd": {"iter_n": 2}}
    sections = {"net": {"zoo": "tiny"}, "generator": {"zoo": "maker", "upper": 50}}
    wanted = {"layers": {"fc": {"units": 1}}, "methods": ["gd", "dgn_gd"], "options": few}
    return {"run": "zoo", **sections, **wanted}


def digests(config: Config) -> list[str]:
    return [series.digest for series in make_plan(resolve_config(config, "x"), describe).series]


def test_a_plan_is_the_same_before_and_after_the_weights_come(zoo: Zoo, config: Config) -> None:
    before = digests(config)
    assert zoo.site.requests == []
    succeed("fetch", "tiny", "maker")
    assert digests(config) == before


CHANGES = {
    "checksum": ("tiny", {"checksums": {"sha1": "0" * 40}}, 2),
    "mean": ("tiny", {"mean": [0, 0, 0]}, 2),
    "address of what has no checksum": ("maker", {"addresses": ["/elsewhere", "/maker"]}, 1),
    "output": ("maker", {"output": "draw"}, 1),
    "mirror": ("tiny", {"addresses": ["/elsewhere", "/tiny"]}, 0),
    "second address of what has no checksum": ("maker", {"addresses": ["/maker", "/b"]}, 0),
    "licence": ("tiny", {"licence": "MIT"}, 0),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_determines_the_images_is_in_the_keys(zoo: Zoo, config: Config, change: str) -> None:
    """How many of the two series, by gd and by dgn_gd, are other ones then."""
    name, told, changed = CHANGES[change]
    before = digests(config)
    zoo.change(name, **told)
    assert sum(a != b for a, b in zip(before, digests(config), strict=True)) == changed


def test_a_changed_prototxt_is_in_the_keys(zoo: Zoo, config: Config) -> None:
    before = digests(config)
    copy = zoo.folder / "copy.prototxt"
    copy.write_text(Path(zoo.entries["tiny"]["prototxt"]).read_text())
    zoo.change("tiny", prototxt="copy.prototxt")
    assert digests(config) == before
    copy.write_text(copy.read_text() + "# changed\n")
    assert not set(digests(config)) & set(before)


def test_units_come_from_the_fetched_weights_and_say_so(zoo: Zoo, config: Config) -> None:
    succeed("generate", config)
    assert {request.path for request in zoo.site.requests} == {"/tiny", "/maker"}
    units = [read_unit(path).attributes for path in Path("results").rglob("1.h5")]
    origins = {told["method"]: told["sha256"] for told in units}
    assert origins.keys() == {"gd", "dgn_gd"}
    for origin in origins.values():
        assert origin["net"]["zoo"] == "tiny"
        assert origin["net"]["caffemodel"] == sha256(zoo.content).hexdigest()
    drawn = origins["dgn_gd"]["generator"]
    maker = zoo.site.pages["/maker"].content
    assert drawn["caffemodel"] == sha256(maker).hexdigest()
    assert (drawn["input"], drawn["output"], drawn["upper"]) == ("feat", "image", 50)


def test_pixels_need_no_generator(zoo: Zoo, config: Config) -> None:
    succeed("generate", config, "--method", "gd")
    assert {request.path for request in zoo.site.requests} == {"/tiny"}


def test_the_net_is_the_same_as_by_its_files(config: Config, tiny_net: Path) -> None:
    files = net_of(tiny_net)
    succeed("generate", config, "--method", "gd")
    by_files = {**config, "run": "files", "net": {**files, "mean": [104, 117, 123]}}
    succeed("generate", by_files, "--method", "gd")
    one, other = (read_unit(path) for path in Path("results").rglob("gd-*/1.h5"))
    assert (one.image == other.image).all()


def test_a_generator_brings_its_blobs_and_its_mean(config: Config) -> None:
    nets = Nets(resolve_config(config, "x"), pick_device("cpu"))
    generator = nets.generator
    assert (generator.input, generator.output, generator.upper) == ("feat", "image", 50)
    assert generator.space is not None
    assert generator.space.mean == (1, 2, 3)
    own = {"zoo": "maker", "output": "draw", "mean": [4, 5, 6]}
    nets = Nets(resolve_config({**config, "generator": own}, "x"), pick_device("cpu"))
    assert (nets.generator.output, nets.generator.space.mean) == ("draw", (4, 5, 6))


def test_weights_that_lie_elsewhere(zoo: Zoo, tiny_net: Path) -> None:
    path = tiny_net / "tiny.caffemodel"
    section = {"zoo": "tiny", "caffemodel": str(path)}
    assert describe(section).sha256["caffemodel"] == sha256(path.read_bytes()).hexdigest()
    assert open_net(section).name == "tiny"
    assert with_zoo_files(section)["caffemodel"] == str(path)
    assert zoo.site.requests == []


@pytest.mark.usefixtures("zoo")
def test_a_mean_of_ones_own() -> None:
    assert open_net({"zoo": "tiny"}).space.mean == (104, 117, 123)
    assert open_net({"zoo": "tiny", "mean": [1, 2, 3]}).space.mean == (1, 2, 3)


def test_info_fetches_nothing(zoo: Zoo, config: Config) -> None:
    listed = call("info", config)
    assert listed.exit_code == 0
    assert "fire/expand" in listed.stdout
    assert zoo.site.requests == []


def test_weights_that_cannot_be_had(zoo: Zoo, config: Config) -> None:
    del zoo.site.pages["/tiny"]
    assert f"get them by hand and put tiny.caffemodel as {zoo.weights};" in fail("generate", config)
    assert not Path("results").exists()


@pytest.mark.usefixtures("zoo")
def test_an_unknown_net_is_named() -> None:
    assert fail("generate", {"net": {"zoo": "alexnt"}, "layers": "all"}).startswith(
        "cnnpref: the zoo has no net 'alexnt' (did you mean 'alexnet' or "
    )


@pytest.mark.parametrize(
    ("section", "part"),
    [
        ({"zoo": 3}, "config: net.zoo: got 3; allowed: the name of a net"),
        ({"prototxt": "a"}, "the key 'caffemodel' in net is missing"),
        ({"zoo": "alexnet", "prototxt": "a"}, "allowed: with zoo no prototxt: the zoo has it"),
        ({"zoo": "alexnet", "prototxt": "a", "caffemodel": "b"}, "allowed: with zoo no prototxt"),
        ({"zoo": "alexnet", "weights": "w.pt"}, "the other keys go with torch"),
        ({}, "net: got {}; allowed: at least prototxt and caffemodel, or zoo"),
        ({"caffemodel": "b"}, "the key 'prototxt' in net is missing"),
    ],
)
def test_sections_that_are_none(section: Config, part: str) -> None:
    assert part in message(net=section)


def test_alexnet_is_planned_without_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CNNPREF_ZOO", raising=False)
    monkeypatch.setenv("CNNPREF_HOME", str(tmp_path / "empty"))
    plan = make_plan(read_config(str(ROOT / "config" / "alexnet.yaml")), describe)
    units = 96 + 256 + 384 + 384 + 256 + 4096 + 4096 + 1000
    assert plan.layers == ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")
    assert sum(len(series.units) for series in plan.series) == 4 * units == 42_272
    assert not (tmp_path / "empty").exists()
