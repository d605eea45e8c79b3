"""What needs no net: how natural a picture looks, how alike pictures are, how fast one was made."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from cnnpref.images.pictures import Bytes
from cnnpref.statistics.exact import Doubles
from cnnpref.statistics.nature import Nature, colour_moments, frechet, log_power

_ROWS = 256  # of the matrix of cosines that are in memory at once
_ALIKE = 0.01  # of 255: images of colours no farther apart are all alike, but for rounding
_RISE = 0.95  # of all that the activation rises


def spectrum(picture: Bytes, mean: Doubles, sd: Doubles) -> float:
    """How far the power in bands of frequency is from natural, in standard deviations: the RMS.

    Args:
        picture: (h, w, C).
        mean: of `log_power` over references of that size, (bands,).
        sd: their standard deviation.

    Returns:
        NaN where there are no bands, or one in which references do not vary.
    """
    if not len(sd) or not (sd > 0).all():
        return math.nan
    return float(np.sqrt((((log_power(picture) - mean) / sd) ** 2).mean()))


def colour(picture: Bytes, nature: Nature) -> float:
    """The Frechet distance of a picture's colours from the references', over a median image's.

    Args:
        picture: (h, w, C).
        nature: of the references.

    Returns:
        NaN where references have all the same colours.
    """
    if not nature.distance_median > _ALIKE:
        return math.nan
    moments = colour_moments(picture)
    return frechet(nature.rgb_mean, nature.rgb_covariance, *moments) / nature.distance_median


def diversity(pictures: Bytes) -> float:
    """Of pictures of one unit: 1 less the mean correlation of their pixels over all pairs.

    Args:
        pictures: (N, h, w, C), 2 or more.
    """
    x = pictures.reshape(len(pictures), -1).astype(np.float64)
    x -= x.mean(1, keepdims=True)
    x /= np.sqrt((x**2).sum(1, keepdims=True)).clip(1e-9)  # a blank picture is like no other
    pairs = np.triu_indices(len(x), 1)
    return max(0.0, float(1 - (x @ x.T)[pairs].mean()))


def most_alike(vectors: npt.NDArray[np.float32], most: int) -> Iterator[tuple[int, int, float]]:
    """The rows most like each row, by the cosine of the angle between them.

    Args:
        vectors: (N, n).
        most: for a row.

    Yields:
        A row, another one and their cosine, above 0; the other most like the row first.
    """
    lengths = np.linalg.norm(vectors, axis=1).clip(1e-30)
    for start in range(0, len(vectors), _ROWS):
        cosines = vectors[start : start + _ROWS] @ vectors.T / lengths
        for row, values in enumerate(cosines / lengths[start : start + _ROWS, None], start):
            values[row] = 0
            for other in np.argsort(-values, kind="stable")[:most].tolist():
                if values[other] > 0:
                    yield row, other, float(values[other])


def iterations_95(trace: npt.NDArray[np.floating]) -> int | None:
    """How many evaluations it took to 95 % of the rise from the first activation to the highest.

    Args:
        trace: activations, (T,).

    Returns:
        Counted from 1; None if the activation never rose.
    """
    x = np.asarray(trace, np.float64)
    if not np.isfinite(x).any() or not np.isfinite(x[0]) or not (top := np.nanmax(x)) > x[0]:
        return None
    return int(np.argmax(x >= x[0] + _RISE * (top - x[0]))) + 1
