"""Is a run complete? Every file that a config asks for: there, whole, and of what it should be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from PIL import Image

from cnnpref.errors import UserError
from cnnpref.planning.plan import Plan
from cnnpref.planning.series import Series
from cnnpref.results.layer_file import open_layer
from cnnpref.results.unit_file import check_unit


class Kind(StrEnum):
    """What can be wrong with a file."""

    MISSING = "missing"
    DAMAGED = "damaged"  # it cannot be read
    STALE = "stale"  # older than what it is made of, or made of something else


@dataclass(frozen=True)
class Fault:
    """What is wrong with a file.

    Attributes:
        reason: in a few words, more than the kind says; or "".
    """

    kind: Kind
    path: Path
    reason: str = ""


def check_series(series: Series) -> Iterator[Fault]:
    """What is wrong with the unit files of a series."""
    for path in series.paths():
        reason = check_unit(path, series.digest)
        if reason and not path.exists():
            yield Fault(Kind.MISSING, path)
        elif reason:
            of_another = check_unit(path) is None
            yield Fault(Kind.STALE if of_another else Kind.DAMAGED, path, reason)


def check_shown(plan: Plan) -> Iterator[Fault]:
    """What is wrong with layer files, sheets and pages."""
    for layer in plan.layers:
        series = plan.select(layer)
        units = [path for each in series for path in each.paths()]
        data, sheets = plan.layer_file(layer), [plan.sheet(layer), *_method_sheets(plan, layer)]
        yield from _check(data, units, _layer_fault(data, series))
        for sheet in sheets:
            yield from _check(sheet, [data], _picture_fault(sheet))
    shown = [plan.layer_file(layer) for layer in plan.layers]
    shown += [sheet for layer in plan.layers for sheet in _method_sheets(plan, layer)]
    shown += [plan.sheet(layer) for layer in plan.layers]
    for page in pages(plan):
        yield from _check(page, shown, _page_fault(page))


def is_collected(path: Path, series: Sequence[Series]) -> bool:
    """Whether a layer file is complete and of these series, with these units."""
    return _layer_fault(path, series) is None


def pages(plan: Plan) -> list[Path]:
    """The files of the gallery."""
    of_layers = [plan.page(layer) for layer in plan.layers]
    return [plan.index, *of_layers, *(page.with_suffix(".png") for page in of_layers)]


def _method_sheets(plan: Plan, layer: str) -> list[Path]:
    return [plan.sheet(layer, method) for method in plan.names]


def _check(path: Path, sources: Iterable[Path], fault: Fault | None) -> Iterator[Fault]:
    """The fault of a file that is made of others: none, the given one, or its age."""
    if not path.exists():
        yield Fault(Kind.MISSING, path)
    elif fault:
        yield fault
    else:
        made = path.stat().st_mtime_ns
        newer = (s for s in sources if s.exists() and s.stat().st_mtime_ns > made)
        if source := next(newer, None):
            yield Fault(Kind.STALE, path, f"older than {source}")


def _layer_fault(path: Path, series: Sequence[Series]) -> Fault | None:
    wanted = {each.name: (each.digest, list(each.units)) for each in series}
    try:
        with open_layer(path) as methods:
            found = {
                name: (data.attributes["digest"], [row.unit for row in data.rows()])
                for name, data in methods.items()
            }
    except (UserError, KeyError, OSError, ValueError, RuntimeError):
        return Fault(Kind.DAMAGED, path, "not a complete layer file")
    other = [name for name in {**wanted, **found} if wanted.get(name) != found.get(name)]
    if other:
        return Fault(Kind.STALE, path, f"of other units or options of {', '.join(other)}")
    return None


def _picture_fault(path: Path) -> Fault | None:
    try:
        with Image.open(path) as image:
            image.verify()
    except (OSError, SyntaxError, ValueError):  # PIL's for a damaged PNG
        return Fault(Kind.DAMAGED, path, "not a complete picture")
    return None


def _page_fault(path: Path) -> Fault | None:
    if path.suffix == ".png":
        return _picture_fault(path)
    try:
        whole = path.read_text("utf-8").rstrip().endswith("</html>")
    except (OSError, UnicodeDecodeError):
        whole = False
    return None if whole else Fault(Kind.DAMAGED, path, "not a complete page")
