"""The original's helpers, against NumPy, SciPy and the gradients of nets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from basics import floats, refusal
from prototxts import layer, load
from scipy import ndimage, signal

import cnnpref
from cnnpref import utils
from cnnpref.nets.caffe import CaffeNet

Floats = npt.NDArray[np.float64]


def picture(height: int = 12, width: int = 12) -> Floats:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(float)


@pytest.fixture(scope="module")
def net(tiny_net: Path) -> CaffeNet:
    files = tiny_net / "tiny.prototxt", tiny_net / "tiny.caffemodel"
    return cnnpref.load_caffe(*files, mean=[104, 117, 123])


def test_a_picture_is_given_to_the_net_as_bgr_without_its_mean() -> None:
    red, green, blue = np.moveaxis(picture(4, 5), -1, 0)
    x = utils.img_preprocess(picture(4, 5))
    np.testing.assert_allclose(x, [blue - 104, green - 117, red - 123])
    assert (x.dtype, x.flags.c_contiguous) == (np.float32, True)
    np.testing.assert_allclose(
        utils.img_preprocess(picture(4, 5), np.float32([1, 2, 3]))[2], red - 3
    )


@pytest.mark.parametrize(
    "mean", [(104.0, 117.0, 123.0), [0, 0, 0], np.float32([[[9]], [[8]], [[7]]])]
)
def test_deprocessing_is_the_way_back_and_does_not_clip(mean: Any) -> None:
    wide = picture(4, 5) * 3 - 200
    np.testing.assert_allclose(
        utils.img_deprocess(utils.img_preprocess(wide, mean), mean), wide, atol=1e-4
    )


def test_images_of_another_layout_are_refused() -> None:
    assert "(H, W, 3) wanted, got (3, 4, 5)" in refusal(utils.img_preprocess, floats(3, 4, 5))
    assert "(3, H, W) wanted, got (4, 5, 3)" in refusal(utils.img_deprocess, floats(4, 5, 3))
    assert "(H, W, 3) wanted, got (4, 5)" in refusal(utils.img_preprocess, floats(4, 5))
    assert "3 values" in refusal(utils.img_preprocess, picture(), [1, 2])
    assert "(C, H, W) wanted, got (4, 5)" in refusal(utils.image_norm, floats(4, 5))


def test_normalising_stretches_to_0_and_255() -> None:
    shown = utils.normalise_img(np.array([[-3.0, 1.0], [5.0, 13.0]]))
    assert shown.tolist() == [[0, 63], [127, 255]]  # 63.75, 127.5
    assert shown.dtype == np.uint8
    assert utils.normalise_img(np.full((2, 2), 7.0)).tolist() == [[0, 0], [0, 0]]


def test_features_are_the_blobs_after_a_full_pass(net: CaffeNet) -> None:
    weight, bias = (w.numpy() for w in list(net.parameters())[:2])
    x = utils.img_preprocess(picture())
    conv = [
        sum(signal.correlate2d(x[c], kernel[c], "valid") for c in range(3)) + b
        for kernel, b in zip(weight, bias, strict=True)
    ]
    found = utils.get_cnn_features(net, picture(), ["fc", "conv1", "relu1", "data"])
    assert {name: values.shape for name, values in found.items()} == {
        "fc": (5,),
        "conv1": (6, 8, 8),
        "relu1": (6, 8, 8),
        "data": (3, 12, 12),
    }
    assert np.min(conv) < -10
    np.testing.assert_allclose(found["conv1"], np.maximum(conv, 0), atol=1e-3)
    np.testing.assert_array_equal(found["relu1"], found["conv1"])
    np.testing.assert_array_equal(found["data"], x)


def test_features_of_something_else_are_refused(net: CaffeNet) -> None:
    message = refusal(utils.get_cnn_features, net, picture(13, 12), ["fc"])
    assert "takes images (12, 12, 3), got (13, 12, 3)" in message
    message = refusal(utils.get_cnn_features, net, picture(), ["fc", "convl"])
    assert "unknown layer 'convl' (did you mean 'conv1'?)" in message
    vector = 'input: "z"\ninput_shape { dim: 1 dim: 4 }\n' + layer("r", "ReLU", "z")
    assert "takes [4], not images" in refusal(utils.get_cnn_features, load(vector), picture(), [])


def slope(loss: Callable[[Floats], float], x: Floats) -> Floats:
    """The gradient of a loss, by central differences."""
    steps = 1e-6 * np.eye(x.size).reshape(x.size, *x.shape)
    return np.array([(loss(x + s) - loss(x - s)) / 2e-6 for s in steps]).reshape(x.shape)


@pytest.mark.parametrize("p", [1, 2, 3, 2.5])
def test_p_norm(p: float) -> None:
    x = floats(3, 4, 5)
    loss, gradient = utils.p_norm(x, p)
    assert loss == pytest.approx((np.abs(x) ** p).sum())
    np.testing.assert_allclose(gradient, slope(lambda y: utils.p_norm(y, p)[0], x), atol=1e-5)
    assert utils.p_norm(np.array([3, -4]))[0] == 25


@pytest.mark.parametrize("beta", [1, 2, 3])
def test_total_variation(beta: float) -> None:
    x = 10 * floats(3, 4, 5)
    down, right = np.zeros_like(x), np.zeros_like(x)
    down[:, :-1], right[:, :, :-1] = np.diff(x, axis=1), np.diff(x, axis=2)
    loss, gradient = utils.TV_norm(x, beta)
    assert loss == pytest.approx((np.hypot(down, right) ** beta).sum())
    np.testing.assert_allclose(gradient, slope(lambda y: utils.TV_norm(y, beta)[0], x), 1e-4, 1e-9)


def test_total_variation_is_an_edge_length_by_default_and_flat_images_have_none() -> None:
    step = np.zeros((1, 3, 4))
    step[:, :, 2:] = 5
    assert utils.TV_norm(step)[0] == pytest.approx(3 * 5)
    loss, gradient = utils.TV_norm(np.full((3, 4, 4), 9.0))
    assert loss == 0
    assert not gradient.any()


def test_tiny_differences_count_as_a_hundred_thousandth() -> None:
    loss, gradient = utils.TV_norm([[[0.0, 1e-6]]])
    assert loss == pytest.approx(1e-6)
    np.testing.assert_allclose(gradient, [[[-0.1, 0.1]]])


def test_image_norm() -> None:
    x = floats(3, 4, 5)
    np.testing.assert_allclose(utils.image_norm(x), np.linalg.norm(x, axis=0))


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.5, 9.0])
def test_blur_is_scipys(sigma: float) -> None:
    x = floats(3, 9, 14)
    wanted = [ndimage.gaussian_filter(channel, sigma) for channel in x]
    np.testing.assert_allclose(utils.gaussian_blur(x, sigma), wanted, atol=1e-12)


@pytest.mark.parametrize("sigma", [0, -1])
def test_blur_by_nothing(sigma: float) -> None:
    np.testing.assert_array_equal(utils.gaussian_blur(floats(3, 4, 5), sigma), floats(3, 4, 5))


@pytest.mark.parametrize("pct", [0, 1, 7.3, 40, 100])
def test_clipping_extremes(pct: float) -> None:
    x = floats(3, 9, 7)
    wanted = np.clip(x, *np.percentile(x, [pct / 2, 100 - pct / 2]))
    np.testing.assert_allclose(utils.clip_extreme_pixel(x, pct), wanted, rtol=1e-6)


@pytest.mark.parametrize("pct", [0, 1, 7.3, 40, 100])
def test_clipping_small_norms_and_contributions(pct: float) -> None:
    x, gradient = floats(3, 9, 7), floats(3, 9, 7, seed=1)
    for given, product in [((x,), x), ((x, gradient), x * gradient)]:
        norm = np.linalg.norm(product, axis=0)
        wanted = np.where(norm < np.percentile(norm, pct), 0, x)
        clip = [utils.clip_small_norm_pixel, utils.clip_small_contribution_pixel][len(given) - 1]
        np.testing.assert_array_equal(clip(*given, pct), wanted)


def test_percentages_beyond_their_range_count_as_its_ends() -> None:
    x = floats(3, 4, 5)
    for clip in (utils.clip_extreme_pixel, utils.clip_small_norm_pixel):
        np.testing.assert_array_equal(clip(x, -5), clip(x, 0))
        np.testing.assert_array_equal(clip(x, 300), clip(x, 100))


def test_a_gradient_of_another_shape_is_refused() -> None:
    message = refusal(utils.clip_small_contribution_pixel, floats(3, 4, 5), floats(1, 4, 5))
    assert "(3, 4, 5) wanted, got (1, 4, 5)" in message


@pytest.mark.parametrize("kind", ["float32", "float64", "uint8"])
def test_arguments_stay_as_they_are(kind: str) -> None:
    given = (50 + 10 * floats(3, 6, 6)).astype(kind)
    given.flags.writeable = False
    for call in (
        lambda x: utils.gaussian_blur(x, 2),
        lambda x: utils.clip_extreme_pixel(x, 50),
        lambda x: utils.clip_small_norm_pixel(x, 50),
        lambda x: utils.clip_small_contribution_pixel(x, x, 50),
        lambda x: utils.img_deprocess(x),
        lambda x: utils.TV_norm(x)[1],
    ):
        assert not np.shares_memory(call(given), given)


def test_layers_are_sorted_as_the_net_has_them(net: CaffeNet) -> None:
    assert utils.sort_layer_list(net, ["fc", "data", "conv1"]) == ["data", "conv1", "fc"]
    assert utils.sort_layer_list(net, ["fc", "relu1", "conv1"]) == ["conv1", "relu1", "fc"]
    assert utils.sort_layer_list(net, []) == []
    assert "unknown blob 'fd' (did you mean 'fc'?)" in refusal(
        utils.sort_layer_list, net, ["conv1", "fd"]
    )


def test_the_deviation_of_features() -> None:
    x = floats(4, 5, 6) * np.arange(1, 5)[:, None, None]
    within = [np.sqrt(((c - c.mean()) ** 2).mean()) for c in x]
    assert utils.estimate_cnn_feat_std(x) == pytest.approx(np.mean(within))
    vector = floats(50) + 3
    for shape in [(50,), (1, 50), (50, 1, 1)]:
        found = utils.estimate_cnn_feat_std(vector.reshape(shape))
        assert found == pytest.approx(np.sqrt((vector**2).mean() - vector.mean() ** 2))
    for shape in [(5, 10), (1, 2, 5, 5), (0,), ()]:
        assert "wanted, got" in refusal(utils.estimate_cnn_feat_std, np.ones(shape))
