"""What natural images do to the units of a layer, from `references/<layer>.h5`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from cnnpref.results.forms import form_fault
from cnnpref.results.hdf5 import opened, reading
from cnnpref.unit_map import Position

_ADVICE = "delete it and make the references again"
_FORM = {  # of what is read here
    **{"max": "f U", "median": "f U", "sd": "f U", "max_sum?": "f U", "median_sum?": "f U"},
    **{"histogram_max": "i U b", "edges_max": "f U e", "sd_max": "f U", "images/name": "s I"},
    **{"top/image": "i U k", "top/activation": "f U k", "crops?": "v C"},
}
_PARTS = {  # what belongs to what may be missing
    ("quantile",): {"quantile/image": "i U q", "quantile/activation": "f U q"},
    ("nearest",): {"nearest": "i U n", "correlation": "f U n"},
    ("crops",): {"top/crop": "i U k"},
    ("crops", "quantile"): {"quantile/crop": "i U q"},
}


@dataclass(frozen=True)
class Favourite:
    """A reference image, and what it does to a unit.

    Attributes:
        name: of the image's file.
        activation: the highest one over the unit's map.
        crop: what the unit saw, a JPEG or PNG file; None if it was not stored.
    """

    name: str
    activation: float
    crop: bytes | None

    @property
    def suffix(self) -> str:
        """Of the crop's file."""
        return ".png" if self.crop and self.crop.startswith(b"\x89PNG") else ".jpg"


@dataclass(frozen=True)
class Histogram:
    """Of the highest activation of each image.

    Attributes:
        counts: (bins,) images.
        edges: (bins + 1,) activations, ascending.
        scale: their standard deviation.
    """

    counts: npt.NDArray[np.int64]
    edges: npt.NDArray[np.float64]
    scale: float


class References:
    """An open reference file; units are its rows.

    Args:
        file: open.
        path: of it.
        position: of the run's units: for "all", a unit's activation is the sum over its map.

    Attributes:
        count: how many images there were.
        is_comparable: whether histogram and favourites are on the scale of the run's activations;
            for sums over a map they are not.
    """

    def __init__(self, file: h5py.File, path: Path, position: Position) -> None:
        self._file, self._path = file, path
        kind = "_sum" if position == "all" and "max_sum" in file else ""
        self.is_comparable = not kind
        self._best, self._median = (file[name + kind][()] for name in ("max", "median"))
        self.count = int(file.attrs["count"])
        self._top = file["top/activation"][()]

    def __contains__(self, unit: int) -> bool:
        return 0 <= unit < len(self._best)

    def best(self, unit: int) -> float:
        """The highest activation by any image, on the scale of the run's activations."""
        return float(self._best[unit])

    def median(self, unit: int) -> float:
        """The median over images and places, on the same scale."""
        return float(self._median[unit])

    def gain(self, unit: int, activation: float) -> float:
        """How far an activation is above the median, in units of the best image's distance."""
        room = self.best(unit) - self.median(unit)
        return (activation - self.median(unit)) / room if room > 0 else float("nan")

    def is_dead(self, unit: int) -> bool:
        """Whether all images did the same to it."""
        return not float(self._row("sd", unit)) > 0

    def favourites(self, unit: int) -> list[Favourite]:
        """The images of the highest activations, best first."""
        return list(self._images("top", unit))

    def quantiles(self, unit: int) -> list[tuple[float, Favourite]]:
        """Images at chosen quantiles, in 0..1, of all images."""
        if "quantile" not in self._file:
            return []
        shares = np.asarray(_quantiles(self._file)).tolist()
        return list(zip(shares, self._images("quantile", unit), strict=False))

    def histogram(self, unit: int) -> Histogram:
        """Of the highest activation of each image."""
        counts, edges = self._row("histogram_max", unit), self._row("edges_max", unit)
        scale = float(self._row("sd_max", unit))
        return Histogram(counts.astype(np.int64), edges.astype(np.float64), scale)

    def nearest(self, unit: int) -> list[tuple[int, float]]:
        """The units whose activations are most alike over the images, with their correlation."""
        if "nearest" not in self._file:
            return []
        others, values = self._row("nearest", unit), self._row("correlation", unit)
        pairs = zip(others.tolist(), values.tolist(), strict=True)
        return [(other, r) for other, r in pairs if other >= 0 and np.isfinite(r)]

    def _images(self, group: str, unit: int) -> Iterator[Favourite]:
        images, values = self._row(f"{group}/image", unit), self._row(f"{group}/activation", unit)
        places = [-1] * len(images)
        if "crops" in self._file:
            places = self._row(f"{group}/crop", unit).tolist()
        for image, value, place in zip(images.tolist(), values, places, strict=True):
            if image >= 0:
                crop = None if place < 0 else self._row("crops", place).tobytes()
                yield Favourite(self._name(image), float(value), crop)

    def _name(self, image: int) -> str:
        name = self._row("images/name", image)
        return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)

    def _row(self, name: str, row: int) -> Any:
        """Of a dataset, read as it is asked for; raises UserError where it cannot be."""
        with reading(self._path, _ADVICE):
            return self._file[name][row]


@contextmanager
def open_references(path: Path, position: Position) -> Iterator[References | None]:
    """The references of a layer; None if it has none.

    Raises:
        UserError: the file is there and cannot be read.
    """
    if not path.exists():
        yield None
        return
    with opened(path, _fault, _ADVICE) as file:
        with reading(path, _ADVICE):
            found = References(file, path, position)
        yield found


def _fault(file: h5py.File) -> str | None:
    form = dict(_FORM)
    for names, parts in _PARTS.items():
        if all(name in file for name in names):
            form |= parts
    faults = (_histogram_fault, _quantile_fault, _place_fault)
    return form_fault(file, form) or next(filter(None, (find(file) for find in faults)), None)


def _histogram_fault(file: h5py.File) -> str | None:
    """What a histogram cannot be drawn without, if anything."""
    counts, edges = file["histogram_max"], file["edges_max"].shape[1]
    if edges != counts.shape[1] + 1:
        return f"edges_max are {edges}, of {counts.shape[1]} bins"
    return None if counts[()].any(1).all() else "histogram_max: a unit of no image"


def _quantile_fault(file: h5py.File) -> str | None:
    """What the quantiles are not, if there are any images of them."""
    if "quantile" not in file:
        return None
    found = np.asarray(_quantiles(file))
    wanted = file["quantile/image"].shape[1:]
    if found.dtype.kind != "f" or found.shape != wanted:
        return f"quantiles are {found.shape} of {found.dtype}, not floats of {wanted}"
    return None


def _quantiles(file: h5py.File) -> Any:
    return file["quantile"].attrs.get("quantiles", file.attrs.get("quantiles"))


def _place_fault(file: h5py.File) -> str | None:
    """Which numbers of images or crops there cannot be, if any."""
    counts = {"image": len(file["images/name"]), "crop": len(file.get("crops", ()))}
    for group in ("top", "quantile"):
        for name, count in counts.items():
            places = file.get(f"{group}/{name}")
            if places is not None and places.size and places[()].max() >= count:
                return f"{group}/{name}: there are {count}"
    return None
