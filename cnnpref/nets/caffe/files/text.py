"""Fields of a prototxt that the schema does not have: found, and taken out of the text.

Caffe has many forks, each with fields of its own. protobuf reads what is left, at the same lines
and columns, so that its messages about the rest stay right.
"""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

_TOKEN = re.compile(
    r"(?:\s+|\#[^\n]*)+"  # space and comments
    r"|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'"  # a string
    r"|[\w.+-]+"  # a name or a number
    r"|.",  # a bracket or a separator
    re.DOTALL,
)
_CLOSING = {"{": "}", "<": ">"}
_NUMBER = re.compile(r"[-+\d.]")
_SCALAR = re.compile(r"[\w.+\"'-]")


class Unknown(NamedTuple):
    """A field, or the value of an enumeration, that the schema does not have.

    Attributes:
        path: names from the top of the file down to the field.
        place: of the path's first field among those of its name in the file, from 0.
        value: the value, if it is what is unknown; else "".
        line: from 1.
        start, end: where it lies in the text.
    """

    path: tuple[str, ...]
    place: int
    value: str
    line: int
    start: int
    end: int

    def __str__(self) -> str:
        name = " ".join(self.path[1:] or self.path)
        return f"{name}: {self.value}" if self.value else name


class _Token(NamedTuple):
    text: str
    start: int
    end: int


@dataclass
class _Field:
    """`name: value`, or `name { fields }`, or a list of either."""

    name: str
    start: int
    end: int = 0
    scalars: list[str] = field(default_factory=list)
    messages: list[list[_Field]] = field(default_factory=list)


def find_unknown(text: str, descriptor: Any) -> list[Unknown]:
    """The fields of a text message that its descriptor does not have, at any depth.

    Raises:
        ValueError: the text is not well-formed.
    """
    try:
        fields = _Reader(text).fields("")
    except (IndexError, RecursionError):
        raise ValueError("a bracket is not closed") from None
    breaks = [each.start() for each in re.finditer("\n", text)]
    counts: dict[str, int] = {}
    found: list[Unknown] = []
    for top in fields:
        place = counts.get(top.name, 0)
        counts[top.name] = place + max(1, len(top.messages))
        found += _unknown_in(breaks, top, descriptor, (), place)
    return found


def without(text: str, unknown: Iterable[Unknown]) -> str:
    """A text with blanks in place of some fields, which are in their order."""
    parts, end = [], 0
    for each in unknown:
        blank = re.sub(r"[^\n]", " ", text[each.start : each.end])
        parts += [text[end : each.start], blank]
        end = each.end
    return "".join([*parts, text[end:]])


def _unknown_in(
    breaks: Sequence[int], given: _Field, descriptor: Any, above: Sequence[str], place: int
) -> Iterator[Unknown]:
    path, known = (*above, given.name), descriptor.fields_by_name.get(given.name)
    if known is None:
        yield _unknown(breaks, given, path, place)
    elif known.enum_type:
        allowed = known.enum_type.values_by_name
        strange = [v for v in given.scalars if v not in allowed and not _NUMBER.match(v)]
        yield from (_unknown(breaks, given, path, place, value) for value in strange[:1])
    elif known.message_type:
        for number, inside in enumerate(given.messages):
            of_top = place if above else place + number
            for each in inside:
                yield from _unknown_in(breaks, each, known.message_type, path, of_top)


def _unknown(
    breaks: Sequence[int], given: _Field, path: tuple[str, ...], place: int, value: str = ""
) -> Unknown:
    line = bisect(breaks, given.start) + 1
    return Unknown(path, place, value, line, given.start, given.end)


class _Reader:
    """Walks over the tokens of a text message; a malformed one raises IndexError or ValueError."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._next = next(self._tokens, None)
        self._end = 0  # of the last one that was taken

    def fields(self, closing: str) -> list[_Field]:
        """Those up to a closing bracket, which is read too; "" is the end of the text."""
        found: list[_Field] = []
        while self._next or closing:
            if closing and self._skip(closing):
                return found
            found.append(self._field())
        return found

    def _field(self) -> _Field:
        name = self._take()
        if not re.fullmatch(r"[A-Za-z_]\w*", name.text):
            raise ValueError(name.text)
        read = _Field(name.text, name.start)
        self._skip(":")
        if self._skip("["):
            while not self._skip("]"):
                self._value(read)
                self._skip(",")
        else:
            self._value(read)
        self._skip(",", ";")
        read.end = self._end
        return read

    def _value(self, read: _Field) -> None:
        token = self._take()
        if token.text in _CLOSING:
            read.messages.append(self.fields(_CLOSING[token.text]))
        elif not _SCALAR.match(token.text):
            raise ValueError(token.text)
        else:
            read.scalars.append(token.text)
            while token.text[0] in "\"'" and self._peek()[:1] in ("'", '"'):
                self._take()  # strings side by side are one

    def _peek(self) -> str:
        return self._next.text if self._next else ""

    def _take(self) -> _Token:
        taken = self._next
        if not taken:
            raise IndexError
        self._next, self._end = next(self._tokens, None), taken.end
        return taken

    def _skip(self, *texts: str) -> bool:
        found = self._peek() in texts
        if found:
            self._take()
        return found


def _tokens(text: str) -> Iterator[_Token]:
    """One after the other: where a text is malformed, nothing behind it is read."""
    for found in _TOKEN.finditer(text):
        if found[0][0] != "#" and not found[0][0].isspace():
            yield _Token(found[0], found.start(), found.end())
