"""What the pixels of reference images are like: colours and spectrum.

Logits of pixels are those of value / 255, clipped to 1/64 .. 63/64.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cnnpref.errors import UserError
from cnnpref.images.pictures import Bytes
from cnnpref.statistics.exact import Doubles

MOST = 1000  # images that are looked at: the first by their digests, a random choice
BANDS = 10  # of spatial frequency, from one period in the picture to the finest
_LUMA = (0.299, 0.587, 0.114)
_EDGE = 1 / 64
_SHARES = (np.arange(256) / 255).clip(_EDGE, 1 - _EDGE)
_LOGITS = np.log(_SHARES / (1 - _SHARES))

Size = tuple[int, int]


@dataclass(frozen=True)
class Nature:
    """Of images (H, W, C).

    Attributes:
        mean: of the logits of each channel, (C,).
        components: as columns the principal components of the logits' covariance times the root of
            their variance, largest first, (C, C): logits = components @ z + mean has z of variance
            1.
        magnitude: root mean of |rfft2(z, norm="ortho")|^2 of each component, (C, H, W // 2 + 1).
        rgb_mean, rgb_covariance: of the values 0..255 over all pixels, (C,) and (C, C).
        distance_median: the median image's Frechet distance (`frechet`) from these.
        spectra: {(h, w): mean and standard deviation over images, (bands,) each, of the `log_power`
            of a part of that size, at a random place in each}.
    """

    mean: Doubles
    components: Doubles
    magnitude: Doubles
    rgb_mean: Doubles
    rgb_covariance: Doubles
    distance_median: float
    spectra: Mapping[Size, tuple[Doubles, Doubles]]


class _Sums:
    """Over images, one after the other."""

    def __init__(self, shape: tuple[int, ...], sizes: Collection[Size]) -> None:
        height, width, channels = shape
        self.count, self.pixels = 0, height * width
        self.logits, self.products = np.zeros(channels), np.zeros((channels, channels))
        self.spectrum = np.zeros((channels, channels, height, width // 2 + 1), np.complex128)
        self.means: list[Doubles] = []
        self.covariances: list[Doubles] = []
        self.powers: dict[Size, list[Doubles]] = {size: [] for size in sizes}

    def add(self, picture: Bytes, seed: int) -> None:
        """A picture (H, W, C)."""
        x = _LOGITS[picture]
        flat = x.reshape(-1, x.shape[-1])
        self.count += 1
        self.logits += flat.mean(0)
        self.products += flat.T @ flat / len(flat)
        f = np.fft.rfft2(np.moveaxis(x, -1, 0), norm="ortho")
        self.spectrum += f[:, None] * f[None].conj()
        mean, covariance = colour_moments(picture)
        self.means.append(mean)
        self.covariances.append(covariance)
        for (height, width), powers in self.powers.items():
            draw = np.random.default_rng([seed, height, width])
            y = draw.integers(0, picture.shape[0] - height + 1)
            left = draw.integers(0, picture.shape[1] - width + 1)
            powers.append(log_power(picture[y : y + height, left : left + width]))


def nature(pictures: Iterable[tuple[str, Bytes]], sizes: Iterable[Size]) -> Nature:
    """What pictures are like; the same for the same ones in the same order.

    Args:
        pictures: digests (hexadecimal) and pixels (H, W, C), all of one shape.
        sizes: (h, w) of parts whose spectrum is wanted.

    Raises:
        UserError: there are fewer than 2.
    """
    sums: _Sums | None = None
    for digest, picture in pictures:
        sums = sums or _Sums(picture.shape, sorted(set(sizes)))
        sums.add(picture, int(digest[:8], 16))
    if sums is None or sums.count < 2:
        raise UserError(
            f"references: at least 2 images that can be read are needed, got {int(bool(sums))};"
            " those with the same content count once: give more"
        )
    mean = sums.logits / sums.count
    components = _components(sums.products / sums.count - np.outer(mean, mean))
    means, covariances = np.stack(sums.means), np.stack(sums.covariances)
    rgb_mean = means.mean(0)
    rgb_covariance = covariances.mean(0) + np.cov(means.T, bias=True).reshape(covariances.shape[1:])
    pairs = zip(means, covariances, strict=True)
    distances = [frechet(rgb_mean, rgb_covariance, *pair) for pair in pairs]
    return Nature(
        mean,
        components,
        _magnitude(sums, mean, components),
        rgb_mean,
        rgb_covariance,
        float(np.median(distances)),
        {size: _mean_and_sd(np.stack(powers)) for size, powers in sums.powers.items()},
    )


def _mean_and_sd(rows: Doubles) -> tuple[Doubles, Doubles]:
    return rows.mean(0), rows.std(0)


def _components(covariance: Doubles) -> Doubles:
    """Columns: eigenvectors, their largest entry positive, times the root of their eigenvalues."""
    values, vectors = np.linalg.eigh(covariance)
    vectors, values = vectors[:, ::-1], values[::-1]
    largest = vectors[np.abs(vectors).argmax(0), np.arange(len(values))]
    return vectors * np.sign(largest) * np.sqrt(values.clip(1e-12))


def _magnitude(sums: _Sums, mean: Doubles, components: Doubles) -> Doubles:
    spectrum = sums.spectrum / sums.count
    spectrum[:, :, 0, 0] -= sums.pixels * np.outer(mean, mean)
    apart = np.linalg.inv(components)
    power = np.einsum("ki,kj,ijhw->khw", apart, apart, spectrum, optimize=True).real
    return np.sqrt(power.clip(0))


def colour_moments(picture: Bytes) -> tuple[Doubles, Doubles]:
    """Of the pixels of a picture (H, W, C): mean (C,) and covariance (C, C)."""
    x = picture.reshape(-1, picture.shape[-1]).astype(np.float64)
    mean = x.mean(0)
    x -= mean
    return mean, x.T @ x / len(x)


def frechet(mean: Doubles, covariance: Doubles, other: Doubles, spread: Doubles) -> float:
    """The Frechet distance of two normal distributions (Dowson and Landau 1982).

    Args:
        mean: of one, (C,).
        covariance: of one, (C, C).
        other: mean of the other.
        spread: covariance of the other.
    """
    root = _root(covariance)
    cross = _root(root @ spread @ root)
    squared = ((mean - other) ** 2).sum() + np.trace(covariance + spread - 2 * cross)
    return float(np.sqrt(max(0.0, squared)))


def _root(matrix: Doubles) -> Doubles:
    """Of a symmetric matrix without negative eigenvalues."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.sqrt(values.clip(0))) @ vectors.T)


def log_power(picture: npt.NDArray[np.uint8]) -> Doubles:
    """log10 of the mean power of a picture (h, w, C) in up to 10 bands of frequency.

    Of its brightness, under a Hann window; bands are log-spaced, those without a frequency are left
    out.
    """
    x = picture.astype(np.float64)
    grey = x @ np.array(_LUMA) if x.shape[-1] == 3 else x.mean(-1)
    height, width = grey.shape
    window = np.hanning(height + 2)[1:-1, None] * np.hanning(width + 2)[None, 1:-1]
    mean = (grey * window).sum() / window.sum()
    power = np.abs(np.fft.fft2((grey - mean) * window)) ** 2 / (window**2).sum()
    f = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    edges = np.geomspace(1 / max(height, width), 0.5, BANDS + 1)
    band = np.digitize(f, edges * (1 - 1e-9)) - 1
    sums = np.bincount(band.clip(-1, BANDS).ravel() + 1, power.ravel(), BANDS + 2)[1:-1]
    counts = np.bincount(band.clip(-1, BANDS).ravel() + 1, minlength=BANDS + 2)[1:-1]
    used = counts > 0
    return np.log10(sums[used] / counts[used] + 1 / 12)  # the power of rounding to 8 bits
