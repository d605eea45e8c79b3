"""Commands of the zoo: what is in it, and its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:  # the zoo is read by the commands that need it
    from cnnpref.nets.zoo import Entry

HEADINGS = ("name", "kind", "parameters", "licence", "weights", "what it is")


@click.command()
def nets() -> None:
    """List the nets of the zoo, and whether their weights are on this machine."""
    from cnnpref.nets.zoo import cache_folder, read_zoo

    rows = [HEADINGS, *map(_row, read_zoo().values())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, kind, parameters, *rest in rows:
        numbers = parameters.rjust(widths[2])
        cells = zip([name, kind, numbers, *rest], widths, strict=True)
        click.echo("  ".join(cell.ljust(width) for cell, width in cells).rstrip())
    click.echo(f"weights are kept in {cache_folder()}", err=True)


def _row(entry: Entry) -> tuple[str, ...]:
    from cnnpref.nets.zoo import weights_path

    parameters = f"{entry.parameters:,}" if entry.parameters else "unknown"
    here = "here" if weights_path(entry).exists() else "-"
    paper = f", {entry.paper}" if entry.paper else ""
    return entry.name, entry.kind, parameters, entry.licence, here, f"{entry.title}{paper}"


@click.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
def fetch(names: tuple[str, ...]) -> None:
    """Fetch the weights of nets of the zoo, or verify those that are on this machine."""
    from cnnpref.nets.zoo import fetch, find

    for entry in [find(name) for name in names]:
        path = fetch(entry)
        how = f"{' and '.join(entry.checksums)} as published" if entry.checksums else "as recorded"
        click.echo(f"{entry.name}: {path} ({path.stat().st_size / 1e6:,.1f} MB, {how})", err=True)
