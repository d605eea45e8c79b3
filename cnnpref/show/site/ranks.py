"""The scores of a unit, with their ranks in its layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from cnnpref.results.score_file import ONE_IS_GOOD
from cnnpref.show.site.material import Column, Material
from cnnpref.show.site.numbers import figure, ordinal, times


class _Score(NamedTuple):
    """A column of the table."""

    name: str
    called: str
    aim: str
    sign: int  # 1: more is better, -1: less is better


_SCORES = (
    _Score("activation", "activation", "in the layer", 1),
    _Score("gain", "gain", "best image = 1", 1),
    _Score("keep", "keep", "1 = nothing lost", 1),
    _Score("spectrum", "spectrum", "natural about 0.7", -1),
    _Score("colour", "colour", "natural = 1", -1),
    _Score("selectivity_rank", "selectivity", "rank among units", -1),
    _Score("diversity", "diversity", "over seeds", 1),
    _Score("judge_p", "judge", "probability", 1),
)


_OF_SIGN = ("activation", "gain")  # less is better for pictures of what a unit likes least
_WRITTEN = {"activation": figure, "gain": times}  # the others have two decimals


class Ranks:
    """The scores of a layer, ranked among its units by the same method."""

    def __init__(self, material: Material) -> None:
        self._material = material
        runs = material.firsts
        self._shown = [s for s in _SCORES if any(s.name in run.scores for run in runs.values())]
        self._places = {
            (method, score.name): _places(
                _from_one(run.scores.get(score.name, {}), score),
                score.sign * (material.sign if score.name in _OF_SIGN else 1),
            )
            for method, run in runs.items()
            for score in self._shown
        }

    def table(self, unit: int, methods: Sequence[str]) -> dict[str, Any]:
        """What the page of a unit shows: columns, and a row for each method with a picture."""
        return {
            "columns": [(score.called, score.aim) for score in self._shown],
            "rows": [
                {"method": method, "cells": [self._cell(unit, method, s) for s in self._shown]}
                for method in methods
                if unit in self._material.firsts[method].scores.get("activation", {})
            ],
            "among": len(self._material.units),
            "are_all": self._material.is_scored,
        }

    def _cell(self, unit: int, method: str, score: _Score) -> dict[str, Any] | None:
        value = self._material.firsts[method].scores.get(score.name, {}).get(unit)
        if value is None:
            return None
        places = self._places[method, score.name]
        place, most = places[unit], len(places)
        text = _WRITTEN.get(score.name, "{:.2f}".format)(value)
        is_rank = score.name == "selectivity_rank"
        return {
            "text": ordinal(int(value)) if is_rank else text,
            "rank": "" if is_rank else ordinal(place),
            "width": round(100 * (1 - (place - 1) / most)),
        }


def _from_one(column: Column, score: _Score) -> Column:
    """How far each value is from 1, for a score that is good there."""
    if score.name not in ONE_IS_GOOD:
        return column
    return {unit: abs(value - 1) for unit, value in column.items()}


def _places(column: Column, sign: int) -> dict[int, int]:
    """The place of each unit, from 1; equal values share the better one."""
    ordered = sorted(column, key=lambda unit: -sign * column[unit])
    places: dict[int, int] = {}
    for index, unit in enumerate(ordered):
        tied = index and column[unit] == column[ordered[index - 1]]
        places[unit] = places[ordered[index - 1]] if tied else index + 1
    return places
