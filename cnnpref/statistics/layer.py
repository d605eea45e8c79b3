"""What reference images do to the units of a layer: the best, the distribution, the company."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from cnnpref.geometry import Shape
from cnnpref.statistics.exact import Doubles, mean_and_sd
from cnnpref.statistics.sketch import BINS, Counts, Distribution, Floats
from cnnpref.statistics.tally import Part, first_rows, merged_sums

Ints = npt.NDArray[np.int32]

QUANTILES = (0.5, 0.75, 0.9, 0.99)  # of the image maxima, of which an image is kept
NEAREST = 16  # units most alike

_UNITS = 64  # whose numbers of all images are in memory at a time
_IMAGES = 256  # whose numbers of all units are


@dataclass(frozen=True)
class Picks:
    """Chosen images of U units, k each.

    Attributes:
        image: places among all images, (U, k); -1: there are fewer images.
        position: y, x in the map, (U, k, 2); 0 and the number of a token; (0, 0) without a map;
            t, y, x in one of three axes.
        activation: there, (U, k); NaN where there is no image.
        box: top, left, bottom, right of what the unit sees there, in the picture as the net is
            shown it, (U, k, 4); half open; None before it is known.
        crop: which of the layer's crops shows that, (U, k); -1: none.
    """

    image: Ints
    position: Ints
    activation: Floats
    box: Ints | None = None
    crop: Ints | None = None


@dataclass(frozen=True)
class Moments:
    """Of U units, over the same number of values each: (U,)."""

    n: Doubles
    mean: Doubles
    sd: Doubles
    median: Doubles
    p99: Doubles
    max: Doubles


@dataclass(frozen=True)
class LayerReferences:
    """What reference images do to the units of a layer.

    Attributes:
        layer, shape: its name and its shape, units first: (C,), (C, H, W) ...
        images: names of all images, in the order of their digests.
        sha256: their digests.
        skipped: {name of an image that does not count: why}.
        top: images of the highest maxima over the map, best first.
        bottom: images of the lowest minima, lowest first.
        quantile: images whose maxima are nearest to the quantiles `QUANTILES` of all.
        values: of the activations at all positions of all images; the median and the 99 % are
            within 1/64 of a number.
        maxima: of the images' maxima over the map.
        sums: of the images' sums over the map.
        histogram, edges: of the activations at all positions, (C, 64) and (C, 65); inner edges are
            shifted a little from even ones, and the counts are exact for them.
        histogram_max, edges_max: of the maxima, with even edges.
        nearest, correlation: the units whose maxima vary most alike, best first, (C, 16); -1 and
            NaN where there are fewer units. A unit that never varies has correlation 0.
        crops: PNG or JPEG files of what units saw.
    """

    layer: str
    shape: Shape
    images: tuple[str, ...]
    sha256: tuple[str, ...]
    skipped: Mapping[str, str]
    top: Picks
    bottom: Picks
    quantile: Picks
    values: Moments
    maxima: Moments
    sums: Moments
    histogram: Counts
    edges: Floats
    histogram_max: Counts
    edges_max: Floats
    nearest: Ints
    correlation: Floats
    crops: Sequence[bytes] = field(default=())

    def picks(self) -> dict[str, Picks]:
        """By their names."""
        return {"top": self.top, "bottom": self.bottom, "quantile": self.quantile}

    def with_picks(self, picks: Mapping[str, Picks]) -> LayerReferences:
        """The same with other picks."""
        return replace(self, top=picks["top"], bottom=picks["bottom"], quantile=picks["quantile"])


@dataclass(frozen=True)
class Known:
    """The images of all parts, in the order of the parts."""

    images: tuple[str, ...]
    sha256: tuple[str, ...]
    skipped: Mapping[str, str]


def merge(
    layer: str, shape: Shape, parts: Sequence[Part], known: Known, top: int
) -> LayerReferences:
    """What all parts say of a layer; how images are divided among the parts changes nothing.

    Memory is bounded by the layer, and by 64 numbers for each image.

    Args:
        layer: its name.
        shape: of the layer.
        parts: at least one image in all; ordered, as are the images in each, by their digests.
        known: these images.
        top: how many of the best and of the lowest images to name.
    """
    blocks = [_of_units(shape, parts, units, top) for units in _slices(shape[0], _UNITS)]
    columns = {name: _joined([block[name] for block in blocks]) for name in blocks[0]}
    values, histogram, edges = _values(shape, parts, len(known.images), columns["maxima"].max)
    nearest, correlation = _alike(parts, columns["maxima"])
    return LayerReferences(
        **{"layer": layer, "shape": shape, **vars(known), **columns},
        bottom=_bottom(shape, parts, top),
        values=values,
        histogram=histogram,
        edges=edges,
        nearest=nearest,
        correlation=correlation,
    )


def _slices(count: int, step: int) -> Iterator[slice]:
    return (slice(first, min(first + step, count)) for first in range(0, count, step))


def _joined(several: Sequence[Any]) -> Any:
    """Arrays, or records of arrays, of consecutive units as one."""
    first = several[0]
    if isinstance(first, np.ndarray):
        return np.concatenate(several)
    names = [name for name, value in vars(first).items() if value is not None]
    return type(first)(**{n: np.concatenate([getattr(one, n) for one in several]) for n in names})


def _of_units(shape: Shape, parts: Sequence[Part], units: slice, top: int) -> dict[str, Any]:
    """What follows from each image's numbers, for some units."""
    maximum, at, total = (
        np.concatenate([np.asarray(getattr(part, name)[:, units]) for part in parts])
        for name in ("maximum", "maximum_at", "total")
    )
    ascending = np.sort(maximum, axis=0)
    best = first_rows(-maximum, top)
    ranks = [int(q * (len(maximum) - 1) + 0.5) for q in QUANTILES]
    rows = np.argsort(maximum, axis=0, kind="stable")[ranks]
    counts, edges = _histograms(ascending)
    return {
        "top": _picks(shape, maximum, at, best, top),
        "quantile": _picks(shape, maximum, at, rows, len(QUANTILES)),
        "maxima": _moments(maximum),
        "sums": _moments(total),
        "histogram_max": counts,
        "edges_max": edges,
    }


def _picks(
    shape: Shape, values: npt.NDArray[Any], at: npt.NDArray[Any], rows: npt.NDArray[Any], k: int
) -> Picks:
    """The picked rows (m, U) of some numbers (n, U), filled up to k."""
    found, places = (np.take_along_axis(x, rows, 0) for x in (values, at))
    return _padded(shape, rows, found, places, k)


def _padded(
    shape: Shape,
    image: npt.NDArray[Any],
    activation: npt.NDArray[Any],
    at: npt.NDArray[Any],
    k: int,
) -> Picks:
    missing = ((0, k - len(image)), (0, 0))
    axes = (*(1,) * (3 - len(shape)), *shape[1:])  # two at least
    position = np.stack(np.unravel_index(at.astype(np.int64), axes), -1)
    return Picks(
        np.pad(image, missing, constant_values=-1).T.astype(np.int32),
        np.pad(position, (*missing, (0, 0))).swapaxes(0, 1).astype(np.int32),
        np.pad(activation.astype(np.float32), missing, constant_values=np.nan).T.copy(),
    )


def _moments(values: npt.NDArray[Any]) -> Moments:
    """Of the columns of (n, U)."""
    x = np.ascontiguousarray(values.T, np.float64)  # a unit's numbers in a row: summed in one order
    mean = x.mean(1)
    sd = np.sqrt(((x - mean[:, None]) ** 2).mean(1))
    median, p99 = np.quantile(x, (0.5, 0.99), axis=1)
    return Moments(np.full(len(x), float(x.shape[1])), mean, sd, median, p99, x.max(1))


def _histograms(ascending: Floats) -> tuple[Counts, Floats]:
    """Of the columns of sorted numbers (n, U): even bins between the extremes."""
    pairs = []
    for column in ascending.T:
        edges = np.linspace(column[0], column[-1], BINS + 1, dtype=np.float32)
        edges[0], edges[-1] = column[0], column[-1]
        less = np.searchsorted(column, edges)
        less[-1] = len(column)
        pairs.append((np.diff(less).astype(np.uint64), edges))
    counts, all_edges = zip(*pairs, strict=True)
    return np.stack(counts), np.stack(all_edges)


def _bottom(shape: Shape, parts: Sequence[Part], top: int) -> Picks:
    """The lowest of what each part has kept."""
    starts = np.cumsum([0, *(len(part.maximum) for part in parts)])
    pairs = zip(parts, starts, strict=False)
    image = np.concatenate([np.asarray(part.bottom_row) + start for part, start in pairs])
    lowest, at = (
        np.concatenate([np.asarray(getattr(part, name)) for part in parts])
        for name in ("bottom", "bottom_at")
    )
    rows = first_rows(lowest, top)
    image, lowest, at = (np.take_along_axis(x, rows, 0) for x in (image, lowest, at))
    return _padded(shape, image, lowest, at, top)


def _values(
    shape: Shape, parts: Sequence[Part], images: int, highest: Doubles
) -> tuple[Moments, Counts, Floats]:
    """Of all positions of all images."""
    count = images * int(np.prod(shape[1:], dtype=int))
    sums = merged_sums(list(parts))
    mean, sd = mean_and_sd(sums[:, 0], sums[:, 1], count)
    bins = np.unique(np.concatenate([np.asarray(part.bins) for part in parts]))
    counts = np.zeros((shape[0], len(bins)), np.uint64)
    for part in parts:
        counts[:, np.searchsorted(bins, np.asarray(part.bins))] += np.asarray(part.counts)
    lowest = np.concatenate([np.asarray(part.bottom) for part in parts]).min(0)
    found = Distribution(bins, counts, lowest, highest.astype(np.float32))
    quantiles = found.quantile(0.5), found.quantile(0.99)
    moments = Moments(np.full(shape[0], float(count)), mean, sd, *quantiles, highest)
    return moments, *found.histogram()


def _alike(parts: Sequence[Part], maxima: Moments) -> tuple[Ints, Floats]:
    """Of each unit the others whose maxima correlate most with its own."""
    units, images = len(maxima.mean), int(maxima.n[0])
    products = np.zeros((units, units))
    spread = np.where(maxima.sd > 0, maxima.sd, np.inf)
    for rows in _stream(parts):
        z = (rows - maxima.mean) / spread
        products += z.T @ z
    products /= images
    np.fill_diagonal(products, -np.inf)
    order = np.argsort(-products, axis=1, kind="stable")[:, : min(NEAREST, units - 1)]
    found = np.take_along_axis(products, order, 1)
    missing = ((0, 0), (0, NEAREST - order.shape[1]))
    return (
        np.pad(order, missing, constant_values=-1).astype(np.int32),
        np.pad(found, missing, constant_values=np.nan).astype(np.float32),
    )


def _stream(parts: Sequence[Part]) -> Iterator[Doubles]:
    """The maxima of all images, 256 at a time, wherever parts end."""
    kept: list[Doubles] = []
    for part in parts:
        for rows in _slices(len(part.maximum), _IMAGES):
            kept.append(np.asarray(part.maximum[rows], np.float64))
            while sum(map(len, kept)) >= _IMAGES:
                whole = np.concatenate(kept)
                yield whole[:_IMAGES]
                kept = [whole[_IMAGES:]]
    if any(map(len, kept)):
        yield np.concatenate(kept)
