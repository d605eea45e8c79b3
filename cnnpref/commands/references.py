"""Commands about reference images."""

from __future__ import annotations

import click

from cnnpref.commands.arguments import THREADS, config_option, device_option, read_plan
from cnnpref.errors import UserError
from cnnpref.planning.files import NATURE, REFERENCE
from cnnpref.planning.plan import Plan
from cnnpref.planning.references import References


@click.command()
@config_option
@click.option("--shard", type=click.IntRange(min=0), help="Only this shard of the images.")
@device_option
@click.option("--threads", type=THREADS, default=1, show_default=True)
def references(config: str, shard: int | None, device: str, threads: int) -> None:
    """Show the reference images to the net: compute the shards that are missing.

    Without --shard, also write the files that are made of all of them.
    """
    from cnnpref.jobs.devices import job_device
    from cnnpref.jobs.nets import Nets
    from cnnpref.jobs.references import is_missing, run_shard

    plan = read_plan(config)
    wanted = _wanted(plan)
    chosen = [each for each in wanted.shards if shard in (None, each.number)]
    if not chosen:
        numbers = ", ".join(str(each.number) for each in wanted.shards)
        raise UserError(f"--shard: got {shard}; the images have the shards {numbers}")
    with job_device(device, threads) as place:
        nets = Nets(plan.config, place)
        for each in (each for each in chosen if is_missing(plan, each)):
            run_shard(plan, wanted, each, nets.net)
    if shard is None:
        _list(plan, wanted)
        _merge(plan, wanted)
        _nature(plan, wanted)


@click.command()
@config_option
def reference_images(config: str) -> None:
    """Write the list of the reference images."""
    plan = read_plan(config)
    _list(plan, _wanted(plan))


@click.command()
@config_option
def nature(config: str) -> None:
    """Measure the colours and spectra of the reference images."""
    plan = read_plan(config)
    _nature(plan, _wanted(plan))


@click.command()
@config_option
def merge_references(config: str) -> None:
    """Put the shards of the reference images into one file for each layer."""
    plan = read_plan(config)
    _merge(plan, _wanted(plan))


def _wanted(plan: Plan) -> References:
    if plan.references is None:
        raise UserError(
            "the config has no reference images; give some, 'references: my/photos', and run again"
        )
    return plan.references


def _list(plan: Plan, wanted: References) -> None:
    from cnnpref.jobs.references import list_images

    list_images(plan, wanted)
    told = f", {len(wanted.index.skipped)} more skipped" if wanted.index.skipped else ""
    click.echo(f"references: {len(wanted.index.images)} images{told}", err=True)


def _nature(plan: Plan, wanted: References) -> None:
    from cnnpref.jobs.nets import Nets
    from cnnpref.jobs.references import measure_nature
    from cnnpref.nets.kernels import find_device

    measure_nature(plan, wanted, Nets(plan.config, find_device("cpu")).net)
    click.echo(f"references: {plan.path(NATURE)}", err=True)


def _merge(plan: Plan, wanted: References) -> None:
    from cnnpref.jobs.nets import Nets
    from cnnpref.jobs.references import merge_shards
    from cnnpref.nets.kernels import find_device

    merge_shards(plan, wanted, Nets(plan.config, find_device("cpu")).net)
    click.echo(f"references: {len(plan.paths([REFERENCE]))} layers", err=True)
