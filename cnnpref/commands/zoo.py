"""Commands about published nets: what is in the zoo, and weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cnnpref.errors import UserError

if TYPE_CHECKING:  # the zoo is read by the commands that need it
    from cnnpref.nets.section import Section
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
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option(
    "--weights",
    default="DEFAULT",
    show_default=True,
    help="Which ones of a model of torchvision, such as IMAGENET1K_V2.",
)
@click.option("--config", metavar="PATH|JSON", help="A config, whose nets' weights are fetched.")
@click.option("--section", metavar="NAME", help="Only this, such as net.")
def fetch(names: tuple[str, ...], weights: str, config: str | None, section: str | None) -> None:
    """Fetch published weights, or verify those that are on this machine.

    A NAME is that of a net of the zoo, or torchvision:MODEL, timm:MODEL, timm:hf-hub:OWNER/MODEL.
    """
    from cnnpref.nets import published_weights

    if not names and config is None:
        raise click.UsageError("give names, or --config")
    wanted = [*_by_name(names, weights), *(_by_config(config, section) if config else ())]
    found = [(name, published_weights(told)) for name, told in wanted]
    for name, file in found:
        if file:
            size = file.fetch().stat().st_size / 1e6
            click.echo(f"{name}: {file.path} ({size:,.1f} MB, {file.verified})", err=True)
        else:
            click.echo(f"{name}: its weights are a file of its own; nothing to fetch", err=True)


def _by_name(names: tuple[str, ...], weights: str) -> list[tuple[str, Section]]:
    """Names, and sections of a config that ask for their weights."""
    return [
        (name, {"torch": name, "weights": weights} if ":" in name else {"zoo": name})
        for name in names
    ]


def _by_config(config: str, only: str | None) -> list[tuple[str, Section]]:
    """The sections of a config by name."""
    from cnnpref.planning.config import read_config
    from cnnpref.planning.plan import sections
    from cnnpref.planning.scoring import scoring_sections

    told = read_config(config)
    found = {**{name: told[name] for name in sections(told)}, **scoring_sections(told)}
    if only not in (None, *found):
        raise UserError(f"--section: got {only!r}; allowed: {', '.join(found)}")
    return [(name, section) for name, section in found.items() if only in (None, name)]
