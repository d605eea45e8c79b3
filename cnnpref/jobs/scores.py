"""Jobs about scores: those of a layer's pictures, and the table of all layers."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cnnpref.atomic import remove
from cnnpref.errors import UserError
from cnnpref.images.pictures import Bytes
from cnnpref.jobs.nets import Nets
from cnnpref.nets import open_net
from cnnpref.planning.files import ALIKE, LAYER, NATURE, REFERENCE, SCORES, SCORES_PART
from cnnpref.planning.plan import Plan
from cnnpref.planning.series import Series
from cnnpref.results.layer_file import MethodData, Row, open_layer
from cnnpref.results.reference_file import read_nature, read_references
from cnnpref.results.score_file import ALIKE as ALIKE_COLUMNS
from cnnpref.results.score_file import as_table, columns, part_columns, read_table, write_table
from cnnpref.scoring.disturb import eight_bits
from cnnpref.scoring.likeness import diversity, iterations_95, most_alike
from cnnpref.scoring.natural import Natural
from cnnpref.scoring.others import HeldOut, Judge
from cnnpref.scoring.score import Score, scored
from cnnpref.scoring.scorer import Scorer
from cnnpref.scoring.targets import BATCH, Targets

_MOST_ALIKE = 8  # for a unit

log = logging.getLogger("cnnpref")

Known = dict[tuple[str, int], dict[str, Any]]
"""Scores by net, by key of the series and unit."""


class ScoringNets:
    """The networks that score, read when they are first needed.

    Args:
        plan: of the run.
        device: where they compute.
    """

    def __init__(self, plan: Plan, device: torch.device) -> None:
        self._plan, self._device = plan, device
        self._own = Nets(plan.config, device)

    def scorers(self, layer: str) -> list[Score]:
        """What scores the pictures of a layer.

        Raises:
            UserError: a file about references is missing, damaged or of other images; or a net
                cannot be read.
        """
        plan, wanted = self._plan, self._plan.references
        targets = self.targets(layer)
        position, sign = targets.position, targets.sign
        natural = nature = None
        if wanted:
            found = read_references(plan.path(REFERENCE, layer), wanted.key)
            natural = Natural.of(found, position, sign)
            nature = read_nature(plan.path(NATURE), wanted.images_key)
        made: list[Score] = [Scorer(targets, natural, nature)]
        if self._judge and (classes := self._judge[1].get(layer)):
            net, _, name = self._judge
            made.append(Judge(net, name, classes))
        for number, net in enumerate(self._held_out):
            made.append(HeldOut(f"eval_{number}", Targets(net, layer, position, sign)))
        return made

    def unit_weights(self, layer: str) -> list[Tensor]:
        """Those of the net that the pictures were made for: see `Net.unit_weights`."""
        return self._own.net.unit_weights(layer)

    def targets(self, layer: str) -> Targets:
        """The layer's, in the net that the pictures were made for."""
        first = self._plan.select(layer)[0]
        return Targets(self._own.net, layer, first.position, first.sign)

    @cached_property
    def _judge(self) -> tuple[Any, Mapping[str, Mapping[int, int]], str] | None:
        wanted = self._plan.scoring.judge
        if not wanted:
            return None
        return open_net(wanted.section, self._device), wanted.classes, wanted.layer

    @cached_property
    def _held_out(self) -> list[Any]:
        return [open_net(section, self._device) for section in self._plan.scoring.held_out]


def score_layer(plan: Plan, layer: str, nets: ScoringNets) -> None:
    """Score the pictures of a layer, and write its table, and that of units with alike weights.

    What a job before has computed, even if it was killed, is taken over.

    Raises:
        UserError: the layer file is missing or of other units; or what `ScoringNets.scorers`
            raises; or the operating system refused to write.
    """
    series = plan.select(layer)
    with open_layer(plan.path(LAYER, layer)) as methods:
        for each in series:
            _check_units(plan, each, methods.get(each.name))
        found = {each.name: methods[each.name] for each in series}
        known = _measured(plan, layer, found, nets)
        apart = _diversities(series, found, nets.targets(layer)) if _has_seeds(series) else {}
        rows = [row for each in series for row in _rows(each, found[each.name], known, apart)]
    table = as_table(rows, columns(len(plan.scoring.held_out)))
    alike = _alike(nets.unit_weights(layer), series[0].units)
    write_table(plan.path(ALIKE, layer), as_table(alike, ALIKE_COLUMNS))
    write_table(plan.path(SCORES, layer), table)
    _delete_parts_of_other_tables(plan.path(SCORES_PART, layer))


def _delete_parts_of_other_tables(part: Path) -> None:
    """Of the same layer: with other scores asked for again, one would pass for the table's."""
    layer = part.stem.rpartition("-")[0]
    for path in part.parent.glob("*.parquet"):
        if path != part and path.stem.rpartition("-")[0] == layer:
            remove(path)


def _check_units(plan: Plan, series: Series, data: MethodData | None) -> None:
    units = [row.unit for row in data.rows()] if data else []
    if not data or data.attributes["digest"] != series.digest or units != list(series.units):
        raise UserError(
            f"{plan.path(LAYER, series.layer)} has other units or options of {series.name!r}; run"
            " 'cnnpref collect' for this layer"
        )


def _measured(
    plan: Plan, layer: str, methods: Mapping[str, MethodData], nets: ScoringNets
) -> Known:
    """The scores by nets of all pictures of a layer; each 16 are saved."""
    path = plan.path(SCORES_PART, layer)
    kinds = part_columns(len(plan.scoring.held_out))
    known = _known(path, kinds)
    series = {each.name: each for each in plan.select(layer)}
    todo = [
        (name, [pair for pair in _shown(data) if not _is_known(known, series[name], pair[1])])
        for name, data in methods.items()
    ]
    scorers = nets.scorers(layer) if any(pairs for _, pairs in todo) else []
    for name, pairs in todo:
        key = series[name].fields["key"]
        log.info("scores: %s/%s: %d pictures to score", layer, name, len(pairs))
        for start in range(0, len(pairs), BATCH):
            some = pairs[start : start + BATCH]
            pictures = np.stack([eight_bits(methods[name].image(index)) for index, _ in some])
            units = [row.unit for _, row in some]
            for (_, row), found in zip(some, scored(scorers, pictures, units), strict=True):
                known[key, row.unit] = {"activation": row.score, **found}
            write_table(path, as_table(_parts(known), kinds))
    write_table(path, as_table(_parts(known), kinds))  # now it is newer than the layer file
    return known


def _known(path: Path, kinds: Mapping[str, type]) -> Known:
    """What was saved before."""
    if not path.exists():
        return {}
    try:
        table = read_table(path, kinds)
    except UserError as error:
        log.warning("warning: %s: scoring again", error)
        return {}
    return {(row.pop("key"), row.pop("unit")): row for row in table.iter_rows(named=True)}


def _parts(known: Known) -> Iterator[dict[str, Any]]:
    for (key, unit), row in known.items():
        yield {"key": key, "unit": unit, **row}


def _is_known(known: Known, series: Series, row: Row) -> bool:
    """Whether this very picture was scored: of the same series, unit and activation."""
    found = known.get((series.fields["key"], row.unit))
    return found is not None and found["activation"] == row.score


def _shown(data: MethodData) -> list[tuple[int, Row]]:
    """The units that have a picture, each with its row in the file."""
    return [(index, row) for index, row in enumerate(data.rows()) if not row.status.failed]


def _has_seeds(series: Sequence[Series]) -> bool:
    return len({each.method for each in series}) < len(series)


def _diversities(
    series: Sequence[Series], methods: Mapping[str, MethodData], targets: Targets
) -> dict[tuple[str, int], float]:
    """Over the seeds of a method, by method and unit, where there are two pictures or more."""
    places = defaultdict(list)
    for each in series:
        for index, row in _shown(methods[each.name]):
            places[each.method, row.unit].append((each.name, index))

    def pictures(several: Sequence[tuple[str, int]]) -> Bytes:
        return np.stack([eight_bits(methods[name].image(index)) for name, index in several])

    return {
        unit: diversity(targets.seen(pictures(several)))
        for unit, several in places.items()
        if len(several) > 1
    }


def _alike(weights: Sequence[Tensor], units: Sequence[int]) -> Iterator[dict[str, Any]]:
    """The units whose weights are most alike, of those that multiply the same inputs."""
    first = 0
    for group in weights:
        mine = [unit for unit in units if first <= unit < first + len(group)]
        vectors = group[[unit - first for unit in mine]].float().cpu().numpy()
        for row, other, cosine in most_alike(vectors, _MOST_ALIKE):
            yield {"unit": mine[row], "other": mine[other], "cosine": cosine}
        first += len(group)


def _rows(
    series: Series, data: MethodData, known: Known, apart: Mapping[tuple[str, int], float]
) -> Iterator[dict[str, Any]]:
    """The rows of a series; of a unit that failed no more than what it is."""
    key = series.fields["key"]
    for row in data.rows():
        told = {
            "layer": series.layer,
            "unit": row.unit,
            "label": series.label(row.unit),
            "method": series.method,
            "key": key,
            "seed": series.seed,
            "status": str(row.status),
        }
        if not row.status.failed:
            told |= known[key, row.unit]
            told["iterations_95"] = iterations_95(series.sign * row.activation)
            told["diversity"] = apart.get((series.method, row.unit))
        yield told
