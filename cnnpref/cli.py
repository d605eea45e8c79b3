"""The command line. Modules that need torch are imported by the commands that need them."""

from __future__ import annotations

import logging
import sys
import warnings
from typing import TYPE_CHECKING, Any

import click

from cnnpref import run_commands, zoo_commands
from cnnpref.arguments import config_option, layer_option, method_option, read_plan
from cnnpref.config import read_config
from cnnpref.errors import UserError
from cnnpref.plan import Plan
from cnnpref.selection import format_ranges, parse_ranges
from cnnpref.series import Batch, Series

if TYPE_CHECKING:
    from cnnpref.nets import Net


class _Cli(click.Group):
    """Prints what the user can mend as one line."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except UserError as error:
            click.echo(f"cnnpref: {error}", err=True)
            ctx.exit(1)


@click.group(cls=_Cli, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="cnnpref")
def main() -> None:
    """For every unit of a CNN, the image it prefers."""
    log = logging.getLogger("cnnpref")
    log.setLevel(logging.INFO)
    log.handlers = [logging.StreamHandler(sys.stderr)]
    warnings.showwarning = lambda message, *_: log.warning("warning: %s", message)


main.add_command(zoo_commands.nets)
main.add_command(zoo_commands.fetch)
main.add_command(run_commands.plan)
main.add_command(run_commands.check)
main.add_command(run_commands.clean)


@main.command()
@config_option
@layer_option
@method_option
@click.option("--units", metavar="RANGES", help="Only these units of the config, such as 0-63,80.")
@click.option(
    "--device",
    default="auto",
    show_default=True,
    help="auto, cpu, cuda or cuda:N; auto is a GPU that no other job has, or else the CPU.",
)
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads; default: torch's choice.")
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
    from cnnpref.run import Nets, job_device, run_batch

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


@main.command()
@config_option
@layer_option
def collect(config: str, layer: str | None) -> None:
    """Put the unit files of each layer into one file."""
    from cnnpref import store

    plan = read_plan(config)
    for name in _layers(plan, layer):
        parts = [store.Series(s.name, s.digest, s.paths()) for s in plan.select(name)]
        store.collect(plan.layer_file(name), parts)


@main.command()
@config_option
@layer_option
@method_option
def sheet(config: str, layer: str | None, method: str | None) -> None:
    """Draw the contact sheets of each layer from its layer file."""
    from cnnpref.sheet import layer_sheet, method_sheet

    plan = read_plan(config)
    for series in plan.select(layer, method):
        path = plan.sheet(series.layer, series.name)
        method_sheet(plan.layer_file(series.layer), series.name, path)
    if method is None:
        for name in _layers(plan, layer):
            layer_sheet(plan.layer_file(name), plan.sheet(name))


@main.command()
@config_option
def gallery(config: str) -> None:
    """Write the pages that show the sheets: index.html and one page for each layer."""
    from cnnpref.gallery import GalleryLayer, write_gallery

    plan = read_plan(config)
    layers = [
        GalleryLayer(
            name,
            plan.layer_file(name),
            plan.page(name),
            plan.sheet(name),
            {method: plan.sheet(name, method) for method in plan.names},
        )
        for name in plan.layers
    ]
    write_gallery(plan.folder, layers)
    click.echo(f"gallery: {plan.index}", err=True)


@main.command()
@click.option("--config", metavar="PATH|JSON", help="A config, or else:")
@click.option("--prototxt", metavar="PATH", help="The definition of a Caffe net,")
@click.option("--caffemodel", metavar="PATH", help="and, to see whether they fit, its weights.")
def info(config: str | None, prototxt: str | None, caffemodel: str | None) -> None:
    """List a net's layers: shapes, numbers of weights, what part of the image a unit sees."""
    from cnnpref.nets import at_hand, open_net

    if (config is None) == (prototxt is None):
        raise click.UsageError("give either --config or --prototxt")
    given = {"prototxt": prototxt, "caffemodel": caffemodel}
    net = open_net(at_hand(read_config(config)["net"]) if config else given)
    counts, width = net.weight_counts(), max(map(len, net.layers))
    total = sum(weight.numel() for weight in net.parameters())
    click.echo(f"{net.name}: input {_sizes(net.input_shape)}, {total:,} weights")
    click.echo(f"{'layer':{width}}  {'shape':>16}  {'weights':>12}  field of the centre unit")
    for layer, shape in net.layers.items():
        weights = f"{counts[layer]:,}" if layer in counts else ""
        row = f"{layer:{width}}  {_sizes(shape):>16}  {weights:>12}  {_field(net, layer)}"
        click.echo(row.rstrip())


def _field(net: Net, layer: str) -> str:
    if len(net.input_shape) != 3:
        return ""  # no image: a generator
    top, left, bottom, right = net.receptive_field(layer)
    return f"{bottom - top} x {right - left}, rows {top}-{bottom}, columns {left}-{right}"


def _sizes(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


@main.command()
@click.option("--config", metavar="PATH|JSON", help="A config, whose net is taken, or else:")
@click.option("--prototxt", metavar="PATH", help="The definition of a Caffe net,")
@click.option("--caffemodel", metavar="PATH", help="its weights, and")
@click.option("--mean", metavar="B,G,R|PATH", help="its mean: 3 numbers, .npy or .binaryproto.")
@click.option(
    "--images",
    required=True,
    metavar="PATH",
    help="A folder with images in or below it, or an .npy or .h5 file with a stack (N, H, W, 3) of"
    " RGB in 0..255. Pictures of any size are stretched to the net's, bilinearly.",
)
@click.option(
    "--layer",
    required=True,
    help="A blob, such as fc6, with its in-place ReLU as the published ranges have it; or a layer.",
)
@click.option("--k", default=3.0, show_default=True, help="How many standard deviations.")
@click.option("--out", required=True, metavar="FILE", help="Written are FILE.txt and FILE.npy.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
def act_range(
    config: str | None,
    prototxt: str | None,
    caffemodel: str | None,
    mean: str | None,
    images: str,
    layer: str,
    k: float,
    out: str,
    device: str,
) -> None:
    """Bounds for a generator: mean + k standard deviations of each unit of a layer over images."""
    from tqdm import tqdm

    from cnnpref.act_range import activation_range, write_bounds
    from cnnpref.nets import open_net
    from cnnpref.pictures import read_pictures
    from cnnpref.run import pick_device

    given = {"prototxt": prototxt, "caffemodel": caffemodel, "mean": _mean(mean)}
    complete = not any(given.values()) if config else prototxt and caffemodel
    if not complete:
        raise click.UsageError("give either --config, or --prototxt and --caffemodel")
    net = open_net(read_config(config)["net"] if config else given, pick_device(device))
    with tqdm(read_pictures(images), desc=layer, unit="image", disable=None) as pictures:
        bounds = activation_range(net, pictures, layer, k)
    text, binary = write_bounds(out, bounds)
    click.echo(f"act-range: {bounds.size} bounds in {text} and {binary}", err=True)


def _mean(text: str | None) -> list[float] | str | None:
    """Numbers, or the path of a file."""
    try:
        return [float(value) for value in text.split(",")] if text else None
    except ValueError:
        return text
