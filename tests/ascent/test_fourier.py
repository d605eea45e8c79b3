"""Images as Fourier coefficients: the spectrum they stand for, and the limits of its bands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small import random_net

from cnnpref.ascent.canvas import Colours
from cnnpref.ascent.fourier import FourierImages
from cnnpref.ascent.spectrum import Limits, Spectrum
from cnnpref.errors import UserError
from cnnpref.nets.caffe import CaffeNet

CPU = torch.device("cpu")
SIZES = st.tuples(st.integers(4, 40), st.integers(4, 40))


def noise(spectrum: Spectrum, rows: int = 2, scale: float = 1.0) -> torch.Tensor:
    """Coefficients whose absolute squares are 1 in the mean, (rows, 3, h, w // 2 + 1, 2)."""
    generator = torch.Generator().manual_seed(0)
    shape = (rows, 3, *spectrum.shape, 2)
    return scale * np.sqrt(0.5) * torch.randn(shape, generator=generator)


def full_power(spectrum: Spectrum, x: torch.Tensor) -> np.ndarray:
    """The power of all h x w coefficients of each image, by NumPy's full transform."""
    image = np.fft.irfft2(torch.view_as_complex(x).numpy(), s=spectrum.size, norm="ortho")
    return np.abs(np.fft.fft2(image, norm="ortho")) ** 2


@given(SIZES)
def test_coefficients_of_size_one_make_logits_of_deviation_one(size: tuple[int, int]) -> None:
    spectrum = Spectrum(size, 1.25, CPU)
    power = (spectrum.multiplicity * spectrum.amplitude**2).double()
    power[0, 0] = 0
    assert float(power.sum()) / (size[0] * size[1]) == pytest.approx(1, rel=1e-4)
    assert float(spectrum.multiplicity.sum()) == size[0] * size[1]
    frequency = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n) for n in size), indexing="ij"))
    np.testing.assert_allclose(
        spectrum.frequency, frequency[:, : size[1] // 2 + 1], rtol=1e-6, atol=1e-7
    )


def test_the_amplitude_falls_with_the_frequency_by_its_exponent() -> None:
    spectrum = Spectrum((64, 64), 1.5, CPU)
    along = spectrum.amplitude[0, 1:32]
    ratios = along / along[0]
    np.testing.assert_allclose(ratios, np.arange(1, 32) ** -1.5, rtol=1e-5)


@pytest.mark.parametrize("size", [(64, 64), (31, 47), (9, 9)])
@pytest.mark.parametrize("limits", [Limits(0.4), Limits(0.5, fine=0.3), Limits(1.0, total=0.3)])
def test_no_band_has_more_power_than_its_limit(size: tuple[int, int], limits: Limits) -> None:
    spectrum = Spectrum(size, 1.25, CPU)
    x = noise(spectrum, scale=2.0)
    capped = spectrum.cap(x, limits)
    ratio = capped / x
    assert float(ratio.max()) <= 1 + 1e-6
    # all of a band by one factor, real and imaginary parts alike: phases stay
    assert torch.allclose(ratio[..., 0], ratio[..., 1], rtol=1e-4)
    weights = spectrum.multiplicity.flatten()
    power = (capped.square().sum(-1) * spectrum.multiplicity).flatten(2)
    bands = spectrum.bands
    for middle, places in zip(bands.middles, bands.places, strict=True):
        size_of_band = (power[:, :, places].sum(2) / weights[places].sum()).sqrt()
        assert float(size_of_band.max()) <= limits.band(middle) * (1 + 1e-5)
    if limits.total:
        shares = spectrum.amplitude.flatten()[1:] ** 2 / (size[0] * size[1])
        deviation = (power[:, :, 1:] * shares).sum(2).sqrt()
        np.testing.assert_allclose(deviation, limits.total, rtol=1e-4)


def test_what_is_below_the_limits_stays_as_it_is() -> None:
    spectrum = Spectrum((32, 32), 1.25, CPU)
    x = noise(spectrum, scale=0.1)
    assert torch.equal(spectrum.cap(x, Limits(0.5)), x)


@pytest.fixture
def images(tmp_path: Path) -> FourierImages:
    """Of a canvas of 13 x 14 in images of 20 x 20."""
    net = random_net(tmp_path)
    spectrum = Spectrum((13, 14), 1.25, net.device)
    colours = Colours.of_photographs(3)
    return FourierImages(net, (2, 3, 15, 17), (4, 5, 11, 12), spectrum, colours)


def test_an_image_given_is_the_image_that_starts(images: FourierImages) -> None:
    picture = np.random.RandomState(0).uniform(20, 235, (20, 20, 3))
    found = images.images(images.start([], [picture]))[0]
    np.testing.assert_allclose(found[2:15, 3:17], picture[2:15, 3:17], atol=1e-2)
    outside = np.ones((20, 20), bool)
    outside[2:15, 3:17] = False
    mean = images.net.space.decode(np.zeros((3, 20, 20), np.float32))
    np.testing.assert_array_equal(found[outside], mean[outside])


def test_the_net_sees_what_is_saved(images: FourierImages) -> None:
    x = images.start([np.random.RandomState(1)])
    saved = images.net.space.encode(images.images(x))
    np.testing.assert_allclose(images.net_input(x), saved[:, :, 4:11, 5:12], atol=1e-3)


def test_an_image_of_another_size_is_refused(images: FourierImages) -> None:
    with pytest.raises(UserError, match=r"must have shape \(20, 20, 3\), got \(19, 20, 3\)"):
        images.start([], [np.zeros((19, 20, 3))])


def test_the_start_is_a_unit_of_the_natural_spectrum(tmp_path: Path) -> None:
    net: CaffeNet = random_net(tmp_path)
    whole = (0, 0, 20, 20)
    spectrum = Spectrum((20, 20), 1.25, net.device)
    images = FourierImages(net, whole, whole, spectrum, Colours.of_photographs(3))
    x = images.start([np.random.RandomState(row) for row in range(20)])
    assert float(x.square().sum(-1).mean()) == pytest.approx(0.3**2, rel=0.05)


def test_grey_and_other_channels_have_no_colours() -> None:
    for channels in (1, 2, 5):
        colours = Colours.of_photographs(channels)
        assert colours.mean == (0.0,) * channels
        axes = np.array(colours.axes)
        np.testing.assert_array_equal(axes, np.diag(np.diag(axes)))


def test_chroma_changes_colours_and_not_brightness() -> None:
    plain, strong = (np.array(Colours.of_photographs(3).with_chroma(c).axes) for c in (1.0, 2.0))
    np.testing.assert_array_equal(plain[:, 0], strong[:, 0])
    np.testing.assert_allclose(2 * plain[:, 1:], strong[:, 1:])
