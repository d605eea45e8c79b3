"""Commands that make the files of a run: unit files, layer files, sheets, pages, the gallery."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cnnpref.atomic import remove, replacing
from cnnpref.commands.arguments import (
    config_option,
    device_option,
    layer_option,
    method_option,
    read_plan,
    threads_option,
)
from cnnpref.errors import UserError
from cnnpref.planning.batches import split
from cnnpref.planning.files import (
    INDEX,
    LAYER,
    LAYER_PDF,
    LAYER_SHEET,
    LOOK,
    METHOD_PDF,
    METHOD_SHEET,
    SCORES,
)
from cnnpref.planning.outlook import size
from cnnpref.planning.plan import Plan
from cnnpref.planning.selection import format_ranges, parse_ranges
from cnnpref.planning.series import Batch, Series
from cnnpref.planning.sheets import SheetOptions

if TYPE_CHECKING:
    from cnnpref.show.entries import Choice


@click.command()
@config_option
@layer_option
@method_option
@click.option("--units", metavar="RANGES", help="Only these units of the config, such as 0-63,80.")
@device_option
@threads_option
@click.option(
    "--attempt",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="After the first, each works on half as many units at once as the one before.",
)
def generate(
    config: str,
    layer: str | None,
    method: str | None,
    units: str | None,
    device: str,
    threads: int | None,
    attempt: int,
) -> None:
    """Compute the unit files that are missing; those that were packed are written again."""
    from cnnpref.jobs.devices import job_device
    from cnnpref.jobs.job import run_batch
    from cnnpref.jobs.nets import Nets
    from cnnpref.results.packing import restore

    plan = read_plan(config)
    chosen = [_chosen(series, units) for series in plan.select(layer, method)]
    for whole in chosen:
        restore(plan.path(LAYER, whole.series.layer), whole)
    batches = [batch for whole in chosen for batch in split(plan, whole)]
    with job_device(device, threads) as place:
        nets = Nets(plan.config, place)
        failures = [line for batch in batches for line in run_batch(batch, nets, attempt)]
    if failures:
        raise UserError(f"{len(failures)} units could not be written; {failures[0]}")


def _chosen(series: Series, units: str | None) -> Batch:
    if units is None:
        return Batch(series, series.units)
    known, wanted = set(series.units), set[int]()
    for first, last in parse_ranges(units):
        if first > last or not known.issuperset(range(first, last + 1)):
            raise UserError(
                f"--units: got {units!r}; the config asks for the units"
                f" {format_ranges(series.units)} of layer {series.layer!r}"
            )
        wanted.update(range(first, last + 1))
    return Batch(series, tuple(sorted(wanted)))


def _layers(plan: Plan, layer: str | None) -> list[str]:
    return list(dict.fromkeys(series.layer for series in plan.select(layer)))


@click.command()
@config_option
@layer_option
def collect(config: str, layer: str | None) -> None:
    """Put the unit files of each layer into one file."""
    from cnnpref.results.collecting import collect as stack

    plan = read_plan(config)
    for name in _layers(plan, layer):
        stack(plan.path(LAYER, name), plan.select(name))


@click.command()
@config_option
@layer_option
def pack(config: str, layer: str | None) -> None:
    """Put all that unit files hold into the file of their layer, and delete them.

    A finished run then takes half of the disk, and one file for each layer in place of one for each
    unit. What is made of layer files stays right and can be made again; snakemake computes nothing
    anew. If the config changes, snakemake and 'generate' write the unit files again.
    """
    from cnnpref.results import packing

    plan = read_plan(config)
    for name in _layers(plan, layer):
        path = plan.path(LAYER, name)
        count = packing.pack(path, plan.select(name))
        told = f"{count:,} unit file{'s' if count != 1 else ''} packed"
        click.echo(f"{path}: {told}, {size(path.stat().st_size)}", err=True)


@click.command()
@config_option
@layer_option
@method_option
@click.option("--out", metavar="FILE", help="Draw a sheet of one layer into this .png or .pdf.")
@click.option("--units", metavar="RANGES", help="With --out: only these units, such as 3,5-9.")
@click.option(
    "--sort",
    metavar="SCORE",
    default="unit",
    help="With --out: by unit, label, activation or another score, the best first.",
)
@click.option("--top", type=click.IntRange(min=1), help="With --out: only so many, the first ones.")
@click.option("--under", metavar="NAMES", help="Under tiles: label, rank, scores. E.g. label,gain.")
@click.option(
    "--alpha/--no-alpha", default=None, help="Tiles are transparent where no pixel mattered."
)
def sheet(
    config: str,
    layer: str | None,
    method: str | None,
    out: str | None,
    units: str | None,
    sort: str,
    top: int | None,
    under: str | None,
    alpha: bool | None,
) -> None:
    """Draw the contact sheets of each layer from its layer file, or one of chosen units."""
    from cnnpref.show.entries import Choice

    plan = read_plan(config)
    look = plan.sheets
    look = look if alpha is None else replace(look, alpha=alpha)
    look = look if under is None else replace(look, under=tuple(filter(None, under.split(","))))
    choice = Choice(None if units is None else _numbers(units), sort, top)
    if out is not None:
        _draw_chosen(plan, layer, method, look, choice, Path(out))
    elif choice != Choice():
        raise click.UsageError("--units, --sort and --top go with --out FILE")
    else:
        _draw_sheets(plan, layer, method, look)


def _numbers(units: str) -> set[int]:
    return {n for first, last in parse_ranges(units) for n in range(first, last + 1)}


def _draw_sheets(plan: Plan, layer: str | None, method: str | None, look: SheetOptions) -> None:
    """Those of the workflow: of each method, and of all of them side by side."""
    from cnnpref.show.sheet import draw_sheet

    sheets: list[tuple[str, str | None]] = [
        (each.layer, each.name) for each in plan.select(layer, method)
    ]
    if method is None:
        sheets += [(name, None) for name in _layers(plan, layer)]
    for name, one in sheets:
        kinds = (LAYER_SHEET, LAYER_PDF) if one is None else (METHOD_SHEET, METHOD_PDF)
        for kind in kinds[: 1 + look.pdf]:
            path, data = plan.path(kind, name, one or ""), plan.path(LAYER, name)
            draw_sheet(data, path, one, look, scores=plan.path(SCORES, name))
    for name in _layers(plan, layer):
        path = plan.path(LOOK, name)
        for old in path.parent.glob("look-*.json"):
            remove(old)
        if method is None and look == plan.sheets:
            with replacing(path) as temporary:
                temporary.write_text(look.text, encoding="utf-8")


def _draw_chosen(
    plan: Plan,
    layer: str | None,
    method: str | None,
    look: SheetOptions,
    choice: Choice,
    path: Path,
) -> None:
    from cnnpref.show.sheet import draw_sheet

    (name, *others), _ = _layers(plan, layer), plan.select(layer, method)
    if others:
        raise UserError(
            f"--out: a sheet is of one layer; choose it by --layer: {', '.join(plan.layers)}"
        )
    if path.suffix.lower() not in (".png", ".pdf"):
        raise UserError(f"--out: got {str(path)!r}; give the name of a .png or a .pdf")
    draw_sheet(plan.path(LAYER, name), path, method, look, choice, plan.path(SCORES, name))


@click.command()
@config_option
@layer_option
def pages(config: str, layer: str | None) -> None:
    """Write the page of each layer, those of its units, and their pictures.

    Only what changed is written anew.
    """
    from cnnpref.show.site.layer import write_layer

    plan = read_plan(config)
    for name in _layers(plan, layer):
        click.echo(f"pages of {name}: {write_layer(plan, name):,} files written", err=True)


@click.command()
@config_option
def gallery(config: str) -> None:
    """Write the page of the run, index.html, above those of 'pages'."""
    from cnnpref.show.site.overview import write_overview

    plan = read_plan(config)
    write_overview(plan)
    click.echo(f"gallery: {plan.path(INDEX)}", err=True)


@click.command()
@config_option
def share(config: str) -> None:
    """Make the folder `share`: the gallery without unit files and layer files."""
    from cnnpref.show.site.share import write_share

    write_share(read_plan(config))
