"""The pictures of a layer's units: thumbnails, sheets of thumbnails, large pictures, films."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cnnpref.planning.files import PNG, TILES
from cnnpref.results.unit_file import UnitResult
from cnnpref.show.site.material import Material, Run
from cnnpref.show.site.pictures import (
    PLACES,
    SMALL,
    TILE,
    Pixels,
    film,
    large_webp,
    placeholder,
    png,
    resized,
    sheet,
    shown,
    tile,
    webp,
    with_importance,
)
from cnnpref.show.site.store import Store, digest

LARGE, THUMB, TINY = "{}-large.webp", "{}.webp", "{}-small.webp"
WEIGHED, FILM = "{}-importance.webp", "{}-film.webp"
FRAME = "{}-frame{}.webp"
SHEETS = "sheets.css"
_MOST_FRAMES = 12  # on a film strip; the film has all


@dataclass(frozen=True)
class Facts:
    """What a unit's page tells of one picture, beside the row of the layer file.

    Attributes:
        attributes: of the unit file, without what is common to its series.
        frames: steps of the frames on the film strip.
    """

    attributes: Mapping[str, Any]
    has_importance: bool
    frames: Sequence[int]


FactsOf = dict[int, Facts]
"""By unit."""


def write_tiles(store: Store, material: Material, run: Run, place: int | None) -> FactsOf:
    """Write the pictures of all units of a series, and find out what their pages tell.

    Args:
        store: where to.
        material: of its layer.
        run: the series and its rows.
        place: of the method among those of the layer's page; None: it is not among them, and needs
            no sheets.
    """
    folder = material.plan.path(TILES, material.layer, run.name)
    found, rules = FactsOf(), list[str]()
    for number, first in enumerate(range(0, len(material.units), PLACES)):
        units = material.units[first : first + PLACES]
        made = [_write_unit(store, folder, run, unit, found) for unit in units]
        if place is not None:
            _write_sheet(store, folder, number, made)
            rules += _rules(place, number, [pixels for pixels, _ in made])
    if place is not None:
        store.put_text(folder / SHEETS, "".join(rules))
    return found


_Made = tuple[Pixels | None, str]  # a tile, none for a unit that failed, and its digest


def _write_unit(store: Store, folder: Path, run: Run, unit: int, found: FactsOf) -> _Made:
    path, row = run.series.path(unit), run.rows[unit]
    result = run.result(unit)
    pixels = shown(result.image, row.receptive_field, run.series.how.is_stretched)
    frames = [] if row.status.failed else _write_frames(store, folder, run, unit, result)
    found[unit] = _facts(result, row.status.failed, frames)
    if row.status.failed:
        return None, ""
    source = digest(pixels.tobytes(), str((pixels.shape, row.receptive_field)))
    small = tile(pixels, row.receptive_field)
    store.put(path.with_suffix(Path(PNG.path).suffix), source, partial(png, pixels))
    store.put(folder / THUMB.format(unit), source, partial(webp, small))
    store.put(folder / TINY.format(unit), source, lambda: webp(resized(small, SMALL)))
    store.put(folder / LARGE.format(unit), source, partial(large_webp, pixels, 86))
    if result.importance is not None:
        weighed = with_importance(pixels, result.importance)
        source_weighed = digest(weighed.tobytes(), str(weighed.shape))
        store.put(folder / WEIGHED.format(unit), source_weighed, partial(large_webp, weighed, 80))
    return small, source


def _facts(result: UnitResult, failed: bool, frames: Sequence[int]) -> Facts:
    kept = ("seconds", "device", "versions", "attempts_status", "sha256")
    attributes = {name: result.attributes[name] for name in kept if name in result.attributes}
    return Facts(attributes, result.importance is not None and not failed, frames)


def _write_sheet(store: Store, folder: Path, number: int, made: Sequence[_Made]) -> None:
    tiles = [pixels for pixels, _ in made]
    source = digest(*(each for _, each in made))
    for letter, side in (("s", TILE), ("t", SMALL)):
        make: Callable[[], bytes] = partial(_sheet_file, tiles, side)
        store.put(folder / f"{letter}{number}.webp", source, make)


def _sheet_file(tiles: Sequence[Pixels | None], side: int) -> bytes:
    return webp(sheet(tiles, side))


def _rules(place: int, number: int, tiles: Sequence[Pixels | None]) -> list[str]:
    """The rules of a sheet, large and small, above the mean colours of its tiles."""
    rule = ".m{}{} .k{}{{{}background-image:url({}{}.webp),var(--mean)}}\n"
    return [
        rule.format(place, "", number, f"--mean:url({placeholder(tiles)});", "s", number),
        rule.format(place, ".small", number, "", "t", number),
    ]


def _write_frames(store: Store, folder: Path, run: Run, unit: int, result: UnitResult) -> list[int]:
    """Write the film of a unit that has frames; the steps of those on the strip."""
    if result.frames is None or result.frame_step is None or not len(result.frames):
        return []
    steps, frames = result.frame_step.tolist(), _shown(result.frames, run, unit)
    chosen = np.linspace(0, len(steps) - 1, min(_MOST_FRAMES, len(steps))).round().astype(int)
    source = digest(frames.tobytes(), str(frames.shape))
    store.put(folder / FILM.format(unit), source, partial(film, list(frames)))
    for place, index in enumerate(chosen.tolist()):
        path = folder / FRAME.format(unit, place)
        store.put(path, digest(frames[index].tobytes()), partial(large_webp, frames[index]))
    return [steps[index] for index in chosen.tolist()]


def _shown(frames: Pixels, run: Run, unit: int) -> Pixels:
    """(n, H, W, 3)."""
    stretched, box = run.series.how.is_stretched, run.rows[unit].receptive_field
    return np.stack([shown(each.astype(np.float32), box, stretched) for each in frames])
