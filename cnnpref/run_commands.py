"""Commands about a run as a whole: is it complete, what of it is no longer wanted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import chain, groupby
from pathlib import Path

import click

from cnnpref.arguments import config_option, read_plan
from cnnpref.check import Fault, Kind, check_series, check_shown, pages
from cnnpref.clean import delete, leftovers
from cnnpref.errors import UserError
from cnnpref.plan import Plan
from cnnpref.selection import format_ranges

NAMED = 5  # files of a folder with the same kind of fault that are named


@click.command()
@config_option
def check(config: str) -> None:
    """Verify every file of a run: unit files, layer files, sheets and pages.

    Tells what is missing, damaged or stale (older than what it is made of), and fails if anything
    is.
    """
    plan = read_plan(config)
    faults = list(chain(*map(check_series, plan.series), check_shown(plan)))
    for (kind, folder), group in groupby(faults, lambda fault: (fault.kind, fault.path.parent)):
        for line in _told(list(group), folder):
            click.echo(f"{kind:8} {line}")
    if faults:
        counts = Counter(fault.kind for fault in faults)
        told = ", ".join(f"{counts[kind]} {kind}" for kind in Kind if counts[kind])
        raise UserError(
            f"{plan.folder}: {told}; delete what is damaged, and snakemake makes all of it anew"
        )
    click.echo(f"{plan.folder}: {_contents(plan)}: all there and right")


def _told(faults: list[Fault], folder: Path) -> Iterator[str]:
    """Lines about files of one folder that have the same kind of fault."""
    if faults[0].kind == Kind.MISSING and folder.parent.parent.name == "units":
        units = format_ranges(sorted(int(fault.path.stem) for fault in faults))
        yield f"{folder}: {_files(len(faults), 'unit file')}: {units}"
        return
    for fault in faults[:NAMED]:
        yield f"{fault.path}{fault.reason and f': {fault.reason}'}"
    if rest := faults[NAMED:]:
        yield f"{folder}: and {_files(len(rest), 'more file')}"


def _contents(plan: Plan) -> str:
    sheets = len(plan.layers) * (len(plan.names) + 1)
    units = sum(len(series.units) for series in plan.series)
    counts = {"unit file": units, "layer file": len(plan.layers), "sheet": sheets}
    told = [_files(count, what) for what, count in counts.items()]
    return ", ".join([*told, f"{len(pages(plan))} files of the gallery"])


def _files(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' if count != 1 else ''}"


@click.command()
@click.option(
    "--config",
    "configs",
    required=True,
    multiple=True,
    metavar="PATH|JSON",
    help="A config; all those of a run, where several share its folder.",
)
@click.option(
    "--yes/--dry-run", "-y/-n", default=False, help="Delete them; or only show them, the default."
)
def clean(configs: tuple[str, ...], yes: bool) -> None:
    """Name the files of a run that none of its configs asks for, or delete them.

    Such as units of other options, layers or methods than now. Only what cnnpref makes in the
    run's folder is looked at, and no symbolic link is followed.
    """
    found = leftovers([read_plan(config) for config in configs])
    for leftover in found:
        click.echo(f"{_size(leftover.size)}  {len(leftover.files):6,} files  {leftover.folder}")
    if not found:
        click.echo("nothing that no config asks for")
        return
    count, size = sum(len(each.files) for each in found), sum(each.size for each in found)
    total = f"{_files(count, 'file')}, {_size(size).strip()}"
    if yes:
        delete(found)
        click.echo(f"{total}: deleted")
    else:
        click.echo(f"{total}, that no config asks for; --yes deletes them")


def _size(count: int) -> str:
    return f"{count / 1e6:10,.1f} MB"
