"""Live pycaffe nets with the public interface alone: what they tell, and what is seen of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from basics import noise, refusal
from live_caffe import FORCE, Pair, pair
from live_checks import BRANCHED, check, gradient, image
from live_public import public
from prototxts import layer
from small import NET

import cnnpref
from cnnpref.nets.kernels import faithful_kernels


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return pair(tmp_path_factory.mktemp("named"), FORCE + BRANCHED, "named")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return pair(tmp_path_factory.mktemp("bare"), FORCE + BRANCHED, "bare")


def same(found: cnnpref.Net, wanted: cnnpref.Net, name: str, rows: int = 2) -> None:
    """The layer, and its gradient."""
    x, y = image(found, rows, rows), image(wanted, rows, rows)
    mine, theirs = found.activations(x, name), wanted.activations(y, name)
    with faithful_kernels():
        check(mine, theirs)
        check(gradient(mine, x), gradient(theirs, y))


def test_layers_are_those_with_a_blob_of_their_name(named: Pair, bare: Pair) -> None:
    ours, _, net = named
    others = {"stem": "trunk", "relu": "trunk", "cut": "first"}
    assert list(net.layers) == [name for name in ours.layers if name not in others]
    assert list(bare.net.layers) == list(ours.blobs)[1:]
    for name in set(ours.layers).intersection(bare.net.layers):
        assert net.layers[name] == bare.net.layers[name] == ours.layers[name]
    for each in (named, bare):
        assert list(each.net.blobs.items()) == list(ours.blobs.items())


@pytest.mark.parametrize("name", ["stem", "relu", "cut"])
def test_another_layer_that_is_named_is_seen_from_passes(named: Pair, name: str) -> None:
    ours, _, net = named
    assert net.layer_shape(name) == ours.layers[name]
    same(net, ours, name)
    same(net, ours, name, rows=1)


def test_a_layer_that_changes_nothing_is_unknown(tmp_path: Path) -> None:
    """A Dropout does, out of training; a ReLU of what is positive."""
    drop = layer("drop", "Dropout", "fc").replace('top: "drop"', 'top: "fc"')
    ours, _, net = pair(tmp_path, FORCE + NET + drop, "named")
    assert "unknown layer 'drop'" in refusal(net.activations, image(net), "drop")
    assert "unknown layer 'split'" in refusal(net.activations, image(net), "split")
    x, y = image(net), image(ours)
    blobs = [n.forward({"data": a}, ["fc"])["fc"] for n, a in ((net, x), (ours, y))]
    check(*blobs)
    check(gradient(blobs[0], x), gradient(blobs[1], y))


def test_what_an_input_holds_after_a_layer_in_place(tmp_path: Path) -> None:
    text = NET.replace('layer { name: "conv1"', '%slayer { name: "conv1"', 1)
    first = layer("relu0", "ReLU", "data").replace('top: "relu0"', 'top: "data"')
    for kind in ("named", "linked"):
        ours, _, net = pair(tmp_path, FORCE + text % first, kind)
        x, y = image(net, 2), image(ours, 2)
        blobs = [n.forward({"data": a}, ["data"])["data"] for n, a in ((net, x), (ours, y))]
        check(*blobs)
        check(gradient(blobs[0], x), gradient(blobs[1], y))


def test_without_names_a_blob_that_a_layer_changes_in_place_has_no_gradient(bare: Pair) -> None:
    ours, _, net = bare
    x, y = image(net), image(ours)
    for name in ours.blobs:
        check(net.forward({"image": x}, [name])[name], ours.forward({"image": y}, [name])[name])
    trunk = net.forward({"image": x}, ["trunk"])["trunk"]
    assert refusal(gradient, trunk, x) == (
        "the pycaffe net does not tell which layer writes its blob 'trunk' last: no gradient can "
        "be had; ask for a layer's, or read the net's files with load_caffe"
    )


def test_without_names_a_blob_may_be_taken_for_a_layer_until_it_is_used(bare: Pair) -> None:
    assert "trunk" in bare.net.layers
    assert refusal(bare.net.activations, image(bare.net), "trunk") == (
        "the pycaffe net, which does not tell the names of its layers, cannot run to one called "
        "'trunk', as its blob is; name another layer, or read the net's files with load_caffe"
    )


@pytest.mark.parametrize("kind", ["bare", "named", "linked"])
def test_passes_start_at_the_inputs(tmp_path: Path, kind: str) -> None:
    net = pair(tmp_path, FORCE + BRANCHED, kind).net
    assert refusal(net.forward, {"sum": noise(1, 4, 9, 8)}, ["fc"]) == (
        "the pycaffe net runs from its inputs alone, 'image', not from blob 'sum'; give an input, "
        "or read its files with load_caffe"
    )
    assert "give its input 'image' too" in refusal(net.forward, {}, ["left"])


@pytest.mark.parametrize("kind", ["bare", "linked"])
def test_of_two_inputs(tmp_path: Path, kind: str) -> None:
    """The one that a layer does not read is needed only where the net does not tell so."""
    more = 'input: "other" input_shape { dim: 1 dim: 9 }\n'
    more = NET.replace("layer {", more + "layer {", 1) + layer("both", "Eltwise", ["fc", "other"])
    ours, _, net = pair(tmp_path, FORCE + more, kind)
    given = {"data": noise(2, 3, 20, 20), "other": noise(2, 9)}
    check(net.forward(given, ["both"])["both"], ours.forward(given, ["both"])["both"])
    assert "give its input 'other' too" in refusal(net.forward, {"data": given["data"]}, ["both"])
    if kind == "linked":
        same(net, ours, "fc", rows=2)
    else:
        assert "give its input 'other' too" in refusal(net.activations, given["data"], "fc")


def test_stale_values_and_diffs_are_not_seen(named: Pair) -> None:
    """Of an earlier user of the live net, or an earlier look at it."""
    ours, live, _ = named
    for _ in range(2):
        net = cnnpref.load_pycaffe(live, ours.space.mean)
        x, y = image(net), image(ours)
        for name in ("trunk", "second", "fc"):
            found, wanted = (
                n.forward({"image": a}, [name])[name] for n, a in ((net, x), (ours, y))
            )
            check(found, wanted)
            with faithful_kernels():
                check(gradient(found, x), gradient(wanted, y))
        for blob in live.blobs.values():
            blob.data[...], blob.diff[...] = 7, 7


@pytest.mark.parametrize("error", [KeyError("fc"), KeyError("x"), ValueError("stem"), OSError()])
def test_no_other_failure_of_a_pass_is_passed_over(tmp_path: Path, error: Exception) -> None:
    """Than that to look up a blob of the layer's name, as pycaffe does after the pass."""
    _, live, net = pair(tmp_path, FORCE + BRANCHED, "named")
    net.activations(image(net), "stem")

    def forward(**_: Any) -> None:
        raise error

    live.forward = forward
    for name in ("fc", "stem"):
        with pytest.raises(type(error)):
            net.activations(image(net), name)


def test_a_classifier_needs_no_more_than_a_mean(tmp_path: Path) -> None:
    ours, live, _ = pair(tmp_path, FORCE + NET, "rc3")
    live.transformer = type("Transformer", (), {"mean": {"data": noise(3, 20, 20).numpy() + 110}})
    for kind in ("bare", "linked"):
        net = cnnpref.load_pycaffe(public(live, kind))
        wanted = torch.from_numpy(live.transformer.mean["data"]).mean((1, 2))
        assert net.space.mean == pytest.approx(wanted.tolist())
        assert net.space.order == ours.space.order
