"""The units of one layer by one method: their files, and their batches."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from cnnpref.methods import METHODS, Method, Options
from cnnpref.planning.selection import Position, format_ranges

Origin = dict[str, dict[str, Any]]
"""The sections `net` and, if it matters, `generator`, each file replaced by its digest."""


@dataclass(frozen=True)
class Series:
    """The wanted units of one layer by one method: the unit files of one folder.

    Attributes:
        name: of sheets and groups of the layer file: the method; "gd-seed1" for a further seed.
        units: channels, ascending.
        position: "center", "all" or (y, x) in the layer's map.
        options: the method's options, presets and overrides applied.
        origin: the nets that make the images, as the config has them, with digests for files.
        digest: hexadecimal sha256 over all that determines these images, but the unit.
        folder: where the unit files lie; its name ends in the first 8 digits of the digest.
    """

    layer: str
    method: str
    name: str
    units: tuple[int, ...]
    position: Position
    options: Options
    seed: int
    origin: Origin
    digest: str
    folder: Path

    @property
    def how(self) -> Method[Any]:
        """The method itself."""
        return METHODS[self.method]

    def path(self, unit: int) -> Path:
        """The unit's file."""
        return self.folder / f"{unit}.h5"

    def paths(self) -> list[Path]:
        """The files of all units, in their order."""
        return [self.path(unit) for unit in self.units]


@dataclass(frozen=True)
class Batch:
    """Some units of a series, ascending: what one job computes."""

    series: Series
    units: tuple[int, ...]

    def split(self, size: int) -> list[Batch]:
        """Batches of at most `size` units."""
        starts = range(0, len(self.units), size)
        return [Batch(self.series, self.units[start : start + size]) for start in starts]

    @property
    def ranges(self) -> str:
        """The units as text, such as "0-24,30"."""
        return format_ranges(self.units)

    @property
    def label(self) -> str:
        """A relative path of its own, for logs: layer, method and key, first and last unit."""
        name = f"{self.series.folder.parent.name}/{self.series.folder.name}"
        return f"{name}/{self.units[0]}-{self.units[-1]}"

    @property
    def identifier(self) -> str:
        """A name of its own, of letters, digits and '_'."""
        return re.sub(r"\W", "_", f"{self.series.layer}/{self.label.partition('/')[2]}")

    def paths(self) -> list[Path]:
        """The files of its units."""
        return [self.series.path(unit) for unit in self.units]


def escape(layer: str) -> str:
    """A layer's name as the name of a file: '/' becomes '=', the unusual becomes %XX."""
    name = quote(layer, safe="/").replace("/", "=")
    return name.replace(".", "%2E") if not name.strip(".") else name


def unescape(name: str) -> str:
    """The layer whose `escape` is `name`."""
    return unquote(name.replace("=", "/"))
