"""From a config to layer x unit x method, and to the path of every result."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnpref.errors import UserError, suggest
from cnnpref.methods import METHODS, find_method
from cnnpref.planning.config import Config
from cnnpref.planning.expansion import folder_of, make_series
from cnnpref.planning.files import Extent, File, Kind, expand, list_files, list_left, list_logs
from cnnpref.planning.labels import layer_labels
from cnnpref.planning.references import References, plan_references
from cnnpref.planning.scoring import Scored, Scoring, plan_scoring
from cnnpref.planning.selection import MOST, select_units
from cnnpref.planning.series import Origin, Series, escape
from cnnpref.planning.sheets import SheetOptions, page_mark
from cnnpref.unit_map import no_layer

if TYPE_CHECKING:  # a plan is made without PyTorch
    from cnnpref.nets import NetDescription

_SHOWN = 5  # names of layers in a message


Describe = Callable[[Mapping[str, Any]], "NetDescription"]
"""Tells what a section of the config, `net` or `generator`, says of a network."""


@dataclass(frozen=True)
class Plan:
    """All that a config asks for.

    Attributes:
        config: from `read_config` or `resolve_config`.
        series: layer by layer.
        nets: what there is to know of the sections `net` and, if a method needs it, `generator`.
        references: the reference images, if the config has any.
        scoring: how the pictures are scored.
    """

    config: Config
    series: tuple[Series, ...]
    nets: Mapping[str, NetDescription]
    references: References | None = None
    scoring: Scoring = field(default_factory=Scoring)

    @cached_property
    def folder(self) -> Path:
        """The run's folder, `<results>/<run>`."""
        return folder_of(self.config)

    @cached_property
    def sheets(self) -> SheetOptions:
        """How contact sheets look."""
        return SheetOptions.of(self.config.get("sheets", {}))

    @cached_property
    def _extent(self) -> Extent:
        return Extent(self.sheets, self.references, self.scoring.key)

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """Names, in the order of the config."""
        return tuple(dict.fromkeys(each.layer for each in self.series))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Methods, each with its further seeds: "gd", "gd-seed1", "lbfgs", "lbfgs-seed1"."""
        return tuple(dict.fromkeys(each.name for each in self.series))

    def select(self, layer: str | None = None, method: str | None = None) -> list[Series]:
        """The series of that layer and name of method ("gd", "gd-seed1"); None stands for any.

        Raises:
            UserError: the config does not ask for that layer or method.
        """
        _require("layer", layer, self.layers)
        _require("method", method, self.names)
        return [
            each
            for each in self.series
            if layer in (None, each.layer) and method in (None, each.name)
        ]

    def files(self) -> Iterator[File]:
        """Every file of the run, each after those that it is made of."""
        return list_files(self.folder, self.series, self._extent)

    def paths(self, kinds: Iterable[Kind], layer: str | None = None) -> list[Path]:
        """The files of these kinds, of a layer or (None) of the run."""
        series = self.select(layer)
        found = (expand(self.folder, kind, series, self._extent) for kind in kinds)
        return [path for paths in found for path in paths]

    def path(
        self, kind: Kind, layer: str = "", name: str = "", page: int = 1, unit: int | str = ""
    ) -> Path:
        """The file of a kind, of a layer, method's name, page, unit where it has one for each."""
        fields = {"layer": escape(layer), "name": name, "page": page_mark(page), "unit": unit}
        return self.folder / kind.path.format(**fields, **self._extent.keys)

    def label_files(self, layer: str) -> list[str]:
        """The text file that names a layer's units, if there is one."""
        wanted = {} if self.config["layers"] == "all" else self.config["layers"]
        source = (wanted.get(layer) or self.config).get("labels", self.config.get("labels"))
        is_labelled = any(each.labels for each in self.select(layer))
        return [source] if is_labelled and isinstance(source, str) else []

    def left(self) -> Iterator[Path]:
        """The files and folders that jobs leave beside those that Snakemake knows."""
        return list_left(self.folder, self.series, self._extent)

    def logs(self) -> Iterator[Path]:
        """The logs of the run's jobs, or the folders of those that have one for each batch."""
        return list_logs(self.folder, self.series, self._extent)


def make_plan(config: Config, describe: Describe) -> Plan:
    """Expand a resolved config over the layers of its net.

    Args:
        config: from `read_config` or `resolve_config`.
        describe: reads the files of a section of the config.

    Raises:
        UserError: a layer, unit, label, position, method, preset or option that does not exist; a
            generator is wanted and not given; or what `describe` raises.
    """
    for method in config["methods"]:
        find_method(method)
    nets = {name: describe(config[name]) for name in sections(config)}
    net = nets["net"]
    origins = {method: _origin(config, nets, method) for method in config["methods"]}
    layers = {layer: settings or {} for layer, settings in _wanted_layers(config, net).items()}
    counts = {layer: where.count for layer, where in net.maps.items()}
    labels = layer_labels(config, layers, net, counts)
    units = {
        layer: select_units(layer, counts[layer], settings.get("units", "all"), labels[layer])
        for layer, settings in layers.items()
    }
    _check_number(config, sum(map(len, units.values())))
    shapes = {layer: net.maps[layer].units_first for layer in layers}
    references = plan_references(config, net, {**config["net"], **net.sha256}, shapes)
    statistics = references.digest if references else ""
    series = tuple(
        make_series(
            config,
            net,
            layer,
            settings,
            units[layer],
            labels[layer],
            method,
            origin,
            seed,
            statistics if METHODS[method].uses_statistics else "",
        )
        for layer, settings in layers.items()
        for method, origin in origins.items()
        for seed in range(config["seed"], config["seed"] + config["seeds"])
    )
    firsts = {each.layer: each for each in reversed(series)}
    scored = {name: Scored(net.maps[name], firsts[name].position, labels[name]) for name in layers}
    scoring = plan_scoring(config, describe, scored, references)
    return Plan(config, series, nets, references, scoring)


def _check_number(config: Config, units: int) -> None:
    """Raise UserError if a run of so many units in all layers has too many files to handle."""
    methods, seeds = len(config["methods"]), config["seeds"]
    if units * methods * seeds > MOST:
        raise UserError(
            f"config: {units:,} units, {methods} methods and {seeds:,} seeds make"
            f" {units * methods * seeds:,} unit files; a run has at most {MOST:,}: choose fewer"
            " units, methods or seeds, or make several runs"
        )


def sections(config: Config) -> list[str]:
    """Those of the config whose nets make the images: net and, if a method needs it, generator.

    Raises:
        UserError: a method is unknown, or needs a generator that is not given.
    """
    method = next((m for m in config["methods"] if find_method(m).needs_generator), None)
    if method and "generator" not in config:
        raise UserError(
            f"config: method {method!r} needs the key 'generator': a network that makes images"
        )
    return ["net", "generator"] if method else ["net"]


def _origin(config: Config, nets: Mapping[str, NetDescription], method: str) -> Origin:
    names = ["net", "generator"] if METHODS[method].needs_generator else ["net"]
    return {name: {**config[name], **nets[name].sha256} for name in names}


def _wanted_layers(config: Config, net: NetDescription) -> Mapping[str, Any]:
    if config["layers"] == "all":
        if net.refused or net.random:
            warnings.warn(_left_out([*net.refused, *net.random]), UserWarning, stacklevel=3)
        return {layer: None for layer in net.maps if layer not in net.random}
    wanted: Mapping[str, Any] = config["layers"]
    name = next(config["net"][key] for key in ("prototxt", "zoo", "torch") if key in config["net"])
    for layer in wanted:
        if layer in net.refused:
            raise UserError(
                f"config: layers: {layer!r} of {name} cannot be computed: {net.refused[layer]}"
            )
        if layer not in net.layers:
            raise UserError(
                f"config: layers: {name} has no layer {layer!r}"
                f"{no_layer(layer, net.layers, net.unlisted)};"
                f" 'cnnpref info' lists its {len(net.layers)} layers"
            )
        if layer not in net.maps:
            raise UserError(
                f"config: layers: {layer!r} has the shape {net.layers[layer]};"
                " only layers of shape (C, H, W) or (C,) have units, and tokens of PyTorch nets"
            )
        if layer in net.random:
            warnings.warn(_drawn(layer, net), UserWarning, stacklevel=3)
    return wanted


def _drawn(layer: str, net: NetDescription) -> str:
    """What a config that names a layer which depends on chance is told, in one line."""
    return (
        f"config: layers: random numbers go into {layer!r}, first into {net.random[0]!r}: if they "
        "change its values it will be refused; for dropout in the code of a module give "
        "`training=self.training`, which is off here, or choose a layer before that"
    )


def _left_out(refused: Sequence[str]) -> str:
    """What `layers: all` says of the layers that cannot be computed, in one line."""
    shown, others = refused[:_SHOWN], len(refused) - _SHOWN
    more = f" and {others} more" if others > 0 else ""
    return (
        f"layers: all leaves out what cannot be computed: {', '.join(shown)}{more};"
        " 'cnnpref info' says why"
    )


def _require(kind: str, name: str | None, allowed: Iterable[str]) -> None:
    if name is not None and name not in allowed:
        raise UserError(
            f"no {kind} {name!r}{suggest(name, allowed)}; the config has {', '.join(allowed)}"
        )
