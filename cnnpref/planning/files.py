"""Which files a run has, what each is made of, and which rule of the workflow makes it.

Said here alone: the rules' inputs and outputs, `check`, `clean` and the gallery take it from here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cnnpref.planning.references import References
from cnnpref.planning.series import Series


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        name: in the singular, as `check` counts them.
        path: below the run's folder, a pattern with `{unit}`, `{fields}` of `Series.fields`,
            `{images}` and `{shard}` of references, and `{scoring}`, the key of how pictures are
            scored: there is a file for each value that these take.
    """

    name: str
    path: str


@dataclass(frozen=True)
class Rule:
    """A rule of the workflow, whose jobs make files of others.

    Attributes:
        log: of a job, a pattern as `Kind.path`. With a `{layer}`, a job is for one layer; without,
            there is one job for the whole run, or with a `{shard}` for each of these.
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
LAYER_SHEET = Kind("sheet", "sheets/{layer}.png")
METHOD_SHEET = Kind("sheet", "sheets/{layer}/{name}.png")
INDEX = Kind("gallery file", "index.html")
PAGE = Kind("gallery file", "pages/{layer}.html")
PREVIEW = Kind("gallery file", "pages/{layer}.png")
# Only of runs with reference images:
IMAGES = Kind("list of images", "references/images-{images}.tsv")
NATURE = Kind("reference file", "references/nature.h5")
SHARD = Kind("reference shard", "references/shards/{shard}.h5")
REFERENCE = Kind("reference file", "references/{layer}.h5")
# Tables of scores; a part has what was computed so far, and outlives a job that is killed.
SCORES_PART = Kind("part of scores", "scores/parts/{layer}-{scoring}.parquet")
SCORES = Kind("table of scores", "scores/{layer}.parquet")
ALL_SCORES = Kind("table of scores", "scores.csv")

GENERATE = Rule("logs/generate/{layer}/{method}-{key}/{unit}.log", (), (UNIT,))
COLLECT = Rule("logs/collect/{layer}.log", (UNIT,), (LAYER,))
SHEETS = Rule("logs/sheets/{layer}.log", (LAYER,), (LAYER_SHEET, METHOD_SHEET))
LIST_IMAGES = Rule("logs/references/images.log", (), (IMAGES,))
MEASURE_NATURE = Rule("logs/references/nature.log", (IMAGES,), (NATURE,))
TALLY = Rule("logs/references/shards/{shard}.log", (), (SHARD,))
MERGE = Rule("logs/references/merge.log", (SHARD,), (REFERENCE,))
SCORE = Rule("logs/scores/{layer}.log", (LAYER, REFERENCE, NATURE), (SCORES_PART, SCORES))
JOIN_SCORES = Rule("logs/scores.log", (SCORES,), (ALL_SCORES,))
GALLERY = Rule(
    "logs/gallery.log",
    (LAYER, LAYER_SHEET, METHOD_SHEET, REFERENCE, SCORES),
    (INDEX, PAGE, PREVIEW),
)
REFERENCE_RULES = (LIST_IMAGES, MEASURE_NATURE, TALLY, MERGE)
RULES = (
    *REFERENCE_RULES,
    GENERATE,
    COLLECT,
    SCORE,
    JOIN_SCORES,
    SHEETS,
    GALLERY,
)  # each after those that make what it reads
KINDS = tuple(kind for rule in RULES for kind in rule.makes)
FETCH_LOG = "logs/fetch/{weights}.log"  # of the rule that makes no file of the run


def list_files(
    folder: Path,
    series: Sequence[Series],
    references: References | None = None,
    scoring: str = "",
) -> Iterator[File]:
    """Every file of a run, each after those that it is made of.

    Args:
        folder: of the run.
        series: all of the run, layer by layer.
        references: of the run.
        scoring: key of how its pictures are scored.
    """
    layers = dict.fromkeys(each.layer for each in series)
    by_layer = [[each for each in series if each.layer == layer] for layer in layers]
    for rule in RULES:
        for job in by_layer if "{layer}" in rule.log else [series]:
            read = (expand(folder, kind.path, job, references, scoring) for kind in rule.reads)
            made_of = tuple(path for paths in read for path in paths)
            for kind in rule.makes:
                found = expand(folder, kind.path, job, references, scoring)
                for path, (layer, each) in found.items():
                    yield File(path, kind, made_of, layer, each)


def list_logs(
    folder: Path,
    series: Sequence[Series],
    references: References | None = None,
    scoring: str = "",
) -> Iterator[Path]:
    """The logs of a run's jobs; where their names also depend on the batches, the folders."""
    for rule in RULES:
        yield from expand(folder, rule.log.partition("/{unit}")[0], series, references, scoring)
    yield folder / FETCH_LOG.partition("/{weights}")[0]


def expand(
    folder: Path,
    pattern: str,
    series: Sequence[Series],
    references: References | None = None,
    scoring: str = "",
) -> dict[Path, tuple[str | None, Series | None]]:
    """The files below a run's folder that a pattern stands for; `layer` and `series` as in `File`.

    Args:
        folder: of the run.
        pattern: of paths, as in `Kind`.
        series: for these.
        references: and for these; where there are none, nor are there files about them.
        scoring: key of how pictures are scored.
    """
    if "references" in Path(pattern).parts and not references:
        return {}
    found: dict[Path, tuple[str | None, Series | None]] = {}
    for each in series:
        layer = each.layer if "{layer}" in pattern else None
        whose = each if "{name}" in pattern or "{key}" in pattern else None
        for fields in _fields(pattern, each, references):
            path = pattern.format(**fields, scoring=scoring[:8])
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
