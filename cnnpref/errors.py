"""What the user did, said in one line."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """A mistake that the user can fix; the command line prints it without a traceback.

    The message names the thing, what was got, what is allowed and the next step, in one line,
    whatever the names in it are.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message if len(message.splitlines()) < 2 else printable(message))


def printable(text: str) -> str:
    """In one line, whatever it holds."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def first_line(error: Exception) -> str:
    """What an error says, as one line: its first, and the next if that announces it."""
    lines = [line.strip() for line in str(error).strip().splitlines()]
    announced = lines[1:2] if lines and lines[0].endswith(":") else []
    return " ".join([*lines[:1], *announced]) or type(error).__name__


def suggest(name: str, allowed: Iterable[str]) -> str:
    """`" (did you mean 'conv1'?)"` for the names nearest to `name`, or `""` when none is near."""
    near = get_close_matches(str(name), list(allowed), n=3, cutoff=0.5)
    if not near:
        return ""
    return f" (did you mean {' or '.join(repr(n) for n in near)}?)"
