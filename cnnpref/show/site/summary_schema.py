"""What a summary of a layer must hold for the page of the run: it is read from a file."""

from __future__ import annotations

from typing import Any

from jsonschema import Draft202012Validator

from cnnpref.show.site.summary import BEST

Schema = dict[str, Any]

_TEXT, _MAPPING = {"type": "string"}, {"type": "object"}
_COUNT = {"type": "integer", "minimum": 0, "maximum": 10**9}
_NUMBER, _PERHAPS = {"type": "number"}, {"type": ["number", "null"]}


def _mapping(**properties: Schema) -> Schema:
    return {"type": "object", "required": list(properties), "properties": properties}


def _numbers(length: int, least: int) -> Schema:
    items = {"type": "integer", "minimum": least}
    return {"type": "array", "items": items, "minItems": length, "maxItems": length}


_TILE = _mapping(unit=_COUNT, label=_TEXT, activation=_NUMBER, gain=_PERHAPS)
_METHOD = _mapping(
    units=_COUNT,
    failed=_COUNT,
    gain=_TEXT,
    failures=_TEXT,
    seconds=_NUMBER,
    seeds=_COUNT,
    best={"type": "array", "items": _TILE, "maxItems": BEST},
)
_VALIDATOR = Draft202012Validator(
    _mapping(
        layer=_TEXT,
        net=_TEXT,
        units=_COUNT,
        failed=_COUNT,
        size=_numbers(2, 1),
        field=_numbers(4, 0),
        sees=_TEXT,
        facts={"type": "array", "items": _TEXT},
        references={"type": ["integer", "null"]},
        sha256=_MAPPING,
        versions=_MAPPING,
        device=_TEXT,
        methods={"type": "object", "additionalProperties": _METHOD},
    )
)


def is_summary(found: Any, layer: str, methods: list[str]) -> bool:
    """Whether it is a summary of that layer and of these methods."""
    if not _VALIDATOR.is_valid(found):
        return False
    return found["layer"] == layer and set(methods) <= found["methods"].keys()
