"""A layer's units by one method: the preset, the options and the key that follow from a config."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnnpref.errors import UserError, suggest
from cnnpref.methods import METHODS, Options, keyed, resolve
from cnnpref.planning.config import Config
from cnnpref.planning.files import UNITS
from cnnpref.planning.labels import Labels
from cnnpref.planning.selection import select_position
from cnnpref.planning.series import Origin, Series, escape

if TYPE_CHECKING:  # a plan is made without PyTorch
    from cnnpref.nets import NetDescription

# Part of every key. Raise it when the same config gives other images or other unit files.
RESULTS_VERSION = 2


def folder_of(config: Config) -> Path:
    """The run's folder, `<results>/<run>`."""
    return Path(config["results"], config["run"])


def make_series(
    config: Config,
    net: NetDescription,
    layer: str,
    settings: Mapping[str, Any],
    units: tuple[int, ...],
    labels: Labels,
    method: str,
    origin: Origin,
    seed: int,
    statistics: str,
) -> Series:
    """The units of a layer by one method and seed.

    Args:
        config: resolved.
        net: whose layer it is.
        layer: its name.
        settings: the config's for that layer.
        units: which of its units.
        labels: of all its units.
        method: its name.
        origin: what the images depend on of the nets' files.
        seed: of the random numbers.
        statistics: digest of the reference images whose statistics the method draws on, or "".

    Raises:
        UserError: a position, preset or option that does not exist.
    """
    where = net.maps[layer]
    position = select_position(layer, where, settings.get("position", "center"))
    sign = settings.get("sign", 1)
    default = METHODS[method].default_preset(where.units_first, position)
    preset = _preset(config, layer, settings.get("preset"), method) or default
    chosen = _options(config, layer, settings, method, preset)
    digest = _digest(
        origin=origin,
        layer=layer,
        method=method,
        position=position,
        options=keyed(chosen),
        seed=seed,
        **({"axis": where.axis} if where.axis else {}),
        **({"sign": sign} if sign != 1 else {}),  # it came later than the first results
        **({"statistics": statistics} if statistics else {}),
    )
    folder = folder_of(config) / UNITS.format(layer=escape(layer), method=method, key=digest[:8])
    name = method if seed == config["seed"] else f"{method}-seed{seed}"
    return Series(
        *(layer, method, name, units, position, chosen, seed, origin, digest, folder, labels, sign),
        statistics=statistics,
        keep_frames=config["keep_frames"],
    )


def _preset(config: Config, layer: str, preset: str | None, method: str) -> str | None:
    """The preset of a layer, if that method has it.

    Raises:
        UserError: no method of the config has it.
    """
    has = [name for name in config["methods"] if preset in METHODS[name].presets]
    if preset and not has:
        known = list(dict.fromkeys(p for name in config["methods"] for p in METHODS[name].presets))
        raise UserError(
            f"config: layers.{layer}.preset: no method of {', '.join(config['methods'])} has the"
            f" preset {preset!r}{suggest(preset, known)}; known are: {', '.join(known)}"
        )
    return preset if method in has else None


def _options(
    config: Config, layer: str, settings: Mapping[str, Any], method: str, preset: str
) -> Options:
    overrides = {**config["options"].get(method, {}), **settings.get("options", {}).get(method, {})}
    try:
        return resolve(method, preset, overrides)
    except UserError as error:
        raise UserError(f"config: {method} of layer {layer!r}: {error}") from None


def _digest(**everything: Any) -> str:
    text = json.dumps({"version": RESULTS_VERSION, **everything}, sort_keys=True)
    return sha256(text.encode()).hexdigest()
