"""A made-up net, and plans for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from cnnpref.errors import UserError
from cnnpref.planning.config import resolve_config
from cnnpref.planning.plan import Plan, make_plan


@dataclass(frozen=True)
class Description:
    layers: dict[str, tuple[int, ...]]
    sha256: dict[str, str]
    input_shape: tuple[int, ...] = (3, 32, 32)
    weights: dict[str, int] = field(default_factory=lambda: {"conv1": 448, "fc6": 28100})
    refused: dict[str, str] = field(default_factory=dict)


NET = Description(
    {
        "conv1": (16, 30, 30),
        "fire/expand3x3": (8, 7, 5),
        "fc6": (100,),
        "loss": (),
    },
    {"prototxt": "aa", "caffemodel": "bb"},
)
BASE = {"run": "r", "net": {"prototxt": "a.prototxt", "caffemodel": "a.caffemodel"}}


def plan(
    description: Description = NET, generator: Description | None = None, /, **config: Any
) -> Plan:
    """The plan of a config: of the described net, and of a generator where that is given too."""
    config = resolve_config({**BASE, "layers": {"conv1": {}}, **config}, "stem")

    def describe(section: Mapping[str, Any]) -> Description:
        made = generator is not None and section == config.get("generator")
        return generator if made else description

    return make_plan(config, describe)


def message(description: Description = NET, **config: Any) -> str:
    with pytest.raises(UserError) as caught:
        plan(description, **config)
    text = str(caught.value)
    assert "\n" not in text
    return text
