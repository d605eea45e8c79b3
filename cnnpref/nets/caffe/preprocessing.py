"""How images become a net's input: mean and scale, as given or as the prototxt has them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cnnpref.errors import UserError
from cnnpref.input_space import InputSpace
from cnnpref.nets.caffe.files.mean import Mean, read_mean
from cnnpref.nets.caffe.files.schema import PathLike
from cnnpref.nets.caffe.graph import Graph

_USUAL = (1, 3)  # channels of images
_MOST = 1 << 20  # channels: the order, the mean and the scale have a number for each
Scale = float | Sequence[float] | None


class Stated(NamedTuple):
    """What a transform_param says: None where it says nothing."""

    mean: tuple[float, ...] | str | None
    scale: float | None

    def beside(self, mean: Mean, scale: Scale) -> Stated:
        """What of it counts beside what is given."""
        return Stated(self.mean if mean is None else None, self.scale if scale is None else None)

    def __str__(self) -> str:
        mean = self.mean if isinstance(self.mean, str) else " ".join(map(str, self.mean or ()))
        parts = [f"mean {mean}"] * bool(mean) + [f"scale {self.scale}"] * (self.scale is not None)
        return ", ".join(parts)


def stated_in(prototxt: PathLike, graph: Graph) -> Stated:
    """Mean and scale of the transform_param of the layer that gives the images.

    A file of a mean is looked for where the prototxt says, or else beside the prototxt.
    """
    param = graph.image.transform
    values = tuple(map(_written, param.mean_value))
    mean: tuple[float, ...] | str | None = values or None
    if len(values) == 1:
        mean = values * channels_of(graph)
    if mean is None and param.mean_file:
        given = Path(param.mean_file)
        places = [given, Path(prototxt).parent / given, Path(prototxt).parent / given.name]
        mean = next((str(place) for place in places if place.is_file()), None)
    return Stated(mean, _written(param.scale) if param.HasField("scale") else None)


def _written(value: float) -> float:
    """A number of 32 bits as somebody wrote it: 0.017, not 0.017000000923871994."""
    return float(str(np.float32(value)))


def input_space(prototxt: PathLike, graph: Graph, mean: Mean, scale: Scale) -> InputSpace:
    """The space of a net's images: BGR for 3 channels, as they are for another number.

    Raises:
        UserError: mean or scale has another number of values than there are channels; or these are
            far too many.

    Warns:
        UserWarning: mean or scale are those of the prototxt; or it names a mean that is not there.
    """
    channels, stated = channels_of(graph), stated_in(prototxt, graph)
    used = stated.beside(mean, scale)
    if text := str(used):
        warnings.warn(
            f"{prototxt}: its transform_param is used: {text}; give mean and scale for others",
            UserWarning,
            stacklevel=3,
        )
    missing = graph.image.transform.mean_file if stated.mean is None and mean is None else ""
    if missing:
        warnings.warn(
            f"{prototxt}: its mean_file {missing} is not here, so the mean is 0; give mean",
            UserWarning,
            stacklevel=3,
        )
    order = (2, 1, 0) if channels == 3 else tuple(range(channels))
    values = read_mean(used.mean if mean is None else mean, channels)
    return InputSpace(order, values, _scales(used.scale if scale is None else scale, channels))


def channels_of(graph: Graph) -> int:
    """Of the images that a net takes; or of those that it makes, if it is a generator.

    Raises:
        UserError: no images have so many.
    """
    taken = graph.shapes[graph.inputs[graph.image.blob]]
    made = graph.shapes[list(graph.blobs.values())[-1]]
    features = len(taken) < 4 or taken[1] not in _USUAL
    larger = len(made) == 4 and made[1] in _USUAL and (len(taken) < 4 or made[2] > taken[2])
    if features and larger:
        return made[1]
    channels = taken[1] if len(taken) == 4 else 3
    if channels > _MOST:
        raise UserError(
            f"net {graph.name!r}: its images have {channels:,} channels, allowed are {_MOST:,};"
            f" check the shape of its input {graph.image.blob!r}"
        )
    return channels


def _scales(scale: Scale, channels: int) -> tuple[float, ...]:
    values = np.atleast_1d(np.asarray(1.0 if scale is None else scale, np.float64))
    fits = values.shape in ((1,), (channels,)) and np.isfinite(values).all() and values.all()
    if not fits:
        raise UserError(
            f"scale: got {scale}; allowed: a number other than 0, or {channels} of them, one for "
            "each channel"
        )
    return tuple(np.broadcast_to(values, channels).tolist())
