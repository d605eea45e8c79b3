"""Changes to valid files, so that they stay nearly valid. Each takes a source of chance and a path.

All chance comes from the given `Random`: the same seed gives the same files.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import yaml
from google.protobuf import text_format

from cnnpref.nets.caffe.files.schema import SCHEMA

Mutate = Callable[[Random, Path], None]

NUMBERS = (
    *(0, 1, -1, 2, 3, 7, 64, 127, 128, 255, 256, 4096, 65535, 65536, 10**6, 2**24),
    *(2**31 - 1, 2**31, -(2**31), 2**32 - 1, 2**32, 2**53, 2**63 - 1, -(2**63), 2**64 - 1, 10**30),
)
FLOATS = (0.0, -0.0, 0.5, -1.5, 1e-45, 1e-320, 3.4e38, 1e39, 1.7e308, *map(float, ("inf", "nan")))
TEXTS = (
    *("", " ", "0", "-1", "all", "1e999", "nan", "null", "data", "conv1", "a\nb", "\0", "\ud800"),
    *("../outside", "/etc/hostname", "/dev/zero", ".", "..", "~", "~nobody", "$HOME", "${", "$$"),
    *("<script>alert(1)</script>", "{unit}", "%s%n", "é" * 40, "x" * 300, "x" * 70_000, "0-" * 99),
    *("0-99999999999", "1:2", "a:b", "a.b:c", "file.py:f", "\u202eabc", "9" * 5000, "[" * 2000),
)
WORD = re.compile(r"[\w.+-]+|\"[^\"\n]*\"|[^\s\w]")
NUMBER = re.compile(r"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?")
SECRET = "outside.h5"  # a file beside the folder of a run, which nobody may read from inside


def times(random: Random) -> range:
    """How many changes: one most often."""
    return range(random.choice((1, 1, 1, 2, 2, 4, 8)))


# Bytes


def bytes_of(random: Random, path: Path) -> None:
    """Bits, numbers of the machine, pieces."""
    data = bytearray(path.read_bytes())
    for _ in times(random):
        random.choice(_BYTES)(random, data)
    path.write_bytes(data)


def _flip(random: Random, data: bytearray) -> None:
    if data:
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def _number(random: Random, data: bytearray) -> None:
    size = random.choice((1, 2, 4, 8))
    value = random.choice(NUMBERS) % 2 ** (8 * size)
    place = random.randrange(len(data) + 1)
    data[place : place + size] = value.to_bytes(size, random.choice(("little", "big")))


def _cut(random: Random, data: bytearray) -> None:
    place = random.randrange(len(data) + 1)
    size = random.choice((1, 4, 16, 256, len(data)))
    del data[place : place + size]


def _repeat(random: Random, data: bytearray) -> None:
    first, to = random.randrange(len(data) + 1), random.randrange(len(data) + 1)
    piece = data[first : first + random.choice((1, 4, 16, 256))]
    data[to:to] = piece * random.choice((1, 1, 2, 50))


def _overwrite(random: Random, data: bytearray) -> None:
    first, to = random.randrange(len(data) + 1), random.randrange(len(data) + 1)
    piece = data[first : first + random.choice((4, 16, 64))]
    data[to : to + len(piece)] = piece


_BYTES = (_flip, _flip, _number, _number, _cut, _repeat, _overwrite)


# Text


def text_of(random: Random, path: Path) -> None:
    """Numbers, words, lines."""
    text = path.read_text("utf-8", "surrogateescape")
    for _ in times(random):
        text = random.choice(_TEXT)(random, text)
    path.write_bytes(text.encode("utf-8", "surrogatepass"))


def _some(random: Random, pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    found = list(pattern.finditer(text))
    return random.choice(found) if found else None


def _other_number(random: Random, text: str) -> str:
    found = _some(random, NUMBER, text)
    return _put(text, found, str(random.choice((*NUMBERS, *FLOATS)))) if found else text


def _other_word(random: Random, text: str) -> str:
    found, other = _some(random, WORD, text), _some(random, WORD, text)
    if not (found and other):
        return text
    return _put(text, found, random.choice((other[0], "", random.choice(TEXTS), found[0] * 2)))


def _lines(random: Random, text: str) -> str:
    lines = text.splitlines(keepends=True) or [""]
    first, other = random.randrange(len(lines)), random.randrange(len(lines))
    match random.choice(("delete", "repeat", "swap", "many")):
        case "delete":
            del lines[first]
        case "repeat":
            lines.insert(other, lines[first])
        case "swap":
            lines[first], lines[other] = lines[other], lines[first]
        case _:
            many = min(3000, 10**7 // max(1, len(lines[first])))  # of a file in one line few
            lines[first:first] = lines[first : first + 1] * many
    return "".join(lines)


def _put(text: str, place: re.Match[str], word: str) -> str:
    return text[: place.start()] + word + text[place.end() :]


_TEXT = (_other_number, _other_number, _other_word, _lines)


# What JSON and YAML hold


def json_of(random: Random, path: Path) -> None:
    """Values of a JSON file."""
    path.write_text(json.dumps(tree(random, json.loads(path.read_text()))))


def yaml_of(random: Random, path: Path) -> None:
    """Values of a YAML file."""
    changed = tree(random, yaml.safe_load(path.read_text()))
    path.write_bytes(yaml.safe_dump(changed).encode("utf-8", "replace"))


def tree(random: Random, value: Any) -> Any:
    """Nested lists and mappings, some of whose values are deleted, repeated, swapped or others."""
    changed = copy.deepcopy(value)
    for _ in times(random):
        if places := list(_places(changed)):
            (inside, key), (other, there) = random.choice(places), random.choice(places)
            if _at(inside, key) and _at(other, there):
                _change(random, inside, key, other[there])
    return changed


def _at(inside: Any, key: Any) -> bool:
    return key in inside if isinstance(inside, dict) else key < len(inside)


def _change(random: Random, inside: Any, key: Any, other: Any) -> None:
    match random.choice(("delete", "scalar", "scalar", "scalar", "other", "repeat", "wrap", "key")):
        case "delete":
            del inside[key]
        case "scalar":
            inside[key] = random.choice((*NUMBERS, *FLOATS, *TEXTS, None, True, [], {}))
        case "other":
            inside[key] = copy.deepcopy(other)
        case "repeat" if isinstance(inside, list):
            inside[key:key] = [inside[key]] * random.choice((1, 1, 1000))
        case "wrap":
            inside[key] = random.choice(([inside[key]], {"a": inside[key]}))
        case _ if isinstance(inside, dict):
            inside[random.choice(TEXTS)] = inside.pop(key)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of everything in it."""
    if isinstance(value, dict | list):
        keys = list(value) if isinstance(value, dict) else range(len(value))
        for key in keys:
            yield value, key
            yield from _places(value[key])


# Protobuf


def prototxt_of(random: Random, path: Path) -> None:
    """Fields of a prototxt."""
    message = text_format.Parse(path.read_text(), SCHEMA["NetParameter"]())
    for _ in times(random):
        _change_message(random, message)
    path.write_text(text_format.MessageToString(message))


def caffemodel_of(random: Random, path: Path) -> None:
    """Fields of a caffemodel."""
    message = SCHEMA["NetParameter"].FromString(path.read_bytes())
    for _ in times(random):
        _change_message(random, message)
    path.write_bytes(message.SerializePartialToString())


def _change_message(random: Random, message: Any) -> None:
    inside = random.choice(list(_messages(message)))
    if field := random.choice([each for each, _ in inside.ListFields()] or [None]):
        _change_field(random, inside, field)
    else:
        _set(random, inside, random.choice(inside.DESCRIPTOR.fields))


def _messages(message: Any) -> Iterator[Any]:
    yield message
    for field, value in message.ListFields():
        if field.message_type:
            for each in value if hasattr(value, "add") else [value]:
                yield from _messages(each)


def _change_field(random: Random, inside: Any, field: Any) -> None:
    values = getattr(inside, field.name)
    how = random.choice(("delete", "set", "set", "other", "repeat", "swap"))
    if how == "delete":
        inside.ClearField(field.name)
    elif how in ("set", "other"):
        chosen = field if how == "set" else random.choice(inside.DESCRIPTOR.fields)
        _set(random, inside, chosen)
    elif hasattr(values, "extend") and len(values):
        some = [copy.deepcopy(each) for each in values]
        place = random.randrange(len(some))
        some.insert(random.randrange(len(some)), some.pop(place) if how == "swap" else some[place])
        inside.ClearField(field.name)
        getattr(inside, field.name).extend(some)


def _set(random: Random, inside: Any, field: Any) -> None:
    value = random.choice((*NUMBERS, *FLOATS, *TEXTS, b"\0\0\xc0\x7f"))
    with suppress(TypeError, ValueError, AttributeError, OverflowError):  # of another type
        if hasattr(target := getattr(inside, field.name), "append"):
            target.append(value)
        else:
            setattr(inside, field.name, value)
