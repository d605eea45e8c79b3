"""Is a run complete? Every file that a config asks for: there, whole, and of what it should be."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from PIL import Image

from cnnpref.errors import UserError
from cnnpref.planning.files import (
    ALIKE,
    INDEX,
    LAYER,
    MANIFEST,
    NATURE,
    REFERENCE,
    SCORES,
    SCORES_PART,
    SHARD,
    UNIT,
    File,
)
from cnnpref.planning.plan import Plan
from cnnpref.planning.series import Series
from cnnpref.results.layer_file import open_layer, packed_units
from cnnpref.results.reference_file import (
    NATURE_FORMAT,
    REFERENCE_FORMAT,
    SHARD_FORMAT,
    reference_fault,
)
from cnnpref.results.score_file import ALIKE as ALIKE_COLUMNS
from cnnpref.results.score_file import columns, part_columns, read_table
from cnnpref.results.unit_file import check_unit


class State(StrEnum):
    """What can be wrong with a file."""

    MISSING = "missing"
    DAMAGED = "damaged"  # it cannot be read
    STALE = "stale"  # older than what it is made of, or made of something else


@dataclass(frozen=True)
class Fault:
    """What is wrong with a file.

    Attributes:
        reason: in a few words, more than the state says; or "".
    """

    state: State
    file: File
    reason: str = ""


def check_run(plan: Plan) -> Iterator[Fault]:
    """What is wrong with the files of a run."""
    packed = {
        each.digest: packed_units(plan.path(LAYER, each.layer), each.digest) for each in plan.series
    }
    for file in plan.files():
        if not file.path.exists():
            if not _is_packed(file, packed):
                yield Fault(State.MISSING, file)
        elif found := _content_fault(plan, file) or _age_fault(file):
            yield Fault(found[0], file, found[1])


def _is_packed(file: File, packed: Mapping[str, Collection[int]]) -> bool:
    """Whether it is a unit file that a layer file stands for."""
    if file.kind != UNIT or not file.series:
        return False
    return int(file.path.stem) in packed[file.series.digest]


def is_collected(path: Path, series: Sequence[Series]) -> bool:
    """Whether a layer file is complete and of these series, with these units and labels."""
    return _layer_fault(path, series) is None


def has_other_labels(path: Path, series: Sequence[Series]) -> bool:
    """Whether a layer file is complete and of these series, but with other labels."""
    fault = _layer_fault(path, series)
    return fault is not None and fault[1] == _OTHER_LABELS


_Found = tuple[State, str] | None  # what is wrong, and the reason
_OTHER_LABELS = "with other labels"


def _content_fault(plan: Plan, file: File) -> _Found:
    if file.kind == UNIT and file.series:
        return _unit_fault(file.path, file.series.digest)
    if file.kind == LAYER:
        return _layer_fault(file.path, plan.select(file.layer))
    if file.kind in _REFERENCES:
        return _reference_fault(plan, file)
    if file.kind == MANIFEST:
        return _manifest_fault(plan, file.path)
    if file.path.suffix == ".parquet":
        return _score_fault(plan, file)
    return _SHOWN_FAULTS.get(file.path.suffix, _text_fault)(file.path)


_REFERENCES = {SHARD: SHARD_FORMAT, REFERENCE: REFERENCE_FORMAT, NATURE: NATURE_FORMAT}


def _reference_fault(plan: Plan, file: File) -> _Found:
    wanted = plan.references
    assert wanted
    digests = {shard.name: shard.digest for shard in wanted.shards}
    whole = {REFERENCE: wanted.key, NATURE: wanted.images_key}
    digest = whole.get(file.kind) or digests[file.path.stem]
    fault = reference_fault(file.path, _REFERENCES[file.kind], digest)
    if not fault:
        return None
    return (State.STALE if fault.startswith("of other") else State.DAMAGED), fault


def _age_fault(file: File) -> _Found:
    made = file.path.stat().st_mtime_ns
    newer = (path for path in file.made_of if path.exists() and path.stat().st_mtime_ns > made)
    source = next(newer, None)
    return (State.STALE, f"older than {source}") if source else None


def _unit_fault(path: Path, digest: str) -> _Found:
    reason = check_unit(path, digest)
    of_another = reason and check_unit(path) is None
    return (State.STALE if of_another else State.DAMAGED, reason) if reason else None


def _layer_fault(path: Path, series: Sequence[Series]) -> _Found:
    wanted = {each.name: (each.digest, list(each.units)) for each in series}
    labels = {each.name: [each.label(unit) for unit in each.units] for each in series}
    try:
        with open_layer(path) as methods:
            rows = {name: data.rows() for name, data in methods.items()}
            found = {
                name: (data.attributes["digest"], [row.unit for row in rows[name]])
                for name, data in methods.items()
            }
    except (UserError, KeyError, OSError, ValueError, RuntimeError):
        return State.DAMAGED, "not a complete layer file"
    other = [name for name in {**wanted, **found} if wanted.get(name) != found.get(name)]
    if other:
        return State.STALE, f"of other units or options of {', '.join(other)}"
    is_labelled = labels == {name: [row.label for row in each] for name, each in rows.items()}
    return None if is_labelled else (State.STALE, _OTHER_LABELS)


def _score_fault(plan: Plan, file: File) -> _Found:
    """A part keeps rows of former units; a table has those that are wanted."""
    nets = len(plan.scoring.held_out)
    kinds = {SCORES: columns(nets), SCORES_PART: part_columns(nets), ALIKE: ALIKE_COLUMNS}
    try:
        table = read_table(file.path, kinds[file.kind])
    except UserError:
        return State.DAMAGED, "no table of scores with the wanted columns"
    wanted = [(s.fields["key"], unit) for s in plan.select(file.layer) for unit in s.units]
    if file.kind == SCORES and list(zip(table["key"], table["unit"], strict=True)) != wanted:
        return State.STALE, "of other units or options"
    return None


def _png_fault(path: Path) -> _Found:
    try:
        with Image.open(path) as image:
            image.verify()
    except (OSError, SyntaxError, ValueError):  # PIL's for a damaged PNG
        return State.DAMAGED, "not a complete PNG"
    return None


def _manifest_fault(plan: Plan, path: Path) -> _Found:
    """A manifest lists the files that its job left, with their sizes."""
    try:
        files = json.loads(path.read_text("utf-8"))["files"]
        wanted = {plan.folder / name: size for name, (_, size) in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return State.DAMAGED, "not a complete manifest"
    lost = [name for name, size in wanted.items() if _size(name) != size]
    if not lost:
        return None
    more = f" and {len(lost) - 1:,} more" if len(lost) > 1 else ""
    return State.DAMAGED, f"of its files, {lost[0]}{more} missing or not whole"


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.exists() else None


def _text_fault(path: Path) -> _Found:
    """A script or style of the gallery, or its folder to share."""
    if path.is_dir():
        return _page_fault(path / INDEX.path)
    return None if path.stat().st_size else (State.DAMAGED, "empty")


def _page_fault(path: Path) -> _Found:
    try:
        whole = path.read_text("utf-8").rstrip().endswith("</html>")
    except (OSError, UnicodeDecodeError):
        whole = False
    return None if whole else (State.DAMAGED, "not a complete page")


def _pdf_fault(path: Path) -> _Found:
    try:
        content = path.read_bytes()
        whole = content.startswith(b"%PDF-") and content.rstrip().endswith(b"%%EOF")
    except OSError:
        whole = False
    return None if whole else (State.DAMAGED, "not a complete PDF")


def _csv_fault(path: Path) -> _Found:
    """Written whole or not at all; that it begins as it should is all that is looked at."""
    try:
        whole = path.read_text("utf-8").startswith("layer,unit,")
    except (OSError, UnicodeDecodeError):
        whole = False
    return None if whole else (State.DAMAGED, "no table of scores")


_SHOWN_FAULTS: dict[str, Callable[[Path], _Found]] = {
    ".csv": _csv_fault,
    ".png": _png_fault,
    ".pdf": _pdf_fault,
    ".html": _page_fault,
    ".tsv": lambda _: None,  # its name tells its content
}
