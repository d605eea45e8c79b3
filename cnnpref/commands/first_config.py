"""The text of a config to begin with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from cnnpref.errors import UserError
from cnnpref.planning.config import Config
from cnnpref.planning.plan import Plan

if TYPE_CHECKING:
    from cnnpref.nets import Net

_HEAD = """\
# What the units of this net prefer. Every key is explained in config/README.md.
#   cnnpref plan --config THIS_FILE                      # what it takes
#   snakemake --cores 2 --configfile THIS_FILE           # makes it
#   cnnpref generate --config THIS_FILE                  # or so; then collect, sheet, gallery
"""
_MIDDLE = """
{labels}

methods: [spectral] # also gd, lbfgs
# speed: 100 # where jobs run on a GPU: jobs of more units

# Remove the '#' before those that you want; {{}} stands for all units. A unit of a map is one
# channel, at the centre of the map; its field is what part of the image it sees.
layers:
"""
_FILE = "# labels: classes.txt # what the units of the last layer stand for, one in each line"
_OWN = "# The units of the last layer have labels, those of the weights: {first}, ..."
_COUNT = 9  # units of the layer that is switched on


def first_config(section: Config, plan: Plan, net: Net) -> str:
    """A config of one layer, with the others as comments.

    Args:
        section: its `net`.
        plan: of all layers of the net.
        net: the same.

    Raises:
        UserError: it has no layer whose units can be had, or takes no images.
    """
    if not plan.layers:
        raise UserError(
            f"the net {net.name!r} has no layer with units; 'cnnpref look NET' lists its layers"
        )
    lines = [f"  {key}: {_yaml(value)}" for key, value in section.items()]
    own = next((each.labels for each in reversed(plan.series) if each.labels), None)
    labels = _OWN.format(first=_yaml(own[0])) if own else _FILE
    return "\n".join([_HEAD, "net:", *lines, _MIDDLE.format(labels=labels) + _layers(plan, net)])


def _layers(plan: Plan, net: Net) -> str:
    counts = {series.layer: len(series.units) for series in plan.series}
    weighted = plan.nets["net"].weights
    on = next((layer for layer in reversed(plan.layers) if layer in weighted), plan.layers[-1])
    entries = {
        layer: f"  # {_yaml(layer)}: {{}}"
        if layer != on
        else f"  {_yaml(layer)}: {{units: {{count: {min(_COUNT, counts[layer])}}}}}"
        for layer in plan.layers
    }
    width = max(map(len, entries.values()))
    lines = [
        f"{entry:{width}} # {counts[layer]} units{_about(net, layer)}"
        for layer, entry in entries.items()
    ]
    return "\n".join([*lines, ""])


def _about(net: Net, layer: str) -> str:
    shape, (top, left, bottom, right) = net.layers[layer], net.receptive_field(layer)
    of = f" of {' x '.join(map(str, shape))}" if len(shape) > 1 else ""
    return f"{of}, field {bottom - top} x {right - left}"


def _yaml(value: Any) -> str:
    """A value in one line."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=1_000_000)
    return text.removesuffix("\n").removesuffix("\n...")
