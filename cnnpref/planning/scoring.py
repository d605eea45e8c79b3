"""What a config says of scores: a judge, nets held out; and which units are the judge's classes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from cnnpref.errors import UserError, suggest
from cnnpref.planning.config import Config
from cnnpref.planning.labels import Labels, read_labels
from cnnpref.planning.references import References
from cnnpref.unit_map import Position, UnitMap

if TYPE_CHECKING:  # a plan is made without PyTorch
    from cnnpref.nets import NetDescription

# Part of every key. Raise it when the same pictures get other scores.
SCORES_VERSION = 2

JUDGE_KEYS = ("layer", "labels", "classes")  # of the section `judge`, beside those of its net

Describe = Callable[[Mapping[str, Any]], "NetDescription"]
Classes = dict[int, int]
"""{unit: class of the judge}."""


@dataclass(frozen=True)
class Scored:
    """A layer whose units' pictures are scored.

    Attributes:
        where: its units are.
        position: in its map.
        labels: of its units, or ().
    """

    where: UnitMap
    position: Position
    labels: Labels


@dataclass(frozen=True)
class JudgePlan:
    """A second classifier, and what of it counts.

    Attributes:
        section: of the config, its net's keys alone.
        layer: whose units are its classes.
        classes: {layer: {unit: class}}, of the layers whose units are classes.
    """

    section: Mapping[str, Any]
    layer: str
    classes: Mapping[str, Classes]


@dataclass(frozen=True)
class Scoring:
    """How the pictures of a run are scored.

    Attributes:
        judge: if the config has one.
        held_out: sections of other nets with the same layers.
        key: hexadecimal sha256 over all that determines scores, but the pictures.
        nets: what there is to know of these nets.
    """

    judge: JudgePlan | None = None
    held_out: tuple[Mapping[str, Any], ...] = ()
    key: str = ""
    nets: tuple[NetDescription, ...] = ()


def plan_scoring(
    config: Config,
    describe: Describe,
    layers: Mapping[str, Scored],
    references: References | None,
) -> Scoring:
    """How a resolved config has pictures scored.

    Args:
        config: from `resolve_config`.
        describe: reads the files of a section of the config.
        layers: of the run.
        references: of the run.

    Raises:
        UserError: the judge's classes cannot be told; a net held out lacks a layer.
    """
    told: list[Any] = [references.key, references.images_key] if references else []
    judge, nets = None, []
    if "judge" in config:
        nets.append(describe(judge_net(config["judge"])))
        judge = _judge(config["judge"], nets[0], layers)
        told.append([judge.section, nets[0].sha256, judge.layer, _listed(judge.classes)])
    for number, section in enumerate(config["evaluate"]):
        nets.append(describe(section))
        _check_held_out(f"evaluate.{number}", nets[-1], layers)
        told.append([section, nets[-1].sha256])
    text = json.dumps([SCORES_VERSION, *told], sort_keys=True)
    key = sha256(text.encode()).hexdigest()
    return Scoring(judge, tuple(config["evaluate"]), key, tuple(nets))


def judge_net(section: Mapping[str, Any]) -> dict[str, Any]:
    """The net's keys of the section `judge`."""
    return {key: value for key, value in section.items() if key not in JUDGE_KEYS}


def _listed(classes: Mapping[str, Classes]) -> list[Any]:
    return [[layer, *sorted(pairs.items())] for layer, pairs in classes.items()]


def _judge(
    section: Mapping[str, Any], net: NetDescription, layers: Mapping[str, Scored]
) -> JudgePlan:
    last = next(reversed(list(net.maps)), "")
    layer = section.get("layer", last)
    if layer not in net.maps:
        raise UserError(
            f"config: judge.layer: got {layer!r}{suggest(layer, net.maps)}; allowed: a layer of"
            f" the judge with a value for each class, such as {last!r}"
        )
    count = net.maps[layer].count
    labels = read_labels("judge.labels", section["labels"]) if "labels" in section else net.labels
    labels = labels if len(labels) == count else ()
    if "labels" in section and not labels:
        raise UserError(
            f"config: judge.labels: its layer {layer!r} has {count} classes; give a label for each"
        )
    classes = _classes(section.get("classes"), layers, labels, layer, count)
    return JudgePlan(judge_net(section), layer, classes)


def _classes(
    given: Mapping[str, Any] | None,
    layers: Mapping[str, Scored],
    labels: Labels,
    layer: str,
    count: int,
) -> dict[str, Classes]:
    """For the layers whose units are classes: those with labels; else the last of so many units."""
    named = [name for name, each in layers.items() if each.labels]
    equal = [name for name, each in layers.items() if each.where.count == count]
    chosen = named or equal[-1:] or (list(layers)[-1:] if given is not None else [])
    found = {}
    for name in chosen:
        each = layers[name]
        found[name] = (
            _matched(each, labels, count) if given is None else _given(given, each, labels, count)
        )
    if not any(found.values()):
        sizes = ", ".join(f"{name!r} has {each.where.count} units" for name, each in layers.items())
        raise UserError(
            f"config: judge: its layer {layer!r} has {count} classes, and {sizes}: which unit is"
            " which class cannot be told, nor by labels; give judge.classes, such as"
            " {0: 281, 1: tabby}"
        )
    return found


def _matched(units: Scored, labels: Labels, count: int) -> Classes:
    """The same numbers where the counts agree, unless labels are the same in another order."""
    by_label = {_name(label): number for number, label in enumerate(labels)}
    wanted = [_name(label) for label in units.labels]
    unique = len(by_label) == len(labels)
    found = {u: by_label[name] for u, name in enumerate(wanted) if name and name in by_label}
    if units.where.count == count and not (unique and len(found) == count):
        return {unit: unit for unit in range(count)}
    return found


def _name(label: str) -> str:
    """The first of the names in a label, to compare."""
    return " ".join(label.partition(",")[0].casefold().split())


def _given(given: Mapping[str, Any], units: Scored, labels: Labels, count: int) -> Classes:
    return {
        _number("unit", unit, units.labels, units.where.count): _number("class", own, labels, count)
        for unit, own in given.items()
    }


def _number(what: str, wanted: Any, labels: Sequence[str], count: int) -> int:
    """A unit or a class by its number or label."""
    text = str(wanted)
    number = int(text) if text.isdecimal() else -1
    if 0 <= number < count:
        return number
    names = [_name(label) for label in labels]
    if names.count(_name(text)) == 1:
        return names.index(_name(text))
    raise UserError(
        f"config: judge.classes: got the {what} {wanted!r}{suggest(text, labels)}; allowed: 0 to"
        f" {count - 1}{', or a label' if labels else ''}"
    )


def _check_held_out(place: str, net: NetDescription, layers: Mapping[str, Scored]) -> None:
    for layer, each in layers.items():
        found = net.maps.get(layer)
        if found is None:
            raise UserError(
                f"config: {place}: this net has no layer {layer!r} with units"
                f"{suggest(layer, net.maps)}; give a net with the same layers, or leave it out"
            )
        if found.count < each.where.count or not _has(found, each.position):
            raise UserError(
                f"config: {place}: layer {layer!r} has the shape {each.where.shape}, in this net"
                f" {found.shape}, without the position or some of the units; give a net with the"
                " same layers, or leave it out"
            )


def _has(where: UnitMap, position: Position) -> bool:
    try:
        where.offsets(position)
    except ValueError:
        return False
    return True


def scoring_sections(config: Config) -> dict[str, dict[str, Any]]:
    """The sections of nets that only score, by a name for each."""
    judge = {"judge": judge_net(config["judge"])} if "judge" in config else {}
    return {**judge, **{f"evaluate{n}": net for n, net in enumerate(config["evaluate"])}}
