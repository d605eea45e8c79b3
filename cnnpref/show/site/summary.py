"""What the page of a run says of a layer; a layer's job leaves it in its manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from statistics import median
from typing import Any

from cnnpref.geometry import Box
from cnnpref.show.site.material import Material, Run
from cnnpref.show.site.numbers import times, units
from cnnpref.show.site.tiles import FactsOf
from cnnpref.unit_map import Position

BEST = 12  # units of a layer on the page of a run

_WORDS = {"zero-gradient": "without gradient"}  # of a status, in a sentence


def summarise(material: Material, facts: Mapping[str, FactsOf]) -> dict[str, Any]:
    """All that the page of the run needs of a layer, as JSON can hold it."""
    failed = {unit for run in material.firsts.values() for unit in run.failed()}
    first = next(iter(material.firsts.values()))
    attributes = next(iter(facts[first.name].values())).attributes
    return {
        "layer": material.layer,
        "net": material.net,
        "units": len(material.units),
        "failed": len(failed),
        "size": material.size,
        "field": material.field,
        "sees": sees(material.size, material.field),
        "facts": facts_of(material),
        "references": material.references.count if material.references else None,
        "position": first.series.position,
        "sha256": attributes["sha256"],
        "versions": attributes["versions"],
        "device": attributes["device"],
        "methods": {
            method: _method(material, run, facts[run.name])
            for method, run in material.firsts.items()
        },
    }


def _method(material: Material, run: Run, facts: FactsOf) -> dict[str, Any]:
    key = "gain" if "gain" in run.scores else "activation"
    column = run.scores.get(key, {})
    best = sorted(column, key=lambda unit: (-material.sign * column[unit], unit))[:BEST]
    return {
        **results_of(run),
        "units": len(run.rows),
        "failed": len(run.failed()),
        "seconds": sum(float(each.attributes["seconds"]) for each in facts.values()),
        "best": [
            {
                "unit": unit,
                "label": material.labels.get(unit, ""),
                "activation": run.scores["activation"].get(unit, run.rows[unit].score),
                "gain": run.scores.get("gain", {}).get(unit),
            }
            for unit in best
        ],
        "digest": run.series.digest,
        "seeds": len(material.methods[run.series.method]),
    }


def facts_of(material: Material) -> list[str]:
    """A layer in a few words: its units, and what they see."""
    first = next(iter(material.firsts.values()))
    facts = [units(len(material.units)), sees(material.size, material.field)]
    if place := place_of(first.series.position):
        facts.append(place)
    if material.sign < 0:
        facts.append("what they like least")
    return facts


def place_of(position: Position) -> str:
    """Where in the map the units lie, unless that is its centre or there is no map."""
    if position == "center":
        return ""
    if position == "all":
        return "summed over the map"
    if isinstance(position, list | tuple):
        return f"position {', '.join(map(str, position))}"
    return f"token {position}"


def sees(size: tuple[int, int], field: Box) -> str:
    """What units see of an image: "whole image", "field 7 × 7 px"."""
    top, left, bottom, right = field
    if (bottom - top, right - left) == tuple(size):
        return "whole image"
    return f"field {right - left} × {bottom - top} px"


def results_of(run: Run) -> dict[str, str]:
    """How a method did: its median gain, and its failures as "4 stuck, 2 without gradient"."""
    gains, counts = run.scores.get("gain"), Counter(run.failed().values())
    words = (f"{n:,} {_WORDS.get(word, word)}" for word, n in sorted(counts.items()))
    return {
        "gain": times(median(gains.values())) if gains else "",
        "failures": ", ".join(words),
    }
