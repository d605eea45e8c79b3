"""Live pycaffe nets: values and gradients are those of the same files read by ourselves.

The live nets are those of `live_caffe`, which have Caffe's interface and its ways.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from basics import noise, refusal
from live_caffe import FORCE, Aborted, Pair, pair
from live_checks import BRANCHED, check, gradient, image
from prototxts import layer
from small import GENERATOR, NET

import cnnpref
from cnnpref.methods import resolve
from cnnpref.nets.kernels import faithful_kernels

SHORT = {"iter_n": 3, "jitter_size": 2}
PRIVATE = ["rc3", "1.0"]
LINKED = [*PRIVATE, "linked", "linked 1.0"]  # the net tells what its layers read and write
ALL = [*LINKED, "named", "bare"]


def of_kinds(kinds: list[str]) -> pytest.MarkDecorator:
    """Run a test on live nets that show no more than these."""
    return pytest.mark.parametrize("kind", kinds, scope="module")


@pytest.fixture(scope="module")
def branched(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return pair(tmp_path_factory.mktemp("branched"), FORCE + BRANCHED, kind)


@pytest.fixture(autouse=True)
def kernels_of_caffe() -> Iterator[None]:
    """Gradients too come from the kernels that the stand-in uses."""
    with faithful_kernels():
        yield


@of_kinds(LINKED)
def test_layers_and_blobs_have_the_names_shapes_and_order_of_the_prototxt(
    small: Pair, branched: Pair
) -> None:
    for ours, _, net in (small, branched):
        assert list(net.layers.items()) == list(ours.layers.items())
        assert net.blobs == ours.blobs
        assert net.input_shape == ours.input_shape
    live = branched.live
    names = getattr(live, "_layer_names", live.top_names)
    assert [name for name in names if name.endswith("split")] == [
        "image_input_0_split",
        "trunk_relu_0_split",
    ]
    assert sum("split" in name for name in live.blobs) == 5


@of_kinds(ALL)
def test_activations_and_gradients_are_those_of_the_files(small: Pair, branched: Pair) -> None:
    """Whatever the batch is, and was before."""
    for ours, _, net in (small, branched):
        names = [name for name in ours.layers if name in net.layers and name != "best"]
        for rows, name in [(rows, name) for name in names for rows in (1, 3, 2)]:
            x, y = image(ours, rows, rows), image(ours, rows, rows)
            found, wanted = net.activations(x, name), ours.activations(y, name)
            check(found, wanted)
            check(gradient(found, x), gradient(wanted, y))


@of_kinds([*LINKED, "named"])
def test_a_layer_comes_before_its_relu_in_place_and_a_blob_after(small: Pair) -> None:
    x = image(small.net)
    conv = small.net.activations(x, "conv1")
    assert conv.min() < 0
    for rectified in (
        small.net.activations(x, "relu1"),
        small.net.forward({"data": x}, ["conv1"])["conv1"],
    ):
        check(rectified, conv.relu())
        check(gradient(rectified, x), gradient(conv.relu(), x))


@of_kinds([*LINKED, "named"])
def test_blobs_are_had_together_each_with_its_gradient(branched: Pair) -> None:
    names = ["trunk", "image", "joined", "second", "fc"]
    found, wanted = [], []
    for net, store in ((branched.net, found), (branched.ours, wanted)):
        x = image(net, 2)
        blobs = net.forward({"image": x}, names)
        assert list(blobs) == names
        store += [blobs[name] for name in names]
        store += [gradient(blobs[name], x) for name in names[1:]]
        store.append(gradient(torch.cat([blobs[name].flatten() for name in names]), x))
    for mine, theirs in zip(found, wanted, strict=True):
        check(mine, theirs)


@of_kinds(PRIVATE)
def test_a_pass_may_start_in_the_middle(branched: Pair) -> None:
    """What is given stands for what its layers would make; only what comes after it is run."""
    starts = [({"trunk": (4, 9, 8), "image": (3, 9, 8)}, "fc"), ({"sum": (4, 9, 8)}, "fc")]
    starts += [({"trunk": (4, 9, 8)}, "joined"), ({"first": (2, 9, 8)}, "first")]
    for shapes, wanted in starts:
        results = []
        for net in (branched.net, branched.ours):
            given = {n: noise(2, *s).requires_grad_() for n, s in shapes.items()}
            blob = net.forward(given, [wanted])[wanted]
            results.append([blob, *(gradient(blob, x) for x in given.values())])
        for mine, theirs in zip(*results, strict=True):
            check(mine, theirs)


@of_kinds(PRIVATE)
def test_what_is_needed_must_be_given(branched: Pair) -> None:
    forward, trunk = branched.net.forward, noise(1, 4, 9, 8)
    assert "give its input 'image' too" in refusal(forward, {"trunk": trunk}, ["fc"])
    first = noise(1, 2, 9, 8)
    assert "give its input 'second' too" in refusal(
        forward, {"image": image(branched.net), "first": first}, ["fc"]
    )
    message = refusal(forward, {"image": image(branched.net)}, ["trunc"])
    assert "unknown blob of 'pycaffe': 'trunc' (did you mean 'trunk'?)" in message
    assert "there are: image, trunk" in message
    assert "unknown layer 'trunk'" in refusal(branched.net.activations, trunk, "trunk")
    wide = noise(1, 3, 9, 9)
    message = refusal(branched.net.activations, wide, "fc")
    assert message == "blob 'image' of net 'pycaffe' has shape [3, 9, 8], got [3, 9, 9]"


@of_kinds(ALL)
def test_diffs_left_in_other_branches_do_not_count(branched: Pair) -> None:
    """By Caffe's own functions they do: this is what the adapter guards against."""
    ours, live, net = branched
    x, y = image(ours), image(ours)
    wanted = gradient(ours.activations(x, "left"), x)
    gradient(net.activations(y, "fc"), y)  # leaves diffs everywhere
    values = live.forward(end="left")["left"]
    live.blobs["left"].diff[...] = noise(*values.shape, seed=9).numpy()
    stale = torch.tensor(live.backward(start="left")["image"])
    assert (stale - wanted).abs().max() > 0.1 * wanted.abs().max()
    check(gradient(net.activations(y, "left"), y), wanted)


@of_kinds(ALL)
@pytest.mark.parametrize("between", ["pass", "batch", "layer", "user"])
def test_a_gradient_is_that_of_its_own_pass(small: Pair, between: str) -> None:
    """Other passes between a pass and its gradient do no harm."""
    ours, live, net = small
    x, y = image(ours, 2), image(ours, 2)
    found = net.activations(x, "norm1")
    if between == "layer":
        net.activations(x, "fc")
    elif between == "user":
        live.blobs["data"].data[...] = 7
        live.forward()
    else:
        net.activations(image(ours, 2 if between == "pass" else 3, 5), "norm1")
    check(gradient(found, x), gradient(ours.activations(y, "norm1"), y))


@of_kinds(["rc3", "linked", "named"])
def test_a_layer_in_place_goes_back_from_what_it_left_itself(kind: str, tmp_path: Path) -> None:
    """Not from what a later layer in place made of that, on the same image."""
    tanh = layer("tanh", "TanH", "conv1").replace('top: "tanh"', 'top: "conv1"')
    text = FORCE + NET.replace('layer { name: "relu1"', tanh + 'layer { name: "relu1"')
    ours, _, net = pair(tmp_path, text, kind)
    x = (image(net) / 500).detach().requires_grad_()
    found = net.activations(x, "tanh")
    net.activations(x, "fc")
    check(gradient(found, x), gradient(ours.activations(x, "tanh"), x))


@of_kinds(ALL)
def test_without_force_backward_the_first_gradient_says_so(kind: str, tmp_path: Path) -> None:
    ours, _, net = pair(tmp_path, NET, kind)
    x = image(net)
    found = net.activations(x, "conv2")
    check(found, ours.activations(x, "conv2"))
    message = refusal(gradient, found, x)
    assert message.startswith("Caffe computes no gradient of blob 'conv2' with respect to 'data';")
    assert "add `force_backward: true` to the prototxt, or" in message
    assert "load_caffe" in message


@of_kinds(ALL)
def test_a_gradient_that_is_zero_is_no_such_case(kind: str, tmp_path: Path) -> None:
    ours, _, net = pair(tmp_path, FORCE + NET, kind)
    for weight in ours.parameters():
        if weight.shape[0] == 9:
            weight[3] = 0  # and so it is in the live net
    x = image(net)
    dead = net.activations(x, "fc")[:, 3]
    assert not gradient(dead, x).any()


@of_kinds(LINKED)
def test_a_layer_that_caffe_cannot_go_back_through_is_told(branched: Pair) -> None:
    """Caffe would end the process."""
    with pytest.raises(Aborted):
        branched.live.backward()
    objective = cnnpref.Objective.masks(branched.live, "best", np.ones((1, 1, 1)))
    message = refusal(cnnpref.maximise, branched.live, objective)
    assert "the image cannot influence layer 'best' of 'pycaffe'" in message


@of_kinds(ALL)
def test_weights_are_those_of_the_live_net(small: Pair) -> None:
    ours, live, net = small
    for mine, theirs in zip(net.parameters(), ours.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    first = next(net.parameters())
    assert np.shares_memory(first.numpy(), live.params["conv1"][0].data)


DUMMY = 'layer { name: "side" type: "DummyData" top: "side" dummy_data_param '
DUMMY += "{ shape { dim: 1 dim: 9 } data_filler { value: 0.5 } } }\n"
FIXED = {
    "dummy": DUMMY + layer("end", "Eltwise", ["fc", "side"]),
    "weights": layer("end", "Scale", "fc", "scale_param { axis: 0 num_axes: 2 }"),
    "reshape": layer("end", "Reshape", "fc", "reshape_param { shape { dim: 1 dim: 9 } }"),
}


@of_kinds(ALL)
@pytest.mark.parametrize("end", FIXED)
def test_nothing_that_fixes_the_batch_ends_the_process(end: str, kind: str, tmp_path: Path) -> None:
    ours, live, net = pair(tmp_path, FORCE + NET + FIXED[end], kind)
    for rows in (1, 3):
        x, y = image(ours, rows), image(ours, rows)
        found, wanted = net.activations(x, "end"), ours.activations(y, "end")
        check(found, wanted)
        check(gradient(found, x), gradient(wanted, y))
    assert live.blobs["data"].data.shape[0] == 1
    units = [3, 1]
    together, alone = (
        cnnpref.maximise(
            net, cnnpref.Objective.units(net, "end", chosen), "gd", resolve("gd", "higher", SHORT)
        )
        for chosen in (units, units[:1])
    )
    assert np.array_equal(together.images[0], alone.images[0])


@of_kinds(LINKED)
def test_a_net_that_takes_any_batch_takes_all_images_at_once(small: Pair, branched: Pair) -> None:
    for _, live, net in (small, branched):
        net.activations(image(net, 5), "fc")
        assert live.blobs[live.inputs[0]].data.shape[0] == 5


@of_kinds([*PRIVATE, "linked 1.0", "named", "bare"])
def test_a_fixed_batch_is_kept(kind: str, tmp_path: Path) -> None:
    """Of Reshape's `dim: 1` Caffe makes an error that ends the process."""
    ours, live, net = pair(tmp_path, FORCE + GENERATOR, kind)
    live.blobs["feat"].reshape(2, 16)
    with pytest.raises(Aborted):
        live.forward()
    live.blobs["feat"].reshape(1, 16)
    z, y = noise(3, 16).requires_grad_(), noise(3, 16).requires_grad_()
    found, wanted = (n.forward({"feat": a}, ["made"])["made"] for n, a in ((net, z), (ours, y)))
    check(found, wanted)
    check(gradient(found, z), gradient(wanted, y))
    assert live.blobs["feat"].data.shape == (1, 16)


@of_kinds(ALL)
@pytest.mark.parametrize("rows", [1, 2, 3, 4])
def test_a_fixed_batch_of_several_is_filled_up(kind: str, tmp_path: Path, rows: int) -> None:
    text = FORCE + GENERATOR.replace("{ dim: 1 ", "{ dim: 2 ")
    ours, _, net = pair(tmp_path, text, kind)
    z, y = noise(rows, 16).requires_grad_(), noise(rows, 16).requires_grad_()
    found, wanted = (n.forward({"feat": a}, ["made"])["made"] for n, a in ((net, z), (ours, y)))
    check(found, wanted)
    check(gradient(found, z), gradient(wanted, y))
