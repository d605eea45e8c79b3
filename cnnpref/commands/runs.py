"""Commands about a run as a whole: its cost, whether it is complete, files no longer wanted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import click

from cnnpref.commands.arguments import THREADS, config_option, read_plan
from cnnpref.errors import UserError
from cnnpref.planning.files import UNIT
from cnnpref.planning.outlook import Share, Time, beside, outlook, size, summary, table
from cnnpref.planning.plan import Plan
from cnnpref.planning.selection import format_ranges
from cnnpref.results.check import Fault, State, check_run
from cnnpref.results.clean import delete, find_unused
from cnnpref.results.layer_file import packed_units

_SLOW = "jobs are as short as a CPU's: for GPUs write 'speed: 100' into the config"
NAMED = 5  # files of a folder with the same kind of fault that are named


@click.command()
@config_option
@click.option("--quick", is_flag=True, help="Measure nothing and tell no times.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="At a time.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@click.option("--threads", type=THREADS, default=1, show_default=True)
def plan(config: str, quick: bool, jobs: int, device: str, threads: int) -> None:
    """Show what a run takes before it is started: units, jobs, disk, memory, time.

    Times are those of the missing units. For each layer and method, a few iterations of a few units
    are timed, on the device and with the CPU threads that jobs of the workflow use. Nothing is
    written or fetched: weights that are not on this machine yet are replaced by random ones.
    """
    wanted = read_plan(config)
    shares = outlook(wanted, packed_units)
    times = None if quick else _measure(wanted, shares, device, threads)
    click.echo(table(shares, times, jobs))
    click.echo("\n".join([summary(wanted, shares), *beside(wanted)]))


def _measure(wanted: Plan, shares: list[Share], device: str, threads: int) -> list[Time]:
    from cnnpref.jobs.devices import pick_device
    from cnnpref.jobs.timing import measure

    place = pick_device(device, threads)
    times, absent = measure(wanted, shares, place)
    about = f"; random weights: {' and '.join(absent)}, not fetched yet" if absent else ""
    click.echo(f"timed on {place}{about}", err=True)
    if place.type != "cpu" and wanted.config["speed"] == 1:
        click.echo(_SLOW, err=True)
    return times


@click.command()
@config_option
def check(config: str) -> None:
    """Verify every file of a run: unit files, layer files, sheets and pages.

    Names files that are missing, damaged or stale (older than what they are made of), and exits
    with 1 if there are any.
    """
    plan = read_plan(config)
    faults = list(check_run(plan))
    for (state, folder), group in groupby(faults, lambda f: (f.state, f.file.path.parent)):
        for line in _lines(list(group), folder):
            click.echo(f"{state:8} {line}")
    if faults:
        counts = Counter(fault.state for fault in faults)
        numbers = ", ".join(f"{counts[state]} {state}" for state in State if counts[state])
        raise UserError(
            f"{plan.folder}: {numbers}; delete damaged files and run snakemake to make all of these"
        )
    click.echo(f"{plan.folder}: {_contents(plan)}: all there and right")


def _lines(faults: list[Fault], folder: Path) -> Iterator[str]:
    """Lines about files of one folder that have the same kind of fault."""
    first = faults[0]
    if first.state == State.MISSING and first.file.kind == UNIT:
        units = format_ranges(sorted(int(fault.file.path.stem) for fault in faults))
        yield f"{folder}: {_files(len(faults), UNIT.name)}: {units}"
        return
    for fault in faults[:NAMED]:
        yield f"{fault.file.path}{fault.reason and f': {fault.reason}'}"
    if rest := faults[NAMED:]:
        yield f"{folder}: and {_files(len(rest), 'more file')}"


def _contents(plan: Plan) -> str:
    counts = Counter(file.kind.name for file in plan.files())
    return ", ".join(_files(count, name) for name, count in counts.items())


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

    Such as the units of former options, layers or methods. Only files that cnnpref made in the
    run's folder are considered, and no symbolic link is followed.
    """
    found = find_unused([read_plan(config) for config in configs])
    for unused in found:
        count = f"{len(unused.files):,} files"
        click.echo(f"{size(unused.size):>10}  {count:>12}  {unused.folder}")
    if not found:
        click.echo("nothing that no config asks for")
        return
    total = _files(sum(len(each.files) for each in found), "file")
    total += f", {size(sum(each.size for each in found))}"
    if yes:
        delete(found)
        click.echo(f"{total}: deleted")
    else:
        click.echo(f"{total}, that no config asks for; --yes deletes them")
