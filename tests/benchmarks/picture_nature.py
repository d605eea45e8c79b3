"""What natural images are like: activations, spectrum and colours of references."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cnnpref.scoring.likeness import spectrum
from cnnpref.statistics.nature import colour_moments, frechet, log_power

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

BATCH = 32
PLACES = 64  # of a map, drawn from each reference for the median


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
        power = np.stack([log_power(picture) for picture in references])
        return cls(power.mean(0), power.std(0))

    def score(self, pictures: Bytes) -> Floats:
        """How far from the references, in their standard deviations: RMS over bands."""
        return np.array([spectrum(picture, self.mean, self.sd) for picture in pictures])


@dataclass(frozen=True)
class Colours:
    """Mean and covariance of RGB over all references; how far one of them is from these."""

    mean: Floats
    covariance: Floats
    typical: float

    @classmethod
    def of(cls, references: Bytes) -> Colours:
        moments = [colour_moments(picture) for picture in references]
        means, covariances = (np.stack(each) for each in zip(*moments, strict=True))
        mean, covariance = means.mean(0), covariances.mean(0) + np.cov(means.T, bias=True)
        apart = [frechet(mean, covariance, *each) for each in moments]
        return cls(mean, covariance, float(np.median(apart)))

    def score(self, pictures: Bytes) -> Floats:
        """Frechet distance of each picture's colours to the references', 1 for a median one."""
        moments = (colour_moments(picture) for picture in pictures)
        apart = [frechet(self.mean, self.covariance, *each) for each in moments]
        return np.array(apart) / self.typical
