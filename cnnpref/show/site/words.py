"""Sentences about a unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from cnnpref.methods import Options
from cnnpref.results.layer_file import Row
from cnnpref.show.site.material import Material, Run
from cnnpref.show.site.numbers import figure

Text = list[tuple[str, bool]]
"""Parts of a sentence, and whether each is emphasised."""

REASONS = {
    "zero-gradient": "the start gave no gradient, nothing in the image moved this unit",
    "stuck": "the picture never moved, or its activation never rose",
    "diverged": "the optimisation left the finite numbers",
}


def lead(material: Material, unit: int) -> Text:
    """The result for a unit in a sentence or two."""
    runs = [run for run in material.firsts.values() if not run.rows[unit].status.failed]
    if not runs:
        return _failure(material, unit)
    runs.sort(key=lambda run: -material.sign * run.rows[unit].score)
    references = material.references
    if references and material.sign > 0 and unit in references and not references.is_dead(unit):
        return _against_references(material, unit, runs[0])
    return _alone(material, unit, runs)


def _against_references(material: Material, unit: int, run: Run) -> Text:
    references = material.references
    assert references is not None  # for mypy: the caller asked
    score = run.rows[unit].score
    gain = references.gain(unit, score)
    text = [
        (f"The best of {references.count:,} reference images drives this unit to ", False),
        (figure(references.best(unit)), True),
        (". The picture made by ", False),
        (run.series.method, True),
        (" reaches ", False),
        (figure(score), True),
    ]
    if gain > 0:
        text.append((f", {gain:.1f} times as far above the median", False))
    rank = run.scores.get("selectivity_rank", {}).get(unit)
    if rank == 1:
        text.append((", and no other unit of the layer answers more to it", False))
    return [*text, (".", False)]


def _alone(material: Material, unit: int, runs: list[Run]) -> Text:
    top, left, bottom, right = runs[0].rows[unit].receptive_field
    sees = f"{right - left} × {bottom - top} px of the image"
    text: Text = [(f"It sees {'the whole image' if material.sees_all else sees}. ", False)]
    down = " down" if material.sign < 0 else ""
    for place, run in enumerate(runs[:3]):
        text += [
            (", " if place else "", False),
            (run.series.method, True),
            (" to " if place else f" drives it{down} to ", False),
            (figure(run.rows[unit].score), True),
        ]
    return [*text, (".", False)]


def _failure(material: Material, unit: int) -> Text:
    by_status: dict[str, list[str]] = {}
    for method, run in material.firsts.items():
        by_status.setdefault(str(run.rows[unit].status), []).append(method)
    text: Text = [(f"No picture{' by any method' if len(material.methods) > 1 else ''}.", True)]
    for status, methods in by_status.items():
        reason = REASONS.get(status, status)
        told = f"{', '.join(methods)}: {reason}" if len(by_status) > 1 else reason
        text.append((f" {told[:1].upper() + told[1:] if len(by_status) == 1 else told}.", False))
    return text


def tried(attributes: Mapping[str, Any], row: Row) -> str:
    """What was tried for a unit that failed."""
    attempts = row.attempts
    count = len(row.activation)
    evaluations = f"{count} evaluation{'' if count == 1 else 's'}"
    if attempts == 1:
        return f"seed {row.seed}, {evaluations}"
    earlier = attributes.get("attempts_status", [])
    before = f"; before it {', '.join(map(str, earlier))}" if earlier else ""
    return f"seed {row.seed}, {attempts} attempts{before}"


def options_of(options: Options) -> str:
    """The options of a method in one line."""
    return ", ".join(f"{name} {_short(value)}" for name, value in asdict(options).items())


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
