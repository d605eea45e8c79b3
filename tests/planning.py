"""A made-up net, and plans for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from cnnpref.config import resolve_config
from cnnpref.errors import UserError
from cnnpref.plan import Plan, make_plan


@dataclass(frozen=True)
class Description:
    layers: dict[str, tuple[int, ...]]
    sha256: dict[str, str]


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


def plan(description: Description = NET, /, **config: Any) -> Plan:
    config = {"layers": {"conv1": {}}, **config}
    return make_plan(resolve_config({**BASE, **config}, "stem"), lambda _: description)


def message(**config: Any) -> str:
    with pytest.raises(UserError) as caught:
        plan(**config)
    text = str(caught.value)
    assert "\n" not in text
    return text
