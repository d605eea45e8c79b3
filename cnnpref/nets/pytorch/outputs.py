"""Tuples, lists, mappings and records of tensors: what modules give that give several."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, MutableMapping
from typing import Any

Pieces = dict[str, Any]


def pieces_of(value: Any) -> Pieces:
    """What a collection holds, by number or key; nothing for anything else.

    Of named tuples and dataclasses by the names of their fields.
    """
    if isinstance(value, Mapping):
        return {str(key): piece for key, piece in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return dict(zip(value._fields, value, strict=True))
    if isinstance(value, tuple | list):
        return {str(number): piece for number, piece in enumerate(value)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return {}


def rebuilt(value: Any, pieces: Pieces) -> Any:
    """The same collection of other pieces."""
    if isinstance(value, MutableMapping):
        made = copy.copy(value)
        for key in value:
            made[key] = pieces[str(key)]
        return made
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(**pieces)
    if isinstance(value, tuple | list):
        return type(value)(pieces.values())
    return dataclasses.replace(value, **pieces)
