"""What errors say to the user."""

from __future__ import annotations

import pytest

from cnnpref.errors import UserError


@pytest.mark.parametrize("gap", ["\n", "\r", "\u2028", "\x1c"])
def test_an_error_is_one_line_whatever_is_named(gap: str) -> None:
    told = str(UserError(f"no layer 'a{gap}b' in my néts"))
    assert len(told.splitlines()) == 1
    assert told.startswith("no layer 'a\\")
    assert told.endswith("b' in my néts")


def test_other_errors_stay_as_they_are() -> None:
    assert str(UserError("unknown layer 'größe/1'\t?")) == "unknown layer 'größe/1'\t?"
