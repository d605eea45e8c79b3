"""The zoo's own entries: that they are the published nets, and that the README says so."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
import yaml
from calling import call, fail
from places import ROOT
from serving import Zoo

import cnnpref
from cnnpref.ascent.variables import Features, Generator
from cnnpref.input_space import InputSpace
from cnnpref.nets.caffe import CaffeNet, read_graph
from cnnpref.nets.caffe.files.caffemodel import stored_layers
from cnnpref.nets.caffe.graph import Graph
from cnnpref.nets.zoo import Entry, find, read_zoo

README = (ROOT / "nets" / "README.md").read_text()
SQUEEZENET = ROOT.parent / "shared" / "nets" / "squeezenet_v1.0.prototxt"

# Published, or summed by hand from the tables of the papers.
PARAMETERS = {
    "alexnet": 60_965_224,
    "caffenet": 60_965_224,
    "places205": 60_965_224 - 795 * 4097,  # 205 classes for 1000
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
    "vgg_cnn_s": 102_908_520,
    "vgg_cnn_m": 102_908_520,
    "vgg_cnn_f": 60_834_536,
    "googlenet": 6_998_552,
    "squeezenet1.0": 1_248_424,
    "squeezenet1.1": 1_235_496,
    # 25,557,032 without the bias of conv1; then mean and variance of 26,560 channels, 53 scales
    "resnet50": 25_557_032 + 64 + 2 * 26_560 + 53,
    "generator_fc6": 56_097_891,
    "generator_fc7": 56_097_891,
    "generator_pool5": 12_702_307,
}

SHAPES = {
    "alexnet": {
        "conv1": (96, 55, 55),
        "conv2": (256, 27, 27),
        "pool5": (256, 6, 6),
        "fc8": (1000,),
    },
    "caffenet": {"norm1": (96, 27, 27), "conv5": (256, 13, 13), "fc7": (4096,), "prob": (1000,)},
    "places205": {"conv4": (384, 13, 13), "fc8": (205,)},
    "vgg16": {"conv1_2": (64, 224, 224), "conv5_3": (512, 14, 14), "pool5": (512, 7, 7)},
    "vgg19": {"conv3_4": (256, 56, 56), "conv5_4": (512, 14, 14), "fc6": (4096,)},
    "vgg_cnn_s": {"conv1": (96, 109, 109), "conv2": (256, 33, 33), "pool5": (512, 6, 6)},
    "vgg_cnn_m": {"conv1": (96, 109, 109), "conv2": (256, 26, 26), "pool5": (512, 6, 6)},
    "vgg_cnn_f": {"conv1": (64, 54, 54), "conv2": (256, 27, 27), "pool5": (256, 6, 6)},
    "googlenet": {
        "conv1/7x7_s2": (64, 112, 112),
        "inception_3a/output": (256, 28, 28),
        "inception_4e/output": (832, 14, 14),
        "inception_5b/output": (1024, 7, 7),
        "loss3/classifier": (1000,),
    },
    "squeezenet1.0": {"conv1": (96, 111, 111), "fire9/concat": (512, 13, 13)},
    "squeezenet1.1": {"conv1": (64, 113, 113), "conv10": (1000, 14, 14), "pool10": (1000, 1, 1)},
    "resnet50": {
        "conv1": (64, 112, 112),
        "res2c": (256, 56, 56),
        "res3d": (512, 28, 28),
        "res4f": (1024, 14, 14),
        "res5c_branch2b": (512, 7, 7),
        "fc1000": (1000,),
    },
    "generator_fc6": {"defc7": (4096,), "reshape": (256, 4, 4), "deconv0": (3, 256, 256)},
    "generator_fc7": {"defc5": (4096,), "conv5_1": (512, 8, 8), "deconv2": (64, 64, 64)},
    "generator_pool5": {"Rconv7": (512, 6, 6), "Rconv8": (512, 4, 4), "deconv0": (3, 256, 256)},
}

# What the authors' files call some of their weights: by these names they are loaded.
NAMES = {
    "googlenet": {"inception_3a/5x5_reduce", "inception_5b/pool_proj", "loss3/classifier"},
    "squeezenet1.0": {"fire2/squeeze1x1", "fire9/expand3x3", "conv10"},
    "resnet50": {"bn_conv1", "scale2a_branch1", "bn5c_branch2c", "res4f_branch2a", "fc1000"},
    "generator_fc6": {"defc7", "defc6", "defc5", "conv5_1", "deconv0"},
    "generator_pool5": {"Rconv6", "Rconv7", "Rconv8", "deconv5", "conv3_1"},
}


def graph(name: str) -> Graph:
    return read_graph(find(name).prototxt)


@pytest.fixture(autouse=True)
def own_nets_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CNNPREF_ZOO", raising=False)


def test_everything_is_tested() -> None:
    assert list(PARAMETERS) == list(SHAPES) == list(read_zoo())


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters(name: str) -> None:
    wanted = graph(name).wanted
    count = sum(math.prod(blob.shape) for blobs in wanted.values() for blob in blobs)
    assert count == PARAMETERS[name] == find(name).parameters


@pytest.mark.parametrize("name", SHAPES)
def test_shapes(name: str) -> None:
    shapes = graph(name).layer_shapes
    assert {layer: shapes[layer] for layer in SHAPES[name]} == SHAPES[name]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_weights(name: str) -> None:
    assert graph(name).wanted.keys() >= NAMES[name]


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_file_of_the_published_size_can_hold_them(name: str) -> None:
    """Weights are float32; names and fillers take little more."""
    entry = find(name)
    if entry.size is not None and name != "googlenet":  # whose file has two further classifiers
        assert 0 <= entry.size - 4 * entry.parameters < 30_000


def order(name: str) -> list[str]:
    return [layer for layer in graph(name).layers if layer[:4] in ("norm", "pool", "relu")]


def test_alexnet_normalises_before_it_pools_and_caffenet_after() -> None:
    assert order("alexnet")[:6] == ["relu1", "norm1", "pool1", "relu2", "norm2", "pool2"]
    assert order("caffenet")[:6] == ["relu1", "pool1", "norm1", "relu2", "pool2", "norm2"]
    assert order("places205") == order("caffenet")


def weight_shapes(net: Graph) -> dict[str, list[tuple[int, ...]]]:
    return {name: [blob.shape for blob in blobs] for name, blobs in net.wanted.items()}


needs_squeezenet = pytest.mark.skipif(not SQUEEZENET.exists(), reason="needs ../shared/nets")


@needs_squeezenet
def test_squeezenet_is_that_of_its_authors() -> None:
    ours, theirs = graph("squeezenet1.0"), read_graph(SQUEEZENET)
    assert weight_shapes(ours) == weight_shapes(theirs)
    relus = {name for name in theirs.layers if name.startswith("relu_")}
    shapes = {name: s for name, s in theirs.layer_shapes.items() if name not in relus}
    assert shapes.items() <= ours.layer_shapes.items()


@needs_squeezenet
@pytest.mark.filterwarnings("error")
def test_squeezenet_takes_its_weights_and_gives_the_same() -> None:
    entry, weights = find("squeezenet1.0"), SQUEEZENET.with_suffix(".caffemodel")
    nets = [
        cnnpref.load_caffe(prototxt, weights, mean=entry.mean)
        for prototxt in (entry.prototxt, SQUEEZENET)
    ]
    image = np.random.default_rng(0).uniform(0, 255, (1, 227, 227, 3)).astype(np.float32)
    x = torch.from_numpy(nets[0].space.encode(image))
    for layer in ("conv1", "fire5/expand3x3", "fire9/concat", "conv10"):
        torch.testing.assert_close(*(net.activations(x, layer) for net in nets))
    held = {name for name, blobs in stored_layers(weights).items() if blobs}
    assert held == graph("squeezenet1.0").wanted.keys()
    (first, *_) = stored_layers(weights)["conv1"]
    assert first.shape == (96, 3, 7, 7)


@pytest.mark.parametrize("name", [name for name in PARAMETERS if name.startswith("generator")])
@pytest.mark.parametrize("classifier", ["alexnet", "vgg19"])
def test_a_generators_image_can_be_looked_at(name: str, classifier: str) -> None:
    entry = find(name)
    nets = [CaffeNet(graph(n), InputSpace(), torch.device("cpu")) for n in (classifier, name)]
    features = Features(nets[0], Generator(nets[1], entry.input, entry.output))
    assert features.shape == ((256, 6, 6) if name == "generator_pool5" else (4096,))


def rows() -> dict[str, list[str]]:
    """The README's table of the zoo by name."""
    found = re.findall(r"^\| `([\w.]+)` \| (.*) \|$", README, re.MULTILINE)
    return {name: rest.split(" | ") for name, rest in found if name in read_zoo()}


def written(entry: Entry) -> list[str]:
    mean = ", ".join(f"{value:g}" if value % 1 == 0 else str(value) for value in entry.mean)
    sums = [f"{kind} `{digits}`" for kind, digits in entry.checksums.items()]
    checksum = "<br>".join(sums) or "none published"
    title = f"[{entry.title}]({entry.source}), {entry.paper}"
    return [title, f"`{entry.weights}`", checksum, entry.licence, mean]


def test_the_readme_lists_the_zoo() -> None:
    assert rows() == {name: written(entry) for name, entry in read_zoo().items()}


def test_the_listing(zoo: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNNPREF_ZOO", str(zoo.registry))
    zoo.cache.mkdir()
    (zoo.cache / "bvlc_alexnet.caffemodel").touch()
    lines = {line.split()[0]: line for line in call("nets").stdout.splitlines()}
    assert list(lines) == ["name", *PARAMETERS, "tiny"]
    assert re.search(r"classifier +60,965,224 +unrestricted +here +AlexNet,", lines["alexnet"])
    assert re.search(r"generator +56,097,891 +research only +- ", lines["generator_fc6"])
    assert re.search(r"classifier +unknown +unknown +-$", lines["tiny"])


def test_a_labs_own_registry_takes_precedence(zoo: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNNPREF_ZOO", str(zoo.registry))
    mine = {**zoo.entries["tiny"], "weights": "mine.caffemodel", "prototxt": "sub/mine.prototxt"}
    zoo.add("alexnet", **mine)
    zoo.change("alexnet")
    assert find("alexnet").prototxt == zoo.folder / "sub/mine.prototxt"
    assert find("alexnet").published == f"sha1:{zoo.entries['tiny']['checksums']['sha1']}"
    assert find("caffenet").weights == "bvlc_reference_caffenet.caffemodel"


BAD = {
    "no YAML": ("{", "cannot be read: while parsing"),
    "a list": ("- alexnet", ": it: ['alexnet'] is not of type 'object'"),
    "an unknown key": ({"adress": []}, ": tiny: Additional properties are not allowed ('adress'"),
    "no address": ({"addresses": []}, ": tiny.addresses: [] should be non-empty"),
    "no web address": ({"addresses": ["file:///etc/passwd"]}, "does not match '^https?://'"),
    "a path for a name": ({"weights": "../x"}, ": tiny.weights: '../x' does not match"),
    "a path for an archive": ({"archive": "/x.zip", "member": "m"}, "'/x.zip' does not match"),
    "no member": ({"archive": "x.zip"}, "'member' is a dependency of 'archive'"),
    "a wrong checksum": ({"checksums": {"sha1": "12"}}, ": tiny.checksums.sha1: '12' does not m"),
    "the weights of another": (
        {"weights": "bvlc_alexnet.caffemodel"},
        ": tiny and alexnet have the same weights, bvlc_alexnet.caffemodel; rename",
    ),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_registry_that_is_none(zoo: Zoo, monkeypatch: pytest.MonkeyPatch, bad: str) -> None:
    monkeypatch.setenv("CNNPREF_ZOO", str(zoo.registry))
    told, part = BAD[bad]
    entry = {**zoo.entries["tiny"], **told} if isinstance(told, dict) else None
    zoo.registry.write_text(yaml.safe_dump({"tiny": entry}) if entry else str(told))
    line = fail("nets")
    assert line.startswith(f"cnnpref: the registry of nets {zoo.registry}")
    assert part in line


def test_a_registry_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNNPREF_ZOO", "/nowhere/zoo.yaml")
    assert "the registry of nets /nowhere/zoo.yaml cannot be read: " in fail("nets")
