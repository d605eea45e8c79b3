"""Commands that need no config: a first look at a net's units, and a config to begin with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from cnnpref.atomic import try_writing
from cnnpref.commands.arguments import device_option, threads_option
from cnnpref.commands.first_config import first_config
from cnnpref.commands.net_argument import as_written, net_argument
from cnnpref.commands.nets import list_layers
from cnnpref.errors import UserError
from cnnpref.interruption import InterruptedWork
from cnnpref.methods import METHODS
from cnnpref.methods.options import COUNT
from cnnpref.planning.config import Config, resolve_config
from cnnpref.planning.files import LAYER
from cnnpref.planning.plan import Plan, make_plan
from cnnpref.planning.series import Batch, escape

if TYPE_CHECKING:
    from cnnpref.nets import NetDescription

UNITS = 9  # that are shown unless told otherwise
_LOST = "nothing is kept: with --keep FOLDER finished units stay, and the next time goes on"
_ALONE = [name for name, method in METHODS.items() if not method.needs_generator]


@click.command()
@net_argument
@click.argument("layer", required=False)
@click.option(
    "--units",
    multiple=True,
    metavar="RANGES|LABEL",
    help=f"Which: 0-8,30, or a label; may be given several times. Default: {UNITS}, evenly spaced.",
)
@click.option("--method", type=click.Choice(_ALONE), default="spectral", show_default=True)
@click.option(
    "--steps", type=click.IntRange(min=1), help="Fewer take less time; default: the method's own."
)
@click.option("--labels", metavar="PATH", help="A text file that names units, one in each line.")
@click.option("--out", metavar="PNG", help="The sheet; default: LAYER.png.")
@click.option("--keep", metavar="FOLDER", help="Keep the images there, and use those that are.")
@device_option
@threads_option
def look(
    net: Config,
    layer: str | None,
    units: tuple[str, ...],
    method: str,
    steps: int | None,
    labels: str | None,
    out: str | None,
    keep: str | None,
    device: str,
    threads: int | None,
) -> None:
    """Draw a sheet of the images that some units of a layer prefer, without a config.

    NET is torchvision:MODEL, timm:MODEL, package.module:function (of a PyTorch module), a Caffe
    prototxt, or zoo:NAME. Without LAYER, its layers are listed.
    """
    from cnnpref.nets import describe, open_net, without_fetching

    if layer is None:
        list_layers(open_net(without_fetching(_resolved(net))))
        click.echo("now name a layer: cnnpref look NET LAYER", err=True)
        return
    sheet = _checked_out(out or f"{escape(layer)}.png")
    told = describe(_resolved(net))
    _warn(net, told)
    with _results(keep) as results:
        names = {} if labels is None else {"labels": as_written(labels)}
        fewer = {} if steps is None else {"options": {method: {_count_of(method): steps}}}
        asked = {"net": net, "methods": [method], "results": results, **names, **fewer}

        def plan(units: Any) -> Plan:
            config = {**asked, "layers": {layer: {"units": units}}}
            return make_plan(resolve_config(config, _run(net)), lambda _: told)

        _draw(plan(_wanted(units) or _spaced(plan("all"))), sheet, device, threads)
    click.echo(f"sheet: {sheet}", err=True)


def _warn(net: Config, told: NetDescription) -> None:
    """Say what of a net was left out that its images are poor without."""
    if "torch" in net and "weights" not in net:
        _told("no --weights: images for those that NET is built with, mostly random ones")
    if "prototxt" in net and "mean" not in net and "transform_param" not in told.sha256:
        _told("no --mean: NET gets images as they are; most of Caffe's want --mean 104,117,123")


def _told(text: str) -> None:
    click.echo(f"warning: {text}", err=True)


def _resolved(net: Config) -> Config:
    section: Config = resolve_config({"net": net, "layers": "all"}, "look")["net"]
    return section


def _draw(plan: Plan, sheet: Path, device: str, threads: int | None) -> None:
    """Compute the only series of a plan, and draw it."""
    from cnnpref.jobs.devices import job_device
    from cnnpref.jobs.job import run_batch
    from cnnpref.jobs.nets import Nets
    from cnnpref.results.collecting import collect
    from cnnpref.show.sheet import draw_sheet

    (series,) = plan.series
    with job_device(device, threads) as place:
        failures = run_batch(Batch(series, series.units), Nets(plan.config, place))
    if failures:
        raise UserError(f"{len(failures)} units could not be written; {failures[0]}")
    data = plan.path(LAYER, series.layer)
    collect(data, [series])
    draw_sheet(data, sheet, series.name)


def _count_of(method: str) -> str:
    """What a method calls the number of its steps: the first of its options that counts any."""
    known = fields(METHODS[method].options)
    return next(each.name for each in known if each.metadata["kind"] is COUNT)


def _wanted(units: tuple[str, ...]) -> Any:
    """As a config has them: one text is ranges or a label, several are numbers and labels."""
    if len(units) == 1:
        return units[0]
    return [int(unit) if unit.isdecimal() else unit for unit in units]


def _spaced(plan: Plan) -> dict[str, int]:
    return {"count": min(UNITS, len(plan.series[0].units))}


def _run(net: Config) -> str:
    """What the run is called: as the net."""
    name = str(net.get("prototxt") or net.get("zoo") or net["torch"])
    return Path(name).stem if "prototxt" in net else name


@contextmanager
def _results(keep: str | None) -> Iterator[str]:
    """The folder of the results: the one to keep, or one that is removed at the end."""
    if keep is not None:
        yield keep
        return
    with TemporaryDirectory(prefix="cnnpref-") as folder:
        try:
            yield folder
        except InterruptedWork as ended:
            raise InterruptedWork(ended.number, _LOST) from None


def _checked_out(out: str) -> Path:
    """The path of the sheet, found to be one before the work, not after it."""
    path = Path(out)
    if path.suffix.lower() != ".png" or path.is_dir():
        raise UserError(f"--out: got {out!r}; a sheet is a PNG: name a file such as sheet.png")
    try_writing(path.parent)
    return path


@click.command()
@net_argument
def init(net: Config) -> None:
    """Print a config to begin with, as in: cnnpref init NET > my.yaml.

    All layers of the net stand in it, with their shapes and what part of the image a unit sees; the
    last one is switched on. NET is as for cnnpref look.
    """
    from cnnpref.nets import describe, open_net, without_fetching

    plan = make_plan(resolve_config({"net": net, "layers": "all"}, "init"), describe)
    click.echo(first_config(net, plan, open_net(without_fetching(plan.config["net"]))), nl=False)
