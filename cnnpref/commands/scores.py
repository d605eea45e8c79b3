"""Commands about scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from cnnpref.commands.arguments import THREADS, device_option, layer_option, read_plan
from cnnpref.errors import UserError, suggest
from cnnpref.planning.files import ALIKE, ALL_SCORES, LAYER, NATURE, REFERENCE, SCORES, SCORES_PART
from cnnpref.planning.plan import Plan
from cnnpref.results.score_file import KEYS, columns, order_of, read_table

if TYPE_CHECKING:
    from polars import DataFrame

SHOWN = ("activation_8bit", "gain", "keep", "spectrum", "colour", "selectivity_rank")
_MORE = ("judge_p", "judge_rank", "diversity", "iterations_95")


@click.command()
@click.argument("source", metavar="[CONFIG]", required=False)
@click.option("--config", metavar="PATH|JSON", help="The same: a YAML file, or a JSON object.")
@layer_option
@click.option("--sort", metavar="SCORE", help="Print a table, the best by this score first.")
@click.option("--top", type=click.IntRange(min=1), help="Print a table of no more rows.")
@device_option
@click.option("--threads", type=THREADS, default=1, show_default=True)
def scores(
    source: str | None,
    config: str | None,
    layer: str | None,
    sort: str | None,
    top: int | None,
    device: str,
    threads: int,
) -> None:
    """Score the pictures of a run: how much, how robustly and how naturally they excite units.

    Computes what is missing of scores/<layer>.parquet; without --layer also writes scores.csv. With
    --sort or --top prints a table; units are best first by `activation`, if nothing else is said.
    """
    plan = read_plan(_source(source, config))
    layers = list(dict.fromkeys(series.layer for series in plan.select(layer)))
    kinds = columns(len(plan.scoring.held_out))
    if sort and (sort not in kinds or kinds[sort] is str):
        known = [name for name, kind in kinds.items() if kind is not str]
        raise UserError(f"--sort: got {sort!r}{suggest(sort, known)}; allowed: {', '.join(known)}")
    if todo := [name for name in layers if _is_due(plan, name)]:
        _score(plan, todo, device, threads)
    if layer is None:
        _join(plan)
    if sort or top:
        import polars

        tables = [read_table(plan.path(SCORES, name), kinds) for name in layers]
        signs = {series.layer: series.sign for series in plan.series}
        table = best_first(polars.concat(tables), sort or "activation", signs)
        click.echo(_shown(table, sort, top))


@click.command()
@click.option("--config", required=True, metavar="PATH|JSON", help="A YAML file, or a JSON object.")
def join_scores(config: str) -> None:
    """Put the scores of all layers into one file, scores.csv."""
    _join(read_plan(config))


def _source(source: str | None, config: str | None) -> str:
    if (source is None) == (config is None):
        raise UserError("give one config: 'cnnpref scores my.yaml', or by --config")
    return source or config or ""


def _is_due(plan: Plan, layer: str) -> bool:
    """Whether a layer's table is missing, or older than what it is made of."""
    made = [plan.path(kind, layer) for kind in (SCORES, SCORES_PART, ALIKE)]
    if not all(path.exists() for path in made):
        return True
    kinds = (LAYER, REFERENCE, NATURE) if plan.references else (LAYER,)
    sources = [plan.path(kind, layer) for kind in kinds]
    newest = max((path.stat().st_mtime_ns for path in sources if path.exists()), default=0)
    return made[0].stat().st_mtime_ns < newest


def _score(plan: Plan, layers: list[str], device: str, threads: int) -> None:
    from cnnpref.jobs.devices import job_device
    from cnnpref.jobs.scores import ScoringNets, score_layer

    with job_device(device, threads) as place:
        nets = ScoringNets(plan, place)
        for layer in layers:
            score_layer(plan, layer, nets)
            click.echo(f"scores: {plan.path(SCORES, layer)}", err=True)


def _join(plan: Plan) -> None:
    from cnnpref.results.score_file import join_tables

    join_tables(plan)
    click.echo(f"scores: {plan.path(ALL_SCORES)}", err=True)


def best_first(table: DataFrame, score: str, signs: Mapping[str, int]) -> DataFrame:
    """Rows sorted by a score, those without it last; signs of the layers."""
    import polars

    values = zip(table["layer"], table[score], strict=True)
    order = [None if v is None else order_of(score, signs[layer])(v) for layer, v in values]
    table = table.with_columns(polars.Series("order", order, polars.Float64))
    return table.sort(["order", "unit"], nulls_last=True).drop("order")


def _shown(table: DataFrame, sort: str | None, top: int | None) -> str:
    """The first rows as lines of text."""
    rows = table.head(top) if top else table
    names = ["layer", "unit", "label", "method", "seed", "status"]
    names += [name for name in (*SHOWN, *_MORE) if table[name].null_count() < len(table)]
    names += [sort] if sort and sort not in names else []
    if not table["label"].null_count() < len(table):
        names.remove("label")
    lines = [names, *([_cell(value) for value in row] for row in rows.select(names).iter_rows())]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if kind is str else cell.rjust(width)
            for cell, width, kind in zip(line, widths, map(_kind, names), strict=True)
        ).rstrip()
        for line in lines
    )


def _kind(name: str) -> type:
    return KEYS.get(name, float)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "-" if value is None else str(value)
