"""The steps between updates, against NumPy, SciPy and exact gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from basics import noise
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from torch import Tensor

from cnnpref.ascent import pixel_ops as transform

Array = npt.NDArray[Any]

sizes = st.integers(1, 40)
seeds = st.integers(0, 2**32 - 1)
# Not what is nothing in float32, in which NumPy before 2.4 divides percents by 100.
percents = st.floats(0, 100, width=32, allow_subnormal=False)
SHAPE = (3, 3, 9, 8)


def pixels(*shape: int, seed: int = 0, ties: bool = False) -> Tensor:
    """Around 0; with `ties` there are equal ones and zeros."""
    values = 80 * noise(*shape, seed=seed)
    return torch.round(values / 40) * 40 if ties else values


def close(got: Tensor, want: Array, source: Tensor) -> None:
    """Within float32's rounding of the values that it was computed from: they may cancel."""
    rounding = 1e-6 * source.abs().max().item()
    np.testing.assert_allclose(got.numpy(), want, rtol=0, atol=rounding)


@settings(deadline=None)
@given(sizes, sizes, st.floats(0.05, 8), seeds)
@example(1, 1, 8.0, 0)
@example(2, 40, 8.0, 0)
@example(40, 3, 0.124999, 0)
def test_blur_is_scipys(height: int, width: int, sigma: float, seed: int) -> None:
    x = pixels(2, 2, height, width, seed=seed)
    wanted = gaussian_filter(x.double().numpy(), (0, 0, sigma, sigma))
    close(transform.blur(x, sigma), wanted, x)


@pytest.mark.parametrize("sigma", [0, -1, 0.12])
def test_a_blur_of_no_width_changes_nothing(sigma: float) -> None:
    assert torch.equal(transform.blur(pixels(*SHAPE), sigma), pixels(*SHAPE))


@settings(deadline=None)
@given(st.integers(1, 60), percents, seeds, st.booleans())
@example(1, 50.0, 0, False)
@example(2, 100.0, 0, False)
@example(7, 0.0, 0, True)
@example(30, 41.375, 15, True)
def test_percentile_is_numpys(number: int, pct: float, seed: int, ties: bool) -> None:
    values = pixels(3, number, seed=seed, ties=ties)
    wanted = np.percentile(values.double().numpy(), pct, axis=1)
    close(transform.percentile(values, pct), wanted, values)


@settings(deadline=None)
@given(sizes, sizes, st.lists(st.tuples(st.integers(-64, 64), st.integers(-64, 64)), min_size=1))
def test_shift_rolls_every_image_by_its_own_offset(
    height: int, width: int, offsets: list[tuple[int, int]]
) -> None:
    x = pixels(len(offsets), 2, height, width)
    right, down = torch.tensor(offsets).T
    moved = transform.shift(x, right, down)
    for image, got, (to_right, to_below) in zip(x, moved, offsets, strict=True):
        rolled = np.roll(image.numpy(), (to_below, to_right), axis=(1, 2))
        np.testing.assert_array_equal(got.numpy(), rolled)
    assert torch.equal(transform.shift(moved, -right, -down), x)


@settings(deadline=None)
@given(percents, seeds, st.booleans())
@example(0.0, 0, False)
@example(100.0, 0, False)
def test_extreme_values_are_clipped_image_by_image(pct: float, seed: int, ties: bool) -> None:
    x = pixels(*SHAPE, seed=seed, ties=ties)
    for image, got in zip(x.double().numpy(), transform.clip_extreme(x, pct), strict=True):
        close(got, np.clip(image, *np.percentile(image, [pct / 2, 100 - pct / 2])), x)


def small_by_numpy(image: Array, of: Array, pct: float) -> Array:
    """The pixels whose norm is strictly under the percentile, with 0 in all channels."""
    norm = np.sqrt((of**2).sum(0))
    return np.where(norm < np.percentile(norm, pct), 0, image)


@settings(deadline=None)
@given(percents, seeds, st.booleans())
@example(0.0, 0, False)
@example(100.0, 0, False)
@example(50.0, 0, True)
@example(100 / 71, 29, False)  # the place among 72 pixels is a hair below a whole number
def test_small_pixels_become_zero_image_by_image(pct: float, seed: int, ties: bool) -> None:
    x, gradient = (pixels(*SHAPE, seed=seed + i, ties=ties) for i in (0, 1))
    for of in (x, x * gradient):
        got = transform.clip_small(x, of, pct)
        for image, one, each in zip(x.numpy(), of.numpy(), got.numpy(), strict=True):
            np.testing.assert_array_equal(each, small_by_numpy(image, one, pct))


def gradient_of(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(x), x)
    return gradient


@pytest.mark.parametrize("p", [1, 1.5, 2, 3, 4.5])
def test_the_gradient_of_the_p_norm(p: float) -> None:
    x = pixels(*SHAPE).double()
    wanted = gradient_of(lambda v: (v.abs() ** p).sum(), x)
    torch.testing.assert_close(transform.p_norm_gradient(x, p), wanted)
    assert not transform.p_norm_gradient(torch.zeros(SHAPE), p).any()


def total_variation(x: Tensor, beta: float) -> Tensor:
    down, right = torch.zeros_like(x), torch.zeros_like(x)
    down[:, :, :-1] = x.diff(dim=2)
    right[:, :, :, :-1] = x.diff(dim=3)
    squares = down**2 + right**2
    return (squares[squares > 0] ** (beta / 2)).sum()


@pytest.mark.parametrize("beta", [1, 1.5, 2, 2.5, 3])
@pytest.mark.parametrize("shape", [SHAPE, (2, 3, 1, 5), (2, 3, 5, 1)])
def test_the_gradient_of_the_total_variation(shape: tuple[int, ...], beta: float) -> None:
    x = pixels(*shape).double()
    wanted = gradient_of(lambda v: total_variation(v, beta), x)
    torch.testing.assert_close(transform.tv_gradient(x, beta), wanted)


def test_small_variations_count_as_the_floor() -> None:
    x = torch.zeros(1, 1, 3, 3, dtype=torch.float64)
    assert not transform.tv_gradient(x, 1).any()
    x[..., 1, 1] = 1e-7  # its variation to the power of 1/2 is raised to 1e-5
    gradient = transform.tv_gradient(x, 1)
    assert gradient[0, 0, 0, 1].item() == pytest.approx(-1e-7 / 1e-5)
    assert gradient[0, 0, 1, 1].item() == pytest.approx(4e-7 / 1e-5)


def test_gradients_are_divided_by_their_mean_size_image_by_image() -> None:
    gradient = pixels(*SHAPE) * torch.tensor([1.0, 0.0, 1e-6])[:, None, None, None]
    got = transform.unit_mean(gradient)
    assert got.abs().mean((1, 2, 3)).tolist() == pytest.approx([1, 0, 1])
    close(got[2], pixels(*SHAPE)[2].numpy() / np.abs(pixels(*SHAPE)[2].numpy()).mean(), got[2])


STEPS: dict[str, Callable[[Tensor], Tensor]] = {
    "shift": lambda x: transform.shift(x, torch.full((len(x),), 3), torch.full((len(x),), -2)),
    "blur": lambda x: transform.blur(x, 1.5),
    "clip_extreme": lambda x: transform.clip_extreme(x, 10),
    "clip_small": lambda x: transform.clip_small(x, x, 30),
    "p_norm_gradient": lambda x: transform.p_norm_gradient(x, 3),
    "tv_gradient": lambda x: transform.tv_gradient(x, 1.5),
    "unit_mean": transform.unit_mean,
}


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_an_image_comes_out_the_same_whatever_is_beside_it(
    step: Callable[[Tensor], Tensor],
) -> None:
    x = pixels(5, *SHAPE[1:])
    x[3] = torch.nan
    together = step(x)
    for place in (0, 1, 2, 4):
        alone = step(x[place : place + 1])[0]
        assert alone.isfinite().all()
        close(together[place], alone.numpy(), alone)
