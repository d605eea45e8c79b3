"""Pictures, masks and ranges by live pycaffe nets: those of the same files read by ourselves."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from basics import refusal
from live_caffe import FORCE, Classifier, Net, Pair, pair
from live_public import FLAVOURS, public
from places import SHARED
from small import GENERATOR, NET, random_net

import cnnpref
from cnnpref import (
    prefer_img_dgn_gd,
    prefer_img_dgn_lbfgs,
    prefer_img_gd,
    prefer_img_lbfgs,
    utils,
)
from cnnpref.ascent.variables import Generator
from cnnpref.jobs.act_range import activation_range
from cnnpref.methods import METHODS, resolve

RGB = np.random.default_rng(0).integers(0, 256, (20, 20, 3))
MEAN = np.float32([100, 110, 120])
SHORT: dict[str, dict[str, Any]] = {
    "spectral": {"steps": 6},
    "maco": {"steps": 6},
    "gd": {"iter_n": 6, "jitter_size": 2},
    "lbfgs": {"maxiter": 3},
    "dgn_gd": {"iter_n": 6},
    "dgn_lbfgs": {"maxiter": 3},
}
FACES = {
    "gd": prefer_img_gd.generate_image,
    "lbfgs": prefer_img_lbfgs.generate_image,
    "dgn_gd": prefer_img_dgn_gd.generate_image,
    "dgn_lbfgs": prefer_img_dgn_lbfgs.generate_image,
}


@pytest.fixture(scope="module")
def kind() -> str:
    return "rc3"


@pytest.fixture(scope="module")
def maker(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return pair(tmp_path_factory.mktemp("maker"), FORCE + GENERATOR, kind)


of_kinds = pytest.mark.parametrize("kind", ["rc3", "named", "bare"], scope="module")


def classifier(folder: Path, text: str = NET, **settings: Any) -> Classifier:
    ours = random_net(folder, text)
    return Classifier(folder / "net.prototxt", ours, **settings)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"mean": MEAN[:, None, None], "channel_swap": (2, 1, 0), "raw_scale": 255},
        {"mean": np.ones((3, 20, 20)) * MEAN[:, None, None], "raw_scale": 255},
        {"channel_swap": (0, 1, 2), "raw_scale": 255.0, "input_scale": 0.017},
        {"mean": MEAN[:, None, None] / 255, "raw_scale": 1, "channel_swap": (1, 2, 0)},
    ],
)
def test_a_classifier_says_how_it_wants_its_images(tmp_path: Path, settings: Any) -> None:
    live = classifier(tmp_path, **settings)
    rgb = RGB if "channel_swap" in settings else RGB[..., ::-1]  # BGR, unless it says otherwise
    wanted = live.preprocess(rgb / 255 if "raw_scale" in settings else rgb.astype(float))
    net = cnnpref.load_pycaffe(live)
    np.testing.assert_allclose(net.space.encode(RGB), wanted, rtol=1e-5, atol=1e-4)


def test_a_mean_image_is_averaged_and_another_mean_can_be_given(tmp_path: Path) -> None:
    mean = np.random.default_rng(1).uniform(90, 130, (3, 20, 20))
    live = classifier(tmp_path, mean=mean, channel_swap=(2, 1, 0))
    assert cnnpref.load_pycaffe(live).space.mean == pytest.approx(mean.mean((1, 2)))
    assert cnnpref.load_pycaffe(live, mean=[1, 2, 3]).space.mean == (1, 2, 3)
    assert "3 values or channels (BGR) wanted" in refusal(cnnpref.load_pycaffe, live, [1, 2])


@pytest.mark.parametrize(
    "thing", [None, "net.prototxt", torch.nn.ReLU(), SimpleNamespace(blobs={})]
)
def test_anything_else_is_refused(thing: Any) -> None:
    for door in (
        lambda: cnnpref.load_pycaffe(thing),
        lambda: cnnpref.Objective.units(thing, "fc", [0]),
        lambda: utils.sort_layer_list(thing, []),
        lambda: prefer_img_gd.generate_image(thing, "fc", np.ones(9)),
    ):
        message = refusal(door)
        assert f"wanted, got {type(thing).__name__!r}, which has no 'inputs'; load_caffe" in message


def test_a_net_with_too_little_is_refused(small: Pair) -> None:
    names = ("inputs", "blobs", "params", "layers", "_layer_names", "_blob_names", "_forward")
    old = SimpleNamespace(**{name: getattr(small.live, name) for name in names})
    message = refusal(cnnpref.load_pycaffe, old)
    assert message == (
        "a net of cnnpref or of pycaffe wanted, got 'SimpleNamespace', which has no 'forward'; "
        "load_caffe reads Caffe's files"
    )


def test_a_net_without_input_is_refused(tmp_path: Path) -> None:
    live = Net(tmp_path / "net.prototxt", random_net(tmp_path, FORCE + NET))
    live._inputs.clear()
    assert "make it of the deploy prototxt" in refusal(cnnpref.load_pycaffe, live)


@of_kinds
@pytest.mark.parametrize("layer", ["conv1", "fc"])
@pytest.mark.parametrize("method", FACES)
def test_generate_image(tmp_path: Path, maker: Pair, kind: str, method: str, layer: str) -> None:
    """Of live nets, a Classifier and a Net, given as they are: the image of the nets read."""
    ours = random_net(tmp_path, FORCE + NET)
    mean = np.array(ours.space.mean)[:, None, None]
    live = Classifier(tmp_path / "net.prototxt", ours, mean=mean, channel_swap=(2, 1, 0))
    shown = public(live, kind) if kind in FLAVOURS else live
    mask = np.zeros(ours.layers[layer])
    mask[(3, 4, 4) if layer == "conv1" else 3] = 1
    quiet = {"disp": False} if "lbfgs" in method else {"disp_every": 0}
    images = []
    for nets in ((maker.live, shown), (maker.ours, ours)):
        np.random.seed(3)  # noqa: NPY002  (from which the original draws)
        given = nets if method.startswith("dgn") else nets[1:]
        images.append(FACES[method](*given, layer, mask, **SHORT[method], **quiet))
    scale = np.abs(images[1]).max()
    np.testing.assert_allclose(images[0], images[1], atol=1e-4 * scale)


@of_kinds
@pytest.mark.parametrize("method", METHODS)
def test_maximise_in_batches(small: Pair, maker: Pair, method: str) -> None:
    units, options = [4, 0, 7], resolve(method, "higher", SHORT[method])
    solutions = []
    for net, generator in ((small.net, maker.live), (small.ours, maker.ours)):
        for chosen in (units, units[1:2]):
            objective = cnnpref.Objective.units(net, "fc", chosen)
            solutions.append(
                cnnpref.maximise(
                    net, objective, method, options, 5, Generator(generator), faithful=True
                )
            )
    together, alone, ours, _ = solutions
    scale = np.abs(ours.images).max()
    np.testing.assert_allclose(together.images, ours.images, atol=1e-4 * scale)
    np.testing.assert_allclose(together.images[1], alone.images[0], atol=1e-4 * scale)
    np.testing.assert_allclose(together.scores, ours.scores, rtol=1e-3)
    assert together.status == ours.status == ["ok", "ok", "ok"]


def test_a_lone_unit_is_as_in_a_batch(small: Pair) -> None:
    """Up to the order in which a product of matrices is summed: a live net is never run twice."""
    options = resolve("gd", "higher", SHORT["gd"])
    together, alone = (
        cnnpref.maximise(
            small.live, cnnpref.Objective.units(small.live, "fc", units), "gd", options
        )
        for units in ([2, 6, 3], [6])
    )
    np.testing.assert_allclose(together.images[1], alone.images[0], atol=1e-2)


@of_kinds
@pytest.mark.parametrize("position", ["center", (0, 0)])
def test_what_a_unit_does_not_see_is_left_blank(small: Pair, position: Any) -> None:
    options = resolve("gd", "higher", SHORT["gd"] | {"canvas": "field"})
    blank, whole = (np.array(small.ours.space.mean)[::-1], resolve("gd", "higher", SHORT["gd"]))
    found, wanted = (
        cnnpref.maximise(
            net, cnnpref.Objective.units(net, "conv2", [4, 7], position), "gd", options, 5
        ).images
        for net in (small.net, small.ours)
    )
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())
    outside = (found == blank.astype(np.float32)).all((0, 3))
    assert 0 < outside.sum() < outside.size
    objective = cnnpref.Objective.units(small.net, "conv2", [4], position)
    assert not (cnnpref.maximise(small.net, objective, "gd", whole).images == blank).all(3).any()


def test_units_without_a_gradient_look_at_the_whole_image(tmp_path: Path) -> None:
    """Behind a threshold pixels count, but gradients do not tell which."""
    text = FORCE + NET.replace('bottom: "data"', 'bottom: "cut"').replace(
        "layer { name",
        'layer { name: "cut" type: "Threshold" bottom: "data" top: "cut" } layer { name',
        1,
    )
    net = pair(tmp_path, text).net
    objective = cnnpref.Objective.units(net, "conv1", [4])
    assert net.readout("conv1", objective.index).box == (0, 0, 20, 20)


@of_kinds
def test_helpers(small: Pair, kind: str) -> None:
    ours, live, net = small
    relu1 = [] if kind == "bare" else ["relu1"]  # whose name it does not tell
    names = ["fc", "conv1", *relu1, "pool1", "data"]
    found, wanted = (utils.get_cnn_features(n, RGB, names) for n in (net, ours))
    for name in names:
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-5, atol=1e-4)
    masks = utils.create_feature_masks(utils.get_cnn_features(live, RGB, ["conv2"]))
    assert masks["conv2"].shape == (12, 4, 4)
    relu1 = relu1 if kind == "rc3" else []  # is in `layers`
    assert utils.sort_layer_list(live, ["fc", *relu1, "conv1"]) == ["conv1", *relu1, "fc"]
    images = np.random.default_rng(2).integers(0, 256, (3, 20, 20, 3))
    ranges = [activation_range(n, images, "conv2") for n in (net, ours)]
    np.testing.assert_allclose(*ranges, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("layer", ["conv1", "pool1", "conv2", "fc"])
def test_a_receptive_field_is_found_from_gradients(small: Pair, layer: str) -> None:
    """A lower estimate; here nothing hides, and it is the exact one."""
    for where in ("center", (0, 0), (2, 1)):
        assert small.net.receptive_field(layer, where) == small.ours.receptive_field(layer, where)
    mask = np.zeros(small.ours.layers[layer])
    mask[1] = 1
    fields = (utils.create_receptive_field_mask(n, layer, mask) for n in (small.live, small.ours))
    np.testing.assert_array_equal(*fields)


GOLDEN = pytest.mark.skipif(not (SHARED / "golden").is_dir(), reason="no recorded runs here")


class EnoughError(Exception):
    """Of a run, two iterations."""


@cache
def squeezenet(prototxt: str) -> Net:
    folder = SHARED / "nets"
    weights = folder / "squeezenet_v1.0.caffemodel"
    live = Net(folder / prototxt, cnnpref.load_caffe(folder / prototxt, weights))
    live._force_backward = True
    return live


@GOLDEN
@pytest.mark.parametrize(
    "prototxt", ["squeezenet_v1.0.prototxt", "squeezenet_v1.0_inplace.prototxt"]
)
@pytest.mark.parametrize(
    ("layer", "unit"), [("conv1", (10, 55, 55)), ("fire5/expand3x3", (20, 13, 13))]
)
def test_recorded_runs(prototxt: str, layer: str, unit: tuple[int, ...]) -> None:
    """Two iterations of the original on real Caffe."""
    recorded = np.load(SHARED / "golden" / f"sq_gd_{layer.replace('/', '_')}_default.npz")
    net = cnnpref.load_pycaffe(squeezenet(prototxt), mean=(104, 117, 123))
    mask = np.zeros(net.layers[layer])
    mask[unit] = 1
    seen = {}

    def watch(i: int, image: np.ndarray, activation: float) -> None:
        seen[i] = net.space.encode(image), activation
        if i == 2:
            raise EnoughError

    np.random.seed(1234)  # noqa: NPY002  (from which the original draws)
    with pytest.raises(EnoughError):
        prefer_img_gd.generate_image(
            net,
            layer,
            mask,
            initial_image=recorded["init_image"],
            iter_n=50,
            disp_every=0,
            callback=watch,
        )
    for i, (image, activation) in seen.items():
        wanted = recorded[f"img{i}"]
        assert np.linalg.norm(image - wanted) <= 2e-6 * np.linalg.norm(wanted)
        assert activation == pytest.approx(recorded["act_sum"][i - 1], rel=1e-5)
