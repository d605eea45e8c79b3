"""The methods by name, and the options that presets and users choose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cnnpref.methods.base import Method
from cnnpref.methods.dgn_gd import DGN_GD
from cnnpref.methods.dgn_lbfgs import DGN_LBFGS
from cnnpref.methods.gd import GD
from cnnpref.methods.lbfgs import LBFGS
from cnnpref.methods.maco import MACO
from cnnpref.methods.options import Options, checked, require_known, schema
from cnnpref.methods.spectral import SPECTRAL

METHODS: dict[str, Method[Any]] = {
    each.name: each for each in (SPECTRAL, MACO, GD, LBFGS, DGN_GD, DGN_LBFGS)
}


def find_method(name: str) -> Method[Any]:
    """The method of that name.

    Raises:
        UserError: there is none; names the nearest.
    """
    require_known("method", name, METHODS)
    return METHODS[name]


def resolve(method: str, preset: str, overrides: Mapping[str, Any] | None = None) -> Options:
    """All options of a method: its defaults, then the preset's, then `overrides`.

    Args:
        method: its name.
        preset: "lower", for one position of a map, or "higher", for a class or a channel: the
            settings of the original's examples. "reference": the bare defaults of its functions.
        overrides: options by name.

    Raises:
        UserError: an unknown method, preset or option, or a value that it cannot take.
    """
    found = find_method(method)
    require_known("preset", preset, found.presets)
    chosen = {**found.presets[preset], **(overrides or {})}
    return found.options(**checked(method, found.options, chosen))


def options_schema() -> dict[str, Any]:
    """The JSON schema of a mapping from methods to their options."""
    return {
        "description": "a mapping from methods to their options, such as {gd: {iter_n: 200}}",
        "type": "object",
        "additionalProperties": False,
        "properties": {name: schema(each.options) for name, each in METHODS.items()},
    }
