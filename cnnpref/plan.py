"""From a config to layer x unit x method, and to the path of every result."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, unquote

from cnnpref.config import Config
from cnnpref.errors import UserError, suggest
from cnnpref.options import METHODS, GdOptions, default_preset, resolve
from cnnpref.selection import Position, Shape, format_ranges, select_position, select_units

# Part of every key. Raise it when the same config gives other images or other unit files.
RESULTS_VERSION = 1

UNIT_RANKS = (1, 3)  # of the layers that have units: (C,) and (C, H, W)


class NetDescription(Protocol):
    """What a plan needs to know of a net.

    Attributes:
        layers: the shape of each layer without the batch: (C, H, W) or (C,).
        sha256: digests of the files that make the net what it is, by role.
    """

    @property
    def layers(self) -> Mapping[str, Shape]: ...
    @property
    def sha256(self) -> Mapping[str, str]: ...


@dataclass(frozen=True)
class Series:
    """The wanted units of one layer by one method: the unit files of one folder.

    Attributes:
        units: channels, ascending.
        position: "center", "all" or (y, x) in the layer's map.
        options: the method's options, presets and overrides applied.
        digest: hexadecimal sha256 over all that determines these images, but the unit.
        folder: where the unit files lie; its name ends in the first 8 digits of the digest.
    """

    layer: str
    method: str
    units: tuple[int, ...]
    position: Position
    options: GdOptions
    seed: int
    digest: str
    folder: Path

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


@dataclass(frozen=True)
class Plan:
    """All that a config asks for; `sha256` has a digest for each file of the net, by role."""

    config: Config
    series: tuple[Series, ...]
    sha256: Mapping[str, str]

    @cached_property
    def folder(self) -> Path:
        """The run's folder, `<results>/<run>`."""
        return _folder(self.config)

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """Names, in the order of the config."""
        return tuple(dict.fromkeys(each.layer for each in self.series))

    def select(self, layer: str | None = None, method: str | None = None) -> list[Series]:
        """The series of that layer and method; None stands for any.

        Raises:
            UserError: the config does not ask for that layer or method.
        """
        _require("layer", layer, self.layers)
        _require("method", method, self.config["methods"])
        return [
            each
            for each in self.series
            if layer in (None, each.layer) and method in (None, each.method)
        ]

    def batches(self) -> list[Batch]:
        """The units of all series in batches of the config's size."""
        size = int(self.config["batch"])
        wholes = [Batch(series, series.units) for series in self.series]
        return [batch for whole in wholes for batch in whole.split(size)]

    def layer_file(self, layer: str) -> Path:
        """The file with all units and methods of the layer."""
        return self.folder / "layers" / f"{escape(layer)}.h5"

    def sheet(self, layer: str, method: str | None = None) -> Path:
        """The contact sheet of the layer by one method, or with all methods side by side."""
        name = escape(layer)
        return self.folder / "sheets" / (f"{name}/{method}.png" if method else f"{name}.png")

    def page(self, layer: str) -> Path:
        """The layer's page in the gallery."""
        return self.folder / "pages" / f"{escape(layer)}.html"

    @property
    def index(self) -> Path:
        """The gallery's first page."""
        return self.folder / "index.html"


def _folder(config: Config) -> Path:
    return Path(config["results"], config["run"])


def make_plan(config: Config, net: NetDescription) -> Plan:
    """Expand a resolved config over the layers of its net.

    Raises:
        UserError: a layer, unit, position, method, preset or option that does not exist.
    """
    for method in config["methods"]:
        _require("method", method, METHODS)
    series = tuple(
        _series(config, net, layer, settings or {}, method)
        for layer, settings in _wanted_layers(config, net).items()
        for method in config["methods"]
    )
    return Plan(config, series, net.sha256)


def _wanted_layers(config: Config, net: NetDescription) -> Mapping[str, Any]:
    if config["layers"] == "all":
        return {layer: None for layer, shape in net.layers.items() if len(shape) in UNIT_RANKS}
    wanted: Mapping[str, Any] = config["layers"]
    for layer in wanted:
        if layer not in net.layers:
            raise UserError(
                f"config: layers: {config['net']['prototxt']} has no layer {layer!r}"
                f"{suggest(layer, net.layers)}; 'cnnpref info' lists its {len(net.layers)} layers"
            )
        if len(net.layers[layer]) not in UNIT_RANKS:
            raise UserError(
                f"config: layers: {layer!r} has the shape {net.layers[layer]};"
                " only layers of shape (C, H, W) or (C,) have units"
            )
    return wanted


def _series(
    config: Config, net: NetDescription, layer: str, settings: Mapping[str, Any], method: str
) -> Series:
    shape = net.layers[layer]
    position = select_position(layer, shape, settings.get("position", "center"))
    preset = settings.get("preset") or default_preset(shape, position)
    chosen = _options(config, layer, settings, method, preset)
    mean = config["net"].get("mean")
    digest = _digest(
        net=dict(net.sha256),
        mean=mean if isinstance(mean, list) else None,  # a file's digest is in net.sha256
        layer=layer,
        method=method,
        position=position,
        options=asdict(chosen),
        seed=int(config["seed"]),
    )
    return Series(
        layer,
        method,
        select_units(layer, shape[0], settings.get("units", "all")),
        position,
        chosen,
        int(config["seed"]),
        digest,
        _folder(config) / "units" / escape(layer) / f"{method}-{digest[:8]}",
    )


def _options(
    config: Config, layer: str, settings: Mapping[str, Any], method: str, preset: str
) -> GdOptions:
    overrides = {**config["options"].get(method, {}), **settings.get("options", {}).get(method, {})}
    try:
        return resolve(method, preset, overrides)
    except UserError as error:
        raise UserError(f"config: {method} of layer {layer!r}: {error}") from None


def _digest(**everything: Any) -> str:
    text = json.dumps({"version": RESULTS_VERSION, **everything}, sort_keys=True)
    return sha256(text.encode()).hexdigest()


def _require(kind: str, name: str | None, allowed: Iterable[str]) -> None:
    if name is not None and name not in allowed:
        raise UserError(
            f"no {kind} {name!r}{suggest(name, allowed)}; the config has {', '.join(allowed)}"
        )


def escape(layer: str) -> str:
    """A layer's name as the name of a file: '/' becomes '=', the unusual becomes %XX."""
    name = quote(layer, safe="/").replace("/", "=")
    return name.replace(".", "%2E") if not name.strip(".") else name


def unescape(name: str) -> str:
    """The layer whose `escape` is `name`."""
    return unquote(name.replace("=", "/"))
