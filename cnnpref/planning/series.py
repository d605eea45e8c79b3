"""The units of one layer by one method: their files, and their batches."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from cnnpref.methods import METHODS, Method, Options
from cnnpref.planning.selection import format_ranges
from cnnpref.unit_map import Position

Origin = dict[str, dict[str, Any]]
"""The sections `net` and, if it matters, `generator`, each file replaced by its digest."""


@dataclass(frozen=True)
class Series:
    """The wanted units of one layer by one method: the unit files of one folder.

    Attributes:
        name: of sheets and groups of the layer file: the method; "gd-seed1" for a further seed.
        units: channels, ascending.
        position: in the layer's map: "center", "all", "cls", (y, x), a token ..., see `UnitMap`.
        options: the method's options, presets and overrides applied.
        origin: the nets that make the images, as the config has them, with digests for files.
        digest: hexadecimal sha256 over all that determines these images, but the unit.
        folder: where the unit files lie; its name ends in the first 8 digits of the digest.
        labels: of all units of the layer, or (); images and paths do not depend on them.
        sign: 1; or -1 for the images that the units like least.
        statistics: digest of the reference images whose statistics the method draws on; "": those
            that are built in, or none.
        keep_frames: how many images of an ascent its unit file keeps; they do not depend on it.
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
    labels: tuple[str, ...] = ()
    sign: int = 1
    statistics: str = ""
    keep_frames: int = 0

    @property
    def how(self) -> Method[Any]:
        """The method itself."""
        return METHODS[self.method]

    @property
    def fields(self) -> dict[str, str]:
        """What stands for it in the paths of files, see `files`: layer, method, name, key."""
        layer, key = escape(self.layer), self.digest[:8]
        return {"layer": layer, "method": self.method, "name": self.name, "key": key}

    def label(self, unit: int) -> str:
        """The unit's label; "" if it has none."""
        return self.labels[unit] if self.labels else ""

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
    def fields(self) -> dict[str, str]:
        """What stands for it in the paths of logs: those of its series, and its units as `unit`."""
        return {**self.series.fields, "unit": f"{self.units[0]}-{self.units[-1]}"}

    @property
    def identifier(self) -> str:
        """A name that no other batch of a plan has, of letters, digits and '_'."""
        fields = {**self.fields, "layer": self.series.layer}
        return re.sub(r"\W", "_", "{layer}_{method}_{key}_{unit}".format(**fields))

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
