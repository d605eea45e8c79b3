"""Imports of what may not be installed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from cnnpref.errors import UserError, first_line


def imported(path: str, advice: str) -> Any:
    """The module of that name.

    Raises:
        UserError: it cannot be imported; says what to do.
    """
    try:
        return import_module(path)
    except Exception as error:  # its own code may raise anything
        raise UserError(
            f"cannot import {path!r}: {type(error).__name__}: {first_line(error)}; {advice}"
        ) from error
