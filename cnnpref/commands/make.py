"""Commands that make the files of a run: unit files, layer files, sheets, pages, the gallery."""

from __future__ import annotations

import click

from cnnpref.commands.arguments import (
    config_option,
    device_option,
    layer_option,
    method_option,
    read_plan,
    threads_option,
)
from cnnpref.errors import UserError
from cnnpref.planning.files import INDEX, LAYER, LAYER_SHEET, METHOD_SHEET
from cnnpref.planning.plan import Plan
from cnnpref.planning.selection import format_ranges, parse_ranges
from cnnpref.planning.series import Batch, Series


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
    """Compute the unit files that are missing."""
    from cnnpref.jobs.devices import job_device
    from cnnpref.jobs.job import run_batch
    from cnnpref.jobs.nets import Nets

    plan = read_plan(config)
    chosen = [_chosen(series, units) for series in plan.select(layer, method)]
    batches = [batch for whole in chosen for batch in whole.split(plan.config["batch"])]
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
    from cnnpref.results import layer_file

    plan = read_plan(config)
    for name in _layers(plan, layer):
        layer_file.collect(plan.path(LAYER, name), plan.select(name))


@click.command()
@config_option
@layer_option
@method_option
def sheet(config: str, layer: str | None, method: str | None) -> None:
    """Draw the contact sheets of each layer from its layer file."""
    from cnnpref.show.sheet import layer_sheet, method_sheet

    plan = read_plan(config)
    for series in plan.select(layer, method):
        path = plan.path(METHOD_SHEET, series.layer, series.name)
        method_sheet(plan.path(LAYER, series.layer), series.name, path)
    if method is None:
        for name in _layers(plan, layer):
            layer_sheet(plan.path(LAYER, name), plan.path(LAYER_SHEET, name))


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
