"""Which units of a layer, and where in its map."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from cnnpref.errors import UserError
from cnnpref.planning.labels import find_unit
from cnnpref.unit_map import Position, UnitMap

MOST = 10_000_000  # unit files of a run; 40,000 take Snakemake seconds and 350 MB
_RANGE = re.compile(r"\s*(\d+)(?:-(\d+))?\s*")


def select_units(
    layer: str, count: int, wanted: Any, labels: Sequence[str] = ()
) -> tuple[int, ...]:
    """The wanted ones of a layer's `count` units, ascending, each once.

    Args:
        layer: its name, for messages.
        count: the layer has units 0 .. count - 1.
        wanted: "all", a unit or its label, a list of these, ranges "0-24,30", {"every": n}, or
            {"count": n} evenly spaced ones.
        labels: of all units, if they have any.

    Raises:
        UserError: a unit is out of range, a label is of none or of several, more are wanted than
            there are, or than a run may have.
    """
    match wanted:
        case "all":
            return _few_enough(layer, range(count))
        case {"every": step}:
            return _few_enough(layer, range(0, count, int(step)))
        case {"count": number} if number <= count:
            chosen = _few_enough(layer, range(int(number)))
            return tuple(i * count // int(number) for i in chosen)
        case {"count": number}:
            raise UserError(
                f"config: layers.{layer}.units: got count {number}; {layer!r} has {count} units"
            )
    if isinstance(wanted, str) and is_ranges(wanted):
        ranges = parse_ranges(wanted)
    else:
        ranges = _singles(layer, labels, wanted if isinstance(wanted, list) else [wanted])
    for first, last in ranges:
        if not first <= last < count:
            raise UserError(
                f"config: layers.{layer}.units: got {_range(first, last)};"
                f" allowed: 0-{count - 1}, for {layer!r} has {count} units"
            )
    several = [_few_enough(layer, range(first, last + 1)) for first, last in ranges]
    return tuple(sorted(set(chain.from_iterable(several))))


def _few_enough(layer: str, units: range) -> tuple[int, ...]:
    if len(units) > MOST:
        raise UserError(
            f"config: layers.{layer}.units: {len(units):,} units; a run has at most {MOST:,} unit"
            " files: choose some, such as '0-99'"
        )
    return tuple(units)


def select_position(layer: str, where: UnitMap, wanted: str | int | list[int]) -> Position:
    """The position "center", "all", "cls", a token, (y, x) or (t, y, x), checked.

    Raises:
        UserError: the layer's map has no such position, or it has no map.
    """
    if not where.sizes and wanted in ("center", "all"):
        return "center"  # there is one value per unit
    try:
        where.offsets(wanted)
    except ValueError:
        told = f"allowed: {where.allowed}"
        if not where.sizes:
            told = f"{layer!r} has no map: leave it out"
        raise UserError(f"config: layers.{layer}.position: got {wanted!r}; {told}") from None
    return tuple(map(int, wanted)) if isinstance(wanted, list) else wanted


def parse_ranges(text: str) -> list[tuple[int, int]]:
    """`"0-24,30"` as first and last units: `[(0, 24), (30, 30)]`.

    Raises:
        UserError: the text is something else.
    """
    if not is_ranges(text):
        raise UserError(f"units: got {text!r}; allowed: ranges such as '0-24,30'")
    matches = map(_RANGE.fullmatch, text.split(","))
    return [(int(match[1]), int(match[2] or match[1])) for match in matches if match]


def is_ranges(text: str) -> bool:
    """Whether `parse_ranges` can read it."""
    return all(map(_RANGE.fullmatch, text.split(",")))


def format_ranges(units: Iterable[int]) -> str:
    """Ascending units in the notation of `parse_ranges`, as short as it can be."""
    return ",".join(_range(first, last) for first, last in _runs(units))


def _runs(units: Iterable[int]) -> Iterator[tuple[int, int]]:
    run: list[int] = []
    for unit in units:
        if run and unit != run[-1] + 1:
            yield run[0], run[-1]
            run = []
        run.append(unit)
    if run:
        yield run[0], run[-1]


def _range(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


def _singles(
    layer: str, labels: Sequence[str], wanted: Sequence[int | str]
) -> list[tuple[int, int]]:
    units = [find_unit(layer, labels, u) if isinstance(u, str) else int(u) for u in wanted]
    return [(unit, unit) for unit in units]
