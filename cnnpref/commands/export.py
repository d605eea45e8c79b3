"""The command that takes results elsewhere."""

from __future__ import annotations

from pathlib import Path

import click

from cnnpref.commands.arguments import config_option, layer_option, method_option, read_plan
from cnnpref.planning.files import LAYER, SCORES
from cnnpref.planning.series import escape


@click.command()
@config_option
@layer_option
@method_option
@click.option(
    "--format",
    "kind",
    type=click.Choice(["png", "webp", "npy", "mat", "h5"]),
    required=True,
    help="png, webp: pictures as sheets show them, a file for each unit; mat: numbers, a file for"
    " each unit; npy, h5: numbers, a file for each layer and method.",
)
@click.option("--out", metavar="FOLDER", required=True, help="Where to write them.")
@click.option("--best", is_flag=True, help="The best iterates in place of the last ones.")
@click.option("--alpha", is_flag=True, help="Pictures transparent where no pixel mattered.")
def export(
    config: str,
    layer: str | None,
    method: str | None,
    kind: str,
    out: str,
    best: bool,
    alpha: bool,
) -> None:
    """Write images in a usual format, and a table of them: units.csv.

    Below FOLDER, there is a folder for each layer and in it one, or a file, for each method.
    """
    from cnnpref.results.layer_file import open_layer
    from cnnpref.results.scores import read_scores
    from cnnpref.show.export import Export, write_table

    plan, rows = read_plan(config), []
    work = Export(kind, "image_best" if best else "image", alpha, Path(out))
    for series in plan.select(layer, method):
        scores = read_scores(plan.path(SCORES, series.layer))
        place = Path(escape(series.layer), series.name)
        with open_layer(plan.path(LAYER, series.layer)) as methods:
            rows += work.write(methods, series.name, place, scores)
    table = write_table(Path(out), rows)
    click.echo(f"export: {len(rows):,} units in {table}", err=True)
