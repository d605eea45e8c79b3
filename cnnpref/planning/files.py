"""Which files a run has, what each is made of, and which rule of the workflow makes it.

Said here alone: the rules' inputs and outputs, `check`, `clean` and the gallery take it from here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cnnpref.planning.series import Series
from cnnpref.planning.sheets import SheetOptions, page_mark


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        name: in the singular, as `check` counts them.
        path: below the run's folder, a pattern with `{unit}`, `{page}` (of a sheet) and `{fields}`
            of `Series.fields`: there is a file for each value that these take.
        on_request: whether there are such files only where the config asks for PDFs.
    """

    name: str
    path: str
    on_request: bool = False


@dataclass(frozen=True)
class Rule:
    """A rule of the workflow, whose jobs make files of others.

    Attributes:
        log: of a job, a pattern as `Kind.path`. With a `{layer}`, a job is for one layer; without,
            there is one job for the whole run.
        reads: a job needs the files of these kinds, of its layer or of the run.
        makes: it writes the files of these kinds, of its layer or of the run.
    """

    log: str
    reads: tuple[Kind, ...]
    makes: tuple[Kind, ...]


@dataclass(frozen=True)
class File:
    """A file of a run.

    Attributes:
        path: where it is, or will be.
        kind: what it is.
        made_of: the files that its job reads.
        layer: the layer that it is about; None: all of them.
        series: the units of that layer by one method, if it is about these alone.
    """

    path: Path
    kind: Kind
    made_of: tuple[Path, ...]
    layer: str | None
    series: Series | None


UNITS = "units/{layer}/{method}-{key}"  # the folder of a series
UNIT = Kind("unit file", UNITS + "/{unit}.h5")
LAYER = Kind("layer file", "layers/{layer}.h5")
LAYER_SHEET = Kind("sheet", "sheets/{layer}{page}.png")
METHOD_SHEET = Kind("sheet", "sheets/{layer}/{name}{page}.png")
LAYER_PDF = Kind("sheet", "sheets/{layer}.pdf", on_request=True)
METHOD_PDF = Kind("sheet", "sheets/{layer}/{name}.pdf", on_request=True)
SCORES = Kind("scores", "scores/{layer}.parquet")  # read where it is there
INDEX = Kind("gallery file", "index.html")
PAGE = Kind("gallery file", "pages/{layer}.html")
PREVIEW = Kind("gallery file", "pages/{layer}.png")

GENERATE = Rule("logs/generate/{layer}/{method}-{key}/{unit}.log", (), (UNIT,))
COLLECT = Rule("logs/collect/{layer}.log", (UNIT,), (LAYER,))
_PNGS, _PDFS = (LAYER_SHEET, METHOD_SHEET), (LAYER_PDF, METHOD_PDF)
SHEETS = Rule("logs/sheets/{layer}.log", (LAYER,), (*_PNGS, *_PDFS))
GALLERY = Rule("logs/gallery.log", (LAYER, *_PNGS), (INDEX, PAGE, PREVIEW))
RULES = (GENERATE, COLLECT, SHEETS, GALLERY)  # each after those that make what it reads
KINDS = tuple(kind for rule in RULES for kind in rule.makes)
FETCH_LOG = "logs/fetch/{weights}.log"  # of the rule that makes no file of the run


def list_files(folder: Path, series: Sequence[Series], sheets: SheetOptions) -> Iterator[File]:
    """Every file of a run, each after those that it is made of.

    Args:
        folder: of the run.
        series: all of the run, layer by layer.
        sheets: the config's, which say how many pages there are.
    """
    layers = dict.fromkeys(each.layer for each in series)
    by_layer = [[each for each in series if each.layer == layer] for layer in layers]
    for rule in RULES:
        for job in by_layer if "{layer}" in rule.log else [series]:
            made_of = tuple(p for kind in rule.reads for p in expand(folder, kind, job, sheets))
            for kind in rule.makes:
                for path, (layer, each) in expand(folder, kind, job, sheets).items():
                    yield File(path, kind, made_of, layer, each)


def list_logs(folder: Path, series: Sequence[Series]) -> Iterator[Path]:
    """The logs of a run's jobs; where their names also depend on the batches, the folders."""
    for rule in RULES:
        yield from _expand(folder, rule.log.partition("/{unit}")[0], series)
    yield folder / FETCH_LOG.partition("/{weights}")[0]


Found = dict[Path, tuple[str | None, Series | None]]
"""Files, each with `layer` and `series` as in `File`."""


def expand(folder: Path, kind: Kind, series: Sequence[Series], sheets: SheetOptions) -> Found:
    """The files of a kind.

    Args:
        folder: of the run.
        kind: of file.
        series: for these: all of the layers that they are of.
        sheets: the config's.
    """
    if kind.on_request and not sheets.pdf:
        return {}
    if "{page}" not in kind.path:
        return _expand(folder, kind.path, series)
    found: Found = {}
    for mates in _sharing(series, "{name}" not in kind.path):
        units = len(set().union(*(each.units for each in mates)))
        for page in range(1, sheets.pages(units, len(mates)) + 1):
            found |= _expand(folder, kind.path.replace("{page}", page_mark(page)), mates)
    return found


def _sharing(series: Sequence[Series], is_of_layer: bool) -> Iterable[list[Series]]:
    """The series whose units share sheets: all of a layer, or each for itself."""
    found: dict[tuple[str, str], list[Series]] = {}
    for each in series:
        found.setdefault((each.layer, "" if is_of_layer else each.name), []).append(each)
    return found.values()


def _expand(folder: Path, pattern: str, series: Sequence[Series]) -> Found:
    found: Found = {}
    for each in series:
        fields = each.fields
        layer = each.layer if "{layer}" in pattern else None
        whose = each if "{name}" in pattern or "{key}" in pattern else None
        for unit in each.units if "{unit}" in pattern else each.units[:1]:
            path = folder / pattern.format(**fields, unit=unit)
            found.setdefault(path, (layer, whose))
    return found
