"""Pictures, and the spaces in which nets read them."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from cnnpref.display import clip_extreme, normalise
from cnnpref.input_space import InputSpace

Array = npt.NDArray[np.float32]

CAFFE = InputSpace(mean=(104.0, 117.0, 123.0))
STD = np.array([0.229, 0.224, 0.225])
TORCH = InputSpace((0, 1, 2), (123.675, 116.28, 103.53), tuple(1 / (255 * STD)))

channel = st.tuples(*[st.floats(0, 255, width=32)] * 3)
scale = st.tuples(*[st.floats(1e-3, 10)] * 3)
spaces = st.builds(InputSpace, st.sampled_from(list(permutations(range(3)))), channel, scale)
values = st.floats(-100, 400, width=32)
pictures = array_shapes(min_dims=2, max_dims=4, max_side=4).flatmap(
    lambda shape: arrays(np.float32, (*shape, 3), elements=values)
)


def test_caffe_reads_blue_first_less_the_mean() -> None:
    rgb = np.array([[[1, 2, 3], [255, 0, 0]]])  # one row of two pixels
    encoded = CAFFE.encode(rgb)
    assert encoded.dtype == np.float32
    assert encoded.tolist() == [[[3 - 104, -104]], [[2 - 117, -117]], [[1 - 123, 255 - 123]]]


def test_torch_reads_red_first_in_units_of_the_standard_deviation() -> None:
    rgb = np.random.default_rng(0).uniform(0, 255, (2, 5, 4, 3))
    wanted = (rgb / 255 - [0.485, 0.456, 0.406]) / STD
    np.testing.assert_allclose(TORCH.encode(rgb), np.moveaxis(wanted, -1, 1), atol=1e-6)


@settings(deadline=None)
@given(spaces, pictures)
def test_decoding_undoes_encoding(space: InputSpace, rgb: Array) -> None:
    encoded = space.encode(rgb)
    assert encoded.shape == (*rgb.shape[:-3], 3, *rgb.shape[-3:-1])
    decoded = space.decode(encoded)
    assert (encoded.dtype, decoded.dtype) == (np.float32, np.float32)
    assert encoded.flags.c_contiguous
    assert decoded.flags.c_contiguous
    np.testing.assert_allclose(decoded, rgb, rtol=0, atol=1e-4)


@settings(deadline=None)
@given(spaces, spaces, pictures)
def test_converting_is_decoding_and_encoding(
    one: InputSpace, other: InputSpace, rgb: Array
) -> None:
    x = one.encode(rgb)
    converted = other.convert(torch.from_numpy(x), one).numpy()
    np.testing.assert_allclose(converted, other.encode(one.decode(x)), rtol=1e-5, atol=1e-4)


@settings(deadline=None)
@given(spaces)
def test_bounds_are_black_and_white(space: InputSpace) -> None:
    low, high = space.bounds()
    assert low.shape == high.shape == (3,)
    for bound, colour in ((low, 0), (high, 255)):
        np.testing.assert_array_equal(bound, space.encode(np.full((1, 1, 3), colour))[:, 0, 0])


@settings(deadline=None)
@given(arrays(np.float32, array_shapes(max_dims=3), elements=values))
@example(np.array([[0, 1e-45]], np.float32))
def test_normalising_stretches_to_0_and_255(picture: Array) -> None:
    stretched = normalise(picture)
    assert stretched.dtype == np.float32
    if picture.min() == picture.max():
        assert not stretched.any()
        return
    assert stretched.min() == 0
    assert stretched.max() == pytest.approx(255, rel=1e-6)
    x = picture.astype(np.float64)
    wanted = (x - x.min()) / (x.max() - x.min()) * 255
    np.testing.assert_allclose(stretched, wanted, rtol=0, atol=255e-6)


@settings(deadline=None)
@given(arrays(np.float32, array_shapes(max_dims=3), elements=values), st.floats(0, 100))
@example(np.arange(5, dtype=np.float32), 50.0)
def test_clipping_ends_at_percentiles_of_the_whole_picture(picture: Array, pct: float) -> None:
    clipped = clip_extreme(picture, pct)
    assert clipped.dtype == np.float32
    low, high = np.percentile(picture.astype(np.float64), [pct / 2, 100 - pct / 2])
    np.testing.assert_allclose(clipped, np.clip(picture, low, high), rtol=0, atol=1e-4)


def test_clipping_by_hand() -> None:
    assert clip_extreme(np.arange(5), 50).tolist() == [1, 1, 2, 3, 3]
    assert clip_extreme(np.arange(5), 0).tolist() == [0, 1, 2, 3, 4]
    assert clip_extreme(np.arange(5), 100).tolist() == [2, 2, 2, 2, 2]
