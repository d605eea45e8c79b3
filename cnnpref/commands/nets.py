"""Commands about a net: its layers, and how active its units become."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cnnpref.commands.net_argument import numbers_or_path
from cnnpref.planning.config import read_config

if TYPE_CHECKING:
    from cnnpref.nets import Net


@click.command()
@click.option("--config", metavar="PATH|JSON", help="A config, or else:")
@click.option("--prototxt", metavar="PATH", help="The definition of a Caffe net,")
@click.option("--caffemodel", metavar="PATH", help="and, to see whether they fit, its weights.")
def info(config: str | None, prototxt: str | None, caffemodel: str | None) -> None:
    """List a net's layers: shapes, numbers of weights, what part of the image a unit sees."""
    from cnnpref.nets import open_net, without_fetching

    if (config is None) == (prototxt is None):
        raise click.UsageError("give either --config or --prototxt")
    given = {"prototxt": prototxt, "caffemodel": caffemodel}
    list_layers(open_net(without_fetching(read_config(config)["net"]) if config else given))


def list_layers(net: Net) -> None:
    """Print them: shapes, numbers of weights, fields."""
    counts, width = net.weight_counts(), max(map(len, [*net.layers, *net.refused]))
    total = sum(weight.numel() for weight in net.parameters())
    click.echo(f"{net.name}: input {_sizes(net.input_shape)}, {total:,} weights")
    click.echo(f"{'layer':{width}}  {'shape':>16}  {'weights':>12}  field of the centre unit")
    for layer, shape in net.layers.items():
        weights = f"{counts[layer]:,}" if layer in counts else ""
        row = f"{layer:{width}}  {_sizes(shape):>16}  {weights:>12}  {_field(net, layer)}"
        if layer in net.random:
            row += "; may depend on random numbers"
        click.echo(row.rstrip())
    for layer, reason in net.refused.items():
        click.echo(f"{layer:{width}}  cannot be computed: {reason}")


def _field(net: Net, layer: str) -> str:
    if len(net.input_shape) != 3:
        return ""  # no image: a generator
    top, left, bottom, right = net.receptive_field(layer)
    return f"{bottom - top} x {right - left}, rows {top}-{bottom}, columns {left}-{right}"


def _sizes(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


@click.command()
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
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
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

    from cnnpref.jobs.act_range import activation_range, write_bounds
    from cnnpref.jobs.devices import pick_device
    from cnnpref.jobs.image_files import read_pictures
    from cnnpref.nets import open_net

    given = {"prototxt": prototxt, "caffemodel": caffemodel, "mean": mean and numbers_or_path(mean)}
    complete = not any(given.values()) if config else prototxt and caffemodel
    if not complete:
        raise click.UsageError("give either --config, or --prototxt and --caffemodel")
    net = open_net(read_config(config)["net"] if config else given, pick_device(device))
    with tqdm(read_pictures(images), desc=layer, unit="image", disable=None) as pictures:
        bounds = activation_range(net, pictures, layer, k)
    text, binary = write_bounds(out, bounds)
    click.echo(f"act-range: {bounds.size} bounds in {text} and {binary}", err=True)
