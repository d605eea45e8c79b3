"""Which files a run has, what each is made of, and which rule of the workflow makes it.

Said here alone: the rules' inputs and outputs, `check`, `clean` and the gallery take it from here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cnnpref.planning.references import References
from cnnpref.planning.series import Series
from cnnpref.planning.sheets import SheetOptions, page_mark


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        name: in the singular, as `check` counts them.
        path: below the run's folder, a pattern with `{unit}`, `{page}` (of a sheet), `{fields}` of
            `Series.fields`, `{images}` and `{shard}` of references, `{scoring}`, the key of how
            pictures are scored, and `{look}`, that of how sheets look: there is a file for each
            value that these take.
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
            there is one job for the whole run, or with a `{shard}` for each of these.
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


@dataclass(frozen=True)
class Extent:
    """What a config asks for beside series.

    Attributes:
        sheets: which say how many pages there are.
        references: where there are none, nor are there files about them.
        scoring: key of how pictures are scored.
    """

    sheets: SheetOptions
    references: References | None
    scoring: str

    @cached_property
    def keys(self) -> dict[str, str]:
        """Fields of patterns that are the same in all files of a run."""
        return {"scoring": self.scoring[:8], "look": self.sheets.key[:8]}


UNITS = "units/{layer}/{method}-{key}"  # the folder of a series
UNIT = Kind("unit file", UNITS + "/{unit}.h5")
LAYER = Kind("layer file", "layers/{layer}.h5")
LAYER_SHEET = Kind("sheet", "sheets/{layer}{page}.png")
METHOD_SHEET = Kind("sheet", "sheets/{layer}/{name}{page}.png")
LAYER_PDF = Kind("sheet", "sheets/{layer}.pdf", on_request=True)
# Of the other sheets: where it changes, all are drawn anew.
LOOK = Kind("sheet look", "sheets/{layer}/look-{look}.json")
METHOD_PDF = Kind("sheet", "sheets/{layer}/{name}.pdf", on_request=True)
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
# Only of runs with reference images:
IMAGES = Kind("list of images", "references/images-{images}.tsv")
NATURE = Kind("reference file", "references/nature.h5")
SHARD = Kind("reference shard", "references/shards/{shard}.h5")
REFERENCE = Kind("reference file", "references/{layer}.h5")
# Tables of scores; a part has what was computed so far, and outlives a job that is killed.
SCORES_PART = Kind("score part", "scores/parts/{layer}-{scoring}.parquet")
SCORES = Kind("score table", "scores/{layer}.parquet")
ALL_SCORES = Kind("score table", "scores.csv")
ALIKE = Kind("likeness table", "scores/alike/{layer}.parquet")

GENERATE = Rule("logs/generate/{layer}/{method}-{key}/{unit}.log", (), (UNIT,))
COLLECT = Rule("logs/collect/{layer}.log", (UNIT,), (LAYER,))
_PNGS, _PDFS = (LAYER_SHEET, METHOD_SHEET), (LAYER_PDF, METHOD_PDF)
SHEETS = Rule("logs/sheets/{layer}.log", (LAYER, SCORES), (*_PNGS, *_PDFS, LOOK))
LIST_IMAGES = Rule("logs/references/images.log", (), (IMAGES,))
MEASURE_NATURE = Rule("logs/references/nature.log", (IMAGES,), (NATURE,))
TALLY = Rule("logs/references/shards/{shard}.log", (), (SHARD,))
MERGE = Rule("logs/references/merge.log", (SHARD,), (REFERENCE,))
SCORE = Rule("logs/scores/{layer}.log", (LAYER, REFERENCE, NATURE), (SCORES_PART, SCORES, ALIKE))
JOIN_SCORES = Rule("logs/scores.log", (SCORES,), (ALL_SCORES,))
PAGES = Rule(
    "logs/pages/{layer}.log",
    (LAYER, REFERENCE, SCORES, ALIKE),
    (PAGE, MANIFEST),
    (UNIT_PAGE, PNG, TILES, NATURAL),
)
GALLERY = Rule("logs/gallery.log", (PAGE, MANIFEST), (INDEX, LAYERS, *ASSETS))
SHARING = Rule("logs/share.log", (PAGE, MANIFEST, INDEX, LAYERS, *ASSETS), (SHARE,))
REFERENCE_RULES = (LIST_IMAGES, MEASURE_NATURE, TALLY, MERGE)
# Each after those that make what it reads.
RULES = (
    *(*REFERENCE_RULES, GENERATE, COLLECT, SCORE, JOIN_SCORES),
    *(SHEETS, PAGES, GALLERY, SHARING),
)
KINDS = tuple(kind for rule in RULES for kind in rule.makes)
FETCH_LOG = "logs/fetch/{weights}.log"  # of the rule that makes no file of the run


def list_files(folder: Path, series: Sequence[Series], extent: Extent) -> Iterator[File]:
    """Every file of a run, each after those that it is made of.

    Args:
        folder: of the run.
        series: all of the run, layer by layer.
        extent: what else the config asks for.
    """
    layers = dict.fromkeys(each.layer for each in series)
    by_layer = [[each for each in series if each.layer == layer] for layer in layers]
    for rule in RULES:
        for job in by_layer if "{layer}" in rule.log else [series]:
            read = (expand(folder, kind, job, extent) for kind in rule.reads)
            made_of = tuple(path for paths in read for path in paths)
            for kind in rule.makes:
                found = expand(folder, kind, job, extent)
                for path, (layer, each) in found.items():
                    yield File(path, kind, made_of, layer, each)


def list_left(folder: Path, series: Sequence[Series], extent: Extent) -> Iterator[Path]:
    """The files and folders that jobs of a run leave beside those that Snakemake knows."""
    for kind in (kind for rule in RULES for kind in rule.leaves):
        yield from _expand(folder, kind.path, series, extent)


def list_logs(folder: Path, series: Sequence[Series], extent: Extent) -> Iterator[Path]:
    """The logs of a run's jobs; where their names also depend on the batches, the folders."""
    for rule in RULES:
        yield from _expand(folder, rule.log.partition("/{unit}")[0], series, extent)
    yield folder / FETCH_LOG.partition("/{weights}")[0]


Found = dict[Path, tuple[str | None, Series | None]]
"""Files, each with `layer` and `series` as in `File`."""


def expand(
    folder: Path,
    kind: Kind,
    series: Sequence[Series],
    extent: Extent,
) -> Found:
    """The files of a kind.

    Args:
        folder: of the run.
        kind: of file.
        series: for these: all of the layers that they are of.
        extent: what else the config asks for.
    """
    if kind.on_request and not extent.sheets.pdf:
        return {}
    if "{page}" not in kind.path:
        return _expand(folder, kind.path, series, extent)
    found: Found = {}
    for mates in _sharing(series, "{name}" not in kind.path):
        units = len(set().union(*(each.units for each in mates)))
        for page in range(1, extent.sheets.pages(units, len(mates)) + 1):
            found |= _expand(folder, kind.path.replace("{page}", page_mark(page)), mates, extent)
    return found


def _sharing(series: Sequence[Series], is_of_layer: bool) -> Iterable[list[Series]]:
    """The series whose units share sheets: all of a layer, or each for itself."""
    found: dict[tuple[str, str], list[Series]] = {}
    for each in series:
        found.setdefault((each.layer, "" if is_of_layer else each.name), []).append(each)
    return found.values()


def _expand(folder: Path, pattern: str, series: Sequence[Series], extent: Extent) -> Found:
    if "references" in Path(pattern).parts and not extent.references:
        return {}
    found: Found = {}
    for each in series:
        layer = each.layer if "{layer}" in pattern else None
        whose = each if "{name}" in pattern or "{key}" in pattern else None
        for fields in _fields(pattern, each, extent.references):
            path = pattern.format(**fields, **extent.keys)
            found.setdefault(folder / path, (layer, whose))
    return found


def _fields(
    pattern: str, series: Series, references: References | None
) -> Iterator[dict[str, object]]:
    """The values that the fields of a pattern take, for a series."""
    images = references.images_key[:8] if references and "{images}" in pattern else ""
    shards = references.shards if references and "{shard}" in pattern else ()
    for unit in series.units if "{unit}" in pattern else series.units[:1]:
        for name in [shard.name for shard in shards] or [""]:
            yield {**series.fields, "unit": unit, "images": images, "shard": name}
