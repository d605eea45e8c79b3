"""What natural images are like: activations, spectrum and colours of references."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

BATCH = 32
PLACES = 64  # of a map, drawn from each reference for the median
BANDS = 10  # of spatial frequency, from one period in the picture to the finest
LUMA = (0.299, 0.587, 0.114)


def batches(pictures: Bytes, size: int = BATCH) -> Iterator[tuple[int, Bytes]]:
    """Parts of a stack, with where they start."""
    for start in range(0, len(pictures), size):
        yield start, pictures[start : start + size]


def cut(references: Bytes, size: tuple[int, int]) -> Bytes:
    """A part of that size of each reference, at a random place."""
    height, width = size
    if references.shape[1:3] == size:
        return references
    draw = np.random.default_rng(0)
    ys = draw.integers(0, references.shape[1] - height + 1, len(references))
    xs = draw.integers(0, references.shape[2] - width + 1, len(references))
    parts = zip(references, ys, xs, strict=True)
    return np.stack([image[y : y + height, x : x + width] for image, y, x in parts])


@dataclass(frozen=True)
class Natural:
    """Activations of a layer's units over references: (C,) each.

    Attributes:
        best: the reference of the highest, where known.
    """

    median: Floats
    top: Floats
    mean: Floats
    sd: Floats
    best: npt.NDArray[np.int64] | None = None

    @classmethod
    def of(
        cls,
        activations: Callable[[Bytes], Tensor],
        references: Bytes,
        interior: tuple[slice, slice] | None,
    ) -> Natural:
        """Over all references; `interior`: the positions that count each, None: their sum."""
        draw = torch.Generator().manual_seed(0)
        sample, tops, sums, squares, count = [], [], 0.0, 0.0, 0
        for _, batch in batches(references):
            a = activations(batch).double()
            a = (
                a.flatten(2).sum(2)[..., None]
                if interior is None
                else a[:, :, *interior].flatten(2)
            )
            places = torch.randperm(a.shape[2], generator=draw)[:PLACES].to(a.device)
            sample.append(a[:, :, places].float().permute(0, 2, 1).flatten(0, 1).cpu())
            tops.append(a.amax(2).cpu())
            sums, squares = sums + a.sum((0, 2)).cpu(), squares + (a**2).sum((0, 2)).cpu()
            count += a.shape[0] * a.shape[2]
        mean = sums / count
        sd = (squares / count - mean**2).clamp(min=1e-12).sqrt()
        median = torch.cat(sample).median(0).values
        top = torch.cat(tops).max(0)
        parts = (t.double().numpy() for t in (median, top.values, mean, sd))
        return cls(*parts, best=top.indices.numpy())

    def gain(self, value: Floats, units: npt.NDArray[np.int64]) -> Floats:
        """Activations of these units, 0 at the median reference and 1 at the best."""
        median = self.median[units]
        return (value - median) / (self.top[units] - median)


@dataclass(frozen=True)
class Spectrum:
    """Mean and spread of log10 of the power, by bands of frequency: (bands,) each."""

    mean: Floats
    sd: Floats

    @classmethod
    def of(cls, references: Bytes) -> Spectrum:
        power = np.concatenate([log_power(batch) for _, batch in batches(references)])
        return cls(power.mean(0), power.std(0))

    def score(self, pictures: Bytes) -> Floats:
        """How far from the references, in their standard deviations: RMS over bands."""
        return np.sqrt((((log_power(pictures) - self.mean) / self.sd) ** 2).mean(1))


def log_power(pictures: Bytes) -> Floats:
    """log10 of the mean power in log-spaced bands of frequency: grey, Hann window, (N, bands)."""
    grey = pictures @ np.array(LUMA)
    height, width = grey.shape[1:]
    window = np.hanning(height + 2)[1:-1, None] * np.hanning(width + 2)[None, 1:-1]
    mean = (grey * window).sum((1, 2), keepdims=True) / window.sum()
    power = np.abs(np.fft.fft2((grey - mean) * window)) ** 2 / (window**2).sum()
    f = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    edges = np.geomspace(1 / max(height, width), 0.5, BANDS + 1)
    band = np.digitize(f, edges * (1 - 1e-9)) - 1
    used = [b for b in range(BANDS) if (band == b).any()]
    bands = [power[:, band == b].mean(1) for b in used]
    return np.log10(np.stack(bands, 1) + 1 / 12)  # the power of rounding to 8 bits


@dataclass(frozen=True)
class Colours:
    """Mean and covariance of RGB over all references; how far one of them is from these."""

    mean: Floats
    covariance: Floats
    typical: float

    @classmethod
    def of(cls, references: Bytes) -> Colours:
        mean, covariance = _moments(references)
        between = np.cov(mean.T, bias=True)
        pooled = cls(mean.mean(0), covariance.mean(0) + between, 1.0)
        return cls(pooled.mean, pooled.covariance, float(np.median(pooled.score(references))))

    def score(self, pictures: Bytes) -> Floats:
        """Frechet distance of each picture's colours to the references', 1 for a median one."""
        mean, covariance = _moments(pictures)
        root = _root(self.covariance)
        cross = _root(root @ covariance @ root)
        parts = self.covariance + covariance - 2 * cross
        apart = ((mean - self.mean) ** 2).sum(1) + np.trace(parts, axis1=1, axis2=2)
        return np.sqrt(apart.clip(min=0)) / self.typical


def _moments(pictures: Bytes) -> tuple[Floats, Floats]:
    """Of each picture's pixels: mean (N, 3) and covariance (N, 3, 3)."""
    means, covariances = [], []
    for _, batch in batches(pictures):
        x = batch.reshape(len(batch), -1, 3).astype(np.float64)
        mean = x.mean(1)
        x -= mean[:, None]
        means.append(mean)
        covariances.append(np.einsum("npi,npj->nij", x, x) / x.shape[1])
    return np.concatenate(means), np.concatenate(covariances)


def _root(matrices: Floats) -> Floats:
    """Square roots of symmetric matrices (..., 3, 3)."""
    values, vectors = np.linalg.eigh(matrices)
    return (vectors * np.sqrt(values.clip(min=0))[..., None, :]) @ np.swapaxes(vectors, -1, -2)
