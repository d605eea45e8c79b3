"""Which files a run has, what each is made of, and which rule of the workflow makes it.

Said here alone: the rules' inputs and outputs, `check`, `clean` and the gallery take it from here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cnnpref.planning.series import Series


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        name: in the singular, as `check` counts them.
        path: below the run's folder, a pattern with `{unit}` and `{fields}` of `Series.fields`:
            there is a file for each value that these take.
    """

    name: str
    path: str


@dataclass(frozen=True)
class Rule:
    """A rule of the workflow, whose jobs make files of others.

    Attributes:
        log: of a job, a pattern as `Kind.path`. With a `{layer}`, a job is for one layer; without,
            there is one job for the whole run.
        reads: a job needs the files of these kinds, of its layer or of the run.
        makes: it writes the files of these kinds, of its layer or of the run.
        leaves: it also writes files or folders of these kinds, too many for Snakemake to know
            each; one of the files that it makes lists them.
    """

    log: str
    reads: tuple[Kind, ...]
    makes: tuple[Kind, ...]
    leaves: tuple[Kind, ...] = ()


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
LAYER_SHEET = Kind("sheet", "sheets/{layer}.png")
METHOD_SHEET = Kind("sheet", "sheets/{layer}/{name}.png")
PAGE = Kind("gallery file", "pages/{layer}.html")
MANIFEST = Kind("gallery file", "pictures/{layer}/manifest.json")  # of all that a layer's job wrote
UNIT_PAGE = Kind("page of a unit", "units/{layer}/{unit}.html")
PNG = Kind("PNG of a unit", UNITS + "/{unit}.png")
TILES = Kind("tiles", "pictures/{layer}/{name}")  # a folder
NATURAL = Kind("natural images", "pictures/{layer}/natural")  # a folder
INDEX = Kind("gallery file", "index.html")
LAYERS = Kind("gallery file", "assets/layers.js")  # their names, in order
STYLE = Kind("gallery file", "assets/gallery.css")
SCRIPTS = tuple(Kind("gallery file", f"assets/{name}.js") for name in ("gallery", "layer", "unit"))
ASSETS = (STYLE, *SCRIPTS)
SHARE = Kind("gallery folder", "share")  # the gallery without the files that it is made of

GENERATE = Rule("logs/generate/{layer}/{method}-{key}/{unit}.log", (), (UNIT,))
COLLECT = Rule("logs/collect/{layer}.log", (UNIT,), (LAYER,))
SHEETS = Rule("logs/sheets/{layer}.log", (LAYER,), (LAYER_SHEET, METHOD_SHEET))
PAGES = Rule("logs/pages/{layer}.log", (LAYER,), (PAGE, MANIFEST), (UNIT_PAGE, PNG, TILES, NATURAL))
GALLERY = Rule("logs/gallery.log", (PAGE, MANIFEST), (INDEX, LAYERS, *ASSETS))
SHARING = Rule("logs/share.log", (PAGE, MANIFEST, INDEX, LAYERS, *ASSETS), (SHARE,))
RULES = (GENERATE, COLLECT, SHEETS, PAGES, GALLERY, SHARING)  # each after those it reads from
KINDS = tuple(kind for rule in RULES for kind in rule.makes)
FETCH_LOG = "logs/fetch/{weights}.log"  # of the rule that makes no file of the run


def list_files(folder: Path, series: Sequence[Series]) -> Iterator[File]:
    """Every file of a run, each after those that it is made of.

    Args:
        folder: of the run.
        series: all of the run, layer by layer.
    """
    layers = dict.fromkeys(each.layer for each in series)
    by_layer = [[each for each in series if each.layer == layer] for layer in layers]
    for rule in RULES:
        for job in by_layer if "{layer}" in rule.log else [series]:
            made_of = tuple(path for kind in rule.reads for path in expand(folder, kind.path, job))
            for kind in rule.makes:
                for path, (layer, each) in expand(folder, kind.path, job).items():
                    yield File(path, kind, made_of, layer, each)


def list_left(folder: Path, series: Sequence[Series]) -> Iterator[Path]:
    """The files and folders that jobs of a run leave beside those that Snakemake knows."""
    for kind in (kind for rule in RULES for kind in rule.leaves):
        yield from expand(folder, kind.path, series)


def list_logs(folder: Path, series: Sequence[Series]) -> Iterator[Path]:
    """The logs of a run's jobs; where their names also depend on the batches, the folders."""
    for rule in RULES:
        yield from expand(folder, rule.log.partition("/{unit}")[0], series)
    yield folder / FETCH_LOG.partition("/{weights}")[0]


def expand(
    folder: Path, pattern: str, series: Sequence[Series]
) -> dict[Path, tuple[str | None, Series | None]]:
    """The files below a run's folder that a pattern stands for; `layer` and `series` as in `File`.

    Args:
        folder: of the run.
        pattern: of paths, as in `Kind`.
        series: for these.
    """
    found: dict[Path, tuple[str | None, Series | None]] = {}
    for each in series:
        fields = each.fields
        layer = each.layer if "{layer}" in pattern else None
        whose = each if "{name}" in pattern or "{key}" in pattern else None
        for unit in each.units if "{unit}" in pattern else each.units[:1]:
            path = folder / pattern.format(**fields, unit=unit)
            found.setdefault(path, (layer, whose))
    return found
