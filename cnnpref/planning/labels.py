"""Labels: what the units of a layer stand for, such as the classes of a classifier."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cnnpref.errors import UserError, suggest
from cnnpref.foreign import read_file

if TYPE_CHECKING:
    from cnnpref.nets import NetDescription

Labels = tuple[str, ...]

LONGEST = 60_000  # characters of a list: it travels to the jobs in their command line
_WNID = re.compile(r"n\d{8}\s+(.*)")  # of a line of Caffe's synset_words.txt


def layer_labels(
    config: Mapping[str, Any],
    layers: Mapping[str, Mapping[str, Any]],
    net: NetDescription,
    counts: Mapping[str, int],
) -> dict[str, Labels]:
    """The labels of the wanted layers: one for each unit, "" where it has none; or ().

    Those of the config, or else of the net's own metadata, are for the last layer of so many units,
    and for what leads to it without weights of its own: for `prob` and `fc8`. Those that the config
    gives for a layer come first.

    Args:
        config: from `resolve_config`.
        layers: {layer: its settings in the config}, of those that are wanted.
        net: what there is to know of its section `net`.
        counts: {layer: how many units it has}, in execution order.

    Raises:
        UserError: a file cannot be read; there are more or fewer labels than units.
    """
    own = config.get("labels")
    labels = _clean(net.labels) if own is None else read_labels("labels", own)
    last = _last_layers(net, counts, len(labels)) if labels else []
    if own is not None and not last:
        layer = next(reversed(list(counts)), None)
        has = f"the last layer, {layer!r}, has {counts[layer]:,}" if layer else "it has none"
        raise UserError(
            f"config: labels: got {len(labels):,}{_source(own)}, and no layer has so many units:"
            f" {has}; give one for each unit, or name the layer:"
            f" layers: {{{layer or 'fc8'}: {{labels: ...}}}}"
        )
    named = _named(layers, counts)
    return {layer: named.get(layer, labels if layer in last else ()) for layer in layers}


def _named(layers: Mapping[str, Mapping[str, Any]], counts: Mapping[str, int]) -> dict[str, Labels]:
    """The labels that the config gives for single layers."""
    sources = {layer: each["labels"] for layer, each in layers.items() if "labels" in each}
    found = {
        layer: read_labels(f"layers.{layer}.labels", source) for layer, source in sources.items()
    }
    for layer, labels in found.items():
        if len(labels) != counts[layer]:
            raise UserError(
                f"config: layers.{layer}.labels: got {len(labels):,}{_source(sources[layer])};"
                f" {layer!r} has {counts[layer]:,} units: give one for each"
            )
    return found


def _source(source: str | Sequence[str]) -> str:
    return f" of {source}" if isinstance(source, str) else ""


def _last_layers(net: NetDescription, counts: Mapping[str, int], count: int) -> list[str]:
    """The last layer of so many units and those of so many that lead to it, back to the weights."""
    found: list[str] = []
    for layer in reversed(list(counts)):
        if counts[layer] == count:
            found.append(layer)
        if found and (counts[layer] != count or layer in net.weights):
            break
    return found


def read_labels(key: str, source: str | Sequence[str]) -> Labels:
    """The labels of a text file, one a line, or of a list."""
    if not isinstance(source, str):
        if sum(map(len, source)) > LONGEST:
            raise UserError(
                f"config: {key}: a list of more than {LONGEST:,} characters;"
                " put the labels into a text file, one a line, and give its path"
            )
        return _clean(source)
    try:
        text = read_file(source).decode("utf-8-sig")
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"config: {key}: {source} cannot be read: {reason}; check it") from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"config: {key}: {source} is not UTF-8 text (byte {error.start}); save it as UTF-8,"
            " one label a line"
        ) from None
    lines = text.rstrip().split("\n")
    matches = [_WNID.fullmatch(line.strip()) for line in lines]
    if all(matches):
        lines = [match[1] for match in matches if match]
    return _clean(lines) if any(lines) else ()


def _clean(labels: Iterable[str]) -> Labels:
    """Without what cannot be written in one line: breaks, control characters, half characters."""
    return tuple(" ".join("".join(map(_visible, label)).split()) for label in labels)


def _visible(character: str) -> str:
    return " " if unicodedata.category(character) in ("Cc", "Cs") else character


def find_unit(layer: str, labels: Sequence[str], wanted: str) -> int:
    """The unit of that label, in whatever case.

    A label is also found by one of the names in it: 'tench, Tinca tinca' by 'tench', unless that is
    the whole label of another unit.

    Raises:
        UserError: no unit has that label, or several do.
    """
    place, name = f"config: layers.{layer}.units: got {wanted!r}", _folded(wanted)
    if not any(labels):
        raise UserError(
            f"{place}, and {layer!r} has no labels; allowed: 'all', numbers, ranges such as"
            " '0-24,30'; or name its units by the key 'labels'"
        )
    whole = [unit for unit, label in enumerate(labels) if _folded(label) == name]
    found = whole or [unit for unit, label in enumerate(labels) if name in _names(label)]
    if not found or not name:
        known = dict.fromkeys(each for label in labels for each in (label, *label.split(", ")))
        raise UserError(
            f"{place}, which is no label of {layer!r}{suggest(wanted, known)}; ranges are one"
            " text, such as '0-24,30'"
        )
    if len(found) > 1:
        shown = ", ".join(f"{unit} ({labels[unit]})" for unit in found[:5])
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        raise UserError(f"{place}, the label of several units: {shown}{more}; give the number")
    return found[0]


def _names(label: str) -> list[str]:
    return [_folded(name) for name in label.split(",")]


def _folded(label: str) -> str:
    return " ".join(label.casefold().split())
