"""A made-up net, and plans for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from basics import refusal

from cnnpref.nets import NetDescription
from cnnpref.planning.config import resolve_config
from cnnpref.planning.plan import Plan, make_plan
from cnnpref.unit_map import channel_maps


def description(
    layers: Mapping[str, tuple[int, ...]],
    input_shape: tuple[int, ...] = (3, 32, 32),
    weights: Mapping[str, int] | None = None,
    refused: Mapping[str, str] | None = None,
    **sha256: str,
) -> NetDescription:
    """Of a net that is nowhere; `sha256`: the digests of its files."""
    maps = channel_maps(layers)
    return NetDescription(layers, input_shape, weights or {}, sha256, maps, refused or {})


NET = description(
    {"conv1": (16, 30, 30), "fire/expand3x3": (8, 7, 5), "fc6": (100,), "loss": ()},
    weights={"conv1": 448, "fc6": 28100},
    prototxt="aa",
    caffemodel="bb",
)
BASE = {
    "run": "r",
    "net": {"prototxt": "a.prototxt", "caffemodel": "a.caffemodel"},
    "methods": ["gd"],
}


def plan(
    net: NetDescription = NET, generator: NetDescription | None = None, /, **config: Any
) -> Plan:
    """The plan of a config: of the described net, and of a generator where that is given too."""
    config = resolve_config({**BASE, "layers": {"conv1": {}}, **config}, "stem")

    def describe(section: Mapping[str, Any]) -> NetDescription:
        return generator if generator and section == config.get("generator") else net

    return make_plan(config, describe)


def message(net: NetDescription = NET, /, **config: Any) -> str:
    """The one line with which a config is refused."""
    return refusal(plan, net, **config)
