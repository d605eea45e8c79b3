"""What jobs take, from the shapes of the nets alone: upper, deterministic estimates."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, prod
from typing import TYPE_CHECKING

from cnnpref.geometry import Shape
from cnnpref.planning.plan import Plan
from cnnpref.planning.series import Batch, Series

if TYPE_CHECKING:  # estimates are made without PyTorch
    from cnnpref.nets import Net, NetDescription

AT_ONCE = 64  # units on a CPU: larger batches take as long per unit (measured)

# Measured on AlexNet and SqueezeNet, with room to spare.
PROGRAM = 3e9  # bytes: Python, PyTorch and the libraries of CUDA
START = 300  # seconds until a job computes, on a busy file system
PACE = 2e10  # floating point operations per second of one CPU core; a GPU is much faster
FLOAT = 4  # bytes

# A unit usually takes an eighth of that or less: AlexNet's fc8 1/2.7 by gd, 1/7 by dgn_gd, 1/9 and
# 1/10 by lbfgs and dgn_lbfgs; those of convolutions see a part of the image, and take 1/6 to 1/60.
_USUAL = 8
_WRITE = 0.03  # seconds to compress and to write the file of a unit, on any device

# Bytes per value of a layer: it, its gradient, and what is made on the way. The estimate of a unit
# is 1.2 to 4 times what units took on a CPU: least for AlexNet's conv2, whose LRN makes much on the
# way, most for SqueezeNet's conv10, where not all values are kept.
_KEPT = 3 * FLOAT
_HEADER = 9_000  # bytes of a unit file without its arrays

# Of reference images:
_SKETCH = 35_000  # bytes of a unit's counts
_ROW = 40  # bytes of an image in a unit's tables, and of their copies
_PASS = 16  # images at once
_SECONDS_PER_VALUE = 1e-8  # of an activation
_READ = 0.2  # seconds to read and to scale an image of a few megapixels


def unit_bytes(plan: Plan, series: Series) -> int:
    """The size of a unit file of a series, about: an image, the trace, the latent vector.

    The best image is mostly the last one, and compression pays for those that are not: 0.01 (lbfgs,
    a small field) to 0.9 (gd) and 1.4 images (dgn_gd) were stored, on average, for the two.
    """
    numbers = prod(plan.nets["net"].input_shape) + evaluations(series)
    if series.how.needs_generator:
        numbers += prod(plan.nets["generator"].input_shape)
    frames = series.keep_frames * prod(plan.nets["net"].input_shape)  # of bytes
    return FLOAT * numbers + frames + _HEADER


def evaluations(series: Series) -> int:
    """How often the net is evaluated for a unit, at most or about."""
    return series.how.evaluations(series.options)


def memory_mb(plan: Plan, batch: Batch) -> int:
    """What to reserve for the job of a batch, in MB."""
    series, rows = batch.series, min(len(batch.units), AT_ONCE)
    generator = plan.nets["generator"] if series.how.needs_generator else None
    weights = 2 * FLOAT * sum(sum(net.weights.values()) for net, _ in _parts(plan, series))
    units = rows * unit_memory(series, plan.nets["net"], generator)
    return _round_up((PROGRAM + weights + units) / 1e6)


def unit_memory(
    series: Series, net: NetDescription | Net, generator: NetDescription | Net | None = None
) -> float:
    """Bytes that a unit takes while it is maximised, without the program and the weights.

    All of the net up to the layer counts, though less of it is computed for units that see a part
    of the image.

    Args:
        series: whose unit.
        net: the network.
        generator: the one that makes the images, where the method needs it.
    """
    names = list(net.layers)
    shapes = [net.layers[name] for name in names[: names.index(series.layer) + 1]]
    shapes += generator.layers.values() if generator else ()
    variables = prod((generator or net).input_shape)
    frames = 2 * series.keep_frames  # as many are held at times, of bytes
    images = (4 * FLOAT + frames) * prod(net.input_shape)
    return _KEPT * sum(map(prod, shapes)) + series.how.bytes_per_variable * variables + images


def runtime_minutes(plan: Plan, batch: Batch) -> int:
    """What to reserve for the job of a batch on the device that the config says, in minutes."""
    each = _computing_seconds(plan, batch.series) + _WRITE
    return _round_up((START + len(batch.units) * each) / 60, 10)


def usual_seconds(plan: Plan, series: Series) -> float:
    """What a unit usually takes on the device that the config says, its file included."""
    return _computing_seconds(plan, series) / _USUAL + _WRITE


def _computing_seconds(plan: Plan, series: Series) -> float:
    each = evaluations(series) * evaluation_seconds(plan, series)
    return each / float(plan.config["speed"])


def evaluation_seconds(plan: Plan, series: Series) -> float:
    """What the evaluation of a unit and the step that follows take on one CPU core."""
    parts = list(_parts(plan, series))
    products = sum(4 * _products(net, layers) for net, layers in parts)  # forward and backward
    passes = series.how.passes(series.options) * products
    steps = series.how.operations_per_variable * prod(parts[-1][0].input_shape)
    return (passes + steps) / PACE


def reference_memory_mb(plan: Plan) -> int:
    """What to reserve for a job that shows reference images to the net, in MB."""
    wanted, net = plan.references, plan.nets["net"]
    assert wanted
    units = sum(shape[0] for shape in wanted.layers.values())
    tables = units * (_SKETCH + _ROW * max(len(shard.images) for shard in wanted.shards))
    values = _PASS * FLOAT * sum(map(prod, net.layers.values()))
    weights = 2 * FLOAT * sum(net.weights.values())
    return _round_up((PROGRAM + weights + tables + values) / 1e6)


def reference_minutes(plan: Plan) -> int:
    """What to reserve for such a job on one CPU core, in minutes."""
    assert plan.references
    images = max(len(shard.images) for shard in plan.references.shards)
    return _round_up((START + images * reference_seconds(plan)) / 60, 10)


def reference_seconds(plan: Plan) -> float:
    """What a reference image takes on one CPU core."""
    wanted, net = plan.references, plan.nets["net"]
    assert wanted
    values = sum(map(prod, wanted.layers.values()))
    return 2 * _products(net, list(net.layers)) / PACE + values * _SECONDS_PER_VALUE + _READ


def score_memory_mb(plan: Plan) -> int:
    """What to reserve for a job that scores the pictures of a layer, in MB."""
    values = sum(_PASS * FLOAT * sum(map(prod, net.layers.values())) for net in _scoring(plan))
    weights = 2 * FLOAT * sum(sum(net.weights.values()) for net in _scoring(plan))
    return _round_up((PROGRAM + weights + values) / 1e6)


def score_minutes(plan: Plan, layer: str) -> int:
    """What to reserve for such a job on one CPU core, in minutes."""
    return _round_up((START + score_seconds(plan, layer)) / 60, 10)


def score_seconds(plan: Plan, layer: str) -> float:
    """What the scores of a layer's pictures take on one CPU core."""
    series = plan.select(layer)
    passes = sum(_products(net, list(net.layers)) for net in _scoring(plan))
    pictures = sum(_PASS * ceil(len(each.units) / _PASS) for each in series)
    changed = 9 if plan.references else 1  # a picture as it is, and 8 times changed
    return pictures * changed * 2 * passes / PACE


def _scoring(plan: Plan) -> Iterator[NetDescription]:
    """The net, and those that only score."""
    yield from (plan.nets["net"], *plan.scoring.nets)


def _parts(plan: Plan, series: Series) -> Iterator[tuple[NetDescription, list[str]]]:
    """The nets that make a unit's activation, with the layers that matter.

    The input of the last one is what varies.
    """
    net = plan.nets["net"]
    names = list(net.layers)
    yield net, names[: names.index(series.layer) + 1]
    if series.how.needs_generator:
        yield plan.nets["generator"], list(plan.nets["generator"].layers)


def _products(net: NetDescription, layers: list[str]) -> int:
    """How many times a weight is multiplied in a pass: each one at all positions of a map."""
    return sum(net.weights.get(layer, 0) * prod(_map_sizes(net, layer)) for layer in layers)


def _map_sizes(net: NetDescription, layer: str) -> Shape:
    known = net.maps.get(layer)
    return known.sizes if known else net.layers[layer][1:]


def _round_up(value: float, step: int = 100) -> int:
    return ceil(value / step) * step
