"""Colours and spectra of images."""

from __future__ import annotations

import numpy as np
import pytest
from basics import refusal
from drawings import drawings
from picture_nature import Colours, Spectrum

from cnnpref.images.index import digest_of
from cnnpref.statistics.nature import Nature, nature

PICTURES = drawings(60)


@pytest.fixture(scope="module")
def found() -> Nature:
    return nature([(digest_of(p), p) for p in PICTURES], [(64, 64), (21, 30)])


def logits() -> np.ndarray:
    x = (PICTURES / 255).clip(1 / 64, 63 / 64)
    return np.log(x / (1 - x))


def test_components_whiten_the_logits(found: Nature) -> None:
    z = (logits().reshape(-1, 3) - found.mean) @ np.linalg.inv(found.components).T
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(z.T @ z / len(z), np.eye(3), atol=1e-9)
    assert (np.diff(np.linalg.norm(found.components, axis=0)) <= 0).all()


def test_magnitudes_are_those_of_the_components(found: Nature) -> None:
    z = (logits() - found.mean) @ np.linalg.inv(found.components).T
    spectrum = np.fft.rfft2(z, axes=(1, 2), norm="ortho")
    wanted = np.sqrt((np.abs(spectrum) ** 2).mean(0)).transpose(2, 0, 1)
    np.testing.assert_allclose(found.magnitude, wanted, rtol=1e-6, atol=1e-6)


def test_colours_and_spectra_are_those_of_the_benchmarks(found: Nature) -> None:
    colours, spectrum = Colours.of(PICTURES), Spectrum.of(PICTURES)
    np.testing.assert_allclose(found.rgb_mean, colours.mean)
    np.testing.assert_allclose(found.rgb_covariance, colours.covariance)
    assert found.distance_median == pytest.approx(colours.typical)
    np.testing.assert_allclose(found.spectra[64, 64], (spectrum.mean, spectrum.sd))
    assert len(found.spectra[21, 30][0]) <= 10


def test_one_image_is_not_enough() -> None:
    assert "at least 2" in refusal(nature, [(digest_of(PICTURES[0]), PICTURES[0])], [(64, 64)])


def test_any_number_of_channels() -> None:
    stack = np.random.default_rng(0).integers(0, 256, (20, 16, 16, 5), dtype=np.uint8)
    told = nature([(digest_of(p), p) for p in stack], [(16, 16)])
    assert told.components.shape == (5, 5)
    assert told.magnitude.shape == (5, 16, 9)
