"""A net read from Caffe's files, run by PyTorch."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from itertools import product
from math import prod

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cnnpref.errors import UserError, suggest
from cnnpref.geometry import Box, Mask, Shape, anywhere
from cnnpref.input_space import InputSpace
from cnnpref.nets.caffe.execution import Execution, cut
from cnnpref.nets.caffe.files.caffemodel import write_caffemodel
from cnnpref.nets.caffe.files.mean import Mean
from cnnpref.nets.caffe.files.prototxt import read_prototxt
from cnnpref.nets.caffe.files.schema import PathLike
from cnnpref.nets.caffe.graph import Graph
from cnnpref.nets.caffe.layers.convolution import Convolution
from cnnpref.nets.caffe.preprocessing import Scale, input_space
from cnnpref.nets.caffe.readout import CaffeReadout
from cnnpref.nets.caffe.weights import load_weights
from cnnpref.nets.kernels import find_device
from cnnpref.nets.net import Net, Visit
from cnnpref.nets.readout import Part, Readout

_MOST_SEEN = 1 << 30  # values of a blob that a receptive field leads through: a byte each


class CaffeNet(Net):
    """A Caffe graph as a Net; made by `load_caffe`."""

    def __init__(self, graph: Graph, space: InputSpace, device: torch.device) -> None:
        self.graph = graph
        self.name, self.space, self.device = graph.name, space, device
        self.layers, self.refused = graph.layer_shapes, graph.refused
        self.blobs = {name: graph.shapes[value][1:] for name, value in graph.blobs.items()}
        self._image = graph.inputs[graph.image.blob]
        self.input_shape = graph.shapes[self._image][1:]

    @property
    def input_blob(self) -> str:
        return self.graph.image.blob

    def parameters(self) -> Iterator[Tensor]:
        return (weight for _, weight in self._weights())

    def layer_weights(self, layer: str) -> list[Tensor]:
        value = self.graph.layers[layer]
        return next(node.layer.weights for node in self.graph.nodes if value in node.tops)

    def unit_weights(self, layer: str) -> list[Tensor]:
        value = self.graph.layers[layer]
        return next(node.layer.unit_weights() for node in self.graph.nodes if value in node.tops)

    def weight_counts(self) -> Mapping[str, int]:
        counts = Counter[str]()
        for layer, weight in self._weights():
            counts[layer] += weight.numel()
        return counts

    def _weights(self) -> Iterator[tuple[str, Tensor]]:
        """Each weight once, with the first layer that has it."""
        seen = set()
        for node in self.graph.nodes:
            for weight in node.layer.weights:
                if weight.data_ptr() not in seen:
                    seen.add(weight.data_ptr())
                    yield node.layer.name, weight

    def activations(self, images: Tensor, layer: str) -> Tensor:
        self.layer_shape(layer)
        value = self.graph.layers[layer]
        return self._run({self._image: images}, [value])[value]

    def forward(self, inputs: Mapping[str, Tensor], blobs: Sequence[str]) -> dict[str, Tensor]:
        self.check_blobs([*inputs, *blobs])
        wanted = {blob: self.graph.blobs[blob] for blob in blobs}
        values_of = {**self.graph.blobs, **self.graph.inputs}  # an input before it was changed
        given = {values_of[blob]: x for blob, x in inputs.items()}
        values = self._run(given, list(wanted.values()))
        return {blob: values[value] for blob, value in wanted.items()}

    def visit(self, images: Tensor, layers: Sequence[str], visit: Visit) -> None:
        for layer in layers:
            self.layer_shape(layer)
        names = {self.graph.layers[layer]: layer for layer in layers}
        execution = Execution(self.graph, dict.fromkeys(names), [self._image])
        for value, x in execution.stream({self._image: images}):
            visit(names[value], x)

    def _run(self, given: dict[int, Tensor], wanted: Sequence[int]) -> dict[int, Tensor]:
        execution = Execution(self.graph, dict.fromkeys(wanted), given)
        self._require(execution, given)
        return execution(given)

    def _require_small(self, layer: str, shape: Shape) -> None:
        """Raise UserError if a blob has so many values that what of it is seen is not noted."""
        if prod(shape) > _MOST_SEEN:
            raise UserError(
                f"net {self.name!r}: the receptive field of {layer!r} leads through a blob of shape"
                f" {list(shape)}, allowed are {_MOST_SEEN:,} values; give a smaller input_shape"
            )

    def _require(self, execution: Execution, given: Container[int]) -> None:
        """Raise UserError if the image is read and not given."""
        if self._image in execution.read and self._image not in given:
            raise UserError(f"net {self.name!r}: give its input {self.graph.image.blob!r} too")

    def readout(self, layer: str, index: npt.ArrayLike) -> Readout:
        self.layer_shape(layer)
        units, value = np.asarray(index), self.graph.layers[layer]
        return CaffeReadout.of(self.graph, self._image, value, units, self.device)

    def part(self, source: str, blob: str, box: Box) -> Part:
        self.check_blobs([source, blob])
        given, wanted = {**self.graph.blobs, **self.graph.inputs}[source], self.graph.blobs[blob]
        execution = Execution(self.graph, {wanted: box}, [given])
        self._require(execution, [given])
        return lambda x: execution({given: cut(x, execution.boxes[given])})[wanted]

    def support(self, layer: str, mask: Mask) -> Mask:
        value = self.graph.layers[layer]
        nodes, reached = self.graph.ancestors([value]), {value: mask}
        below = (shape[1:] for node in nodes for shape in node.layer.bottom_shapes)
        for shape in (self.layer_shape(layer), *below):  # all of them before any work
            self._require_small(layer, shape)
        for node in reversed(nodes):
            for (i, top), (j, bottom) in product(enumerate(node.tops), enumerate(node.bottoms)):
                if top in reached:
                    found = node.layer.pull_back(reached[top], i, j)
                    reached[bottom] = reached[bottom] | found if bottom in reached else found
        pixels = reached.get(self._image, np.zeros((1, 1, 1), bool))
        return anywhere(np.broadcast_to(pixels, self.input_shape), 0)


def load_caffe(
    prototxt: PathLike,
    caffemodel: PathLike | None = None,
    mean: Mean = None,
    device: str | torch.device = "cpu",
    *,
    scale: Scale = None,
    input_shape: Sequence[int] | None = None,
    inputs: Mapping[str, npt.ArrayLike] | None = None,
) -> CaffeNet:
    """Read a Caffe net as it was published: batch sizes, in-place layers, old formats and all.

    Layers that only a fork of Caffe knows, or that only train, are left out, with those that depend
    on them: `refused` says why. The net's value of a pixel is (pixel - mean) * scale.

    Args:
        prototxt: the deploy file; phase TEST is read.
        caffemodel: the weights, by layer name, also as .caffemodel.h5; without it all weights have
            the values of their constant and bilinear fillers, others are 0.
        mean: what was subtracted from the images, as one value per channel (3: BGR, 0..255 scale),
            as a .npy or .binaryproto file (a mean image is averaged over its pixels), or None for
            that of the prototxt's transform_param, or else 0.
        device: "cpu", "cuda", "cuda:1" ...
        scale: what the difference was multiplied with, a number or one per channel; None for that
            of the prototxt's transform_param, or else 1.
        input_shape: [channels, height, width] of the images, in place of the prototxt's.
        inputs: {name: values} of inputs beside the image, without the batch; others are 0.

    Raises:
        UserError: a file is missing, damaged or does not fit the other; no layer can be computed;
            mean, scale, input_shape or inputs do not fit the net.

    Warns:
        UserWarning: the prototxt's mean and scale are used; its images are of 1 x 1.
    """
    graph = read_graph(prototxt, input_shape, inputs)
    place = find_device(device)
    space = input_space(prototxt, graph, mean, scale)
    load_weights(graph, caffemodel, place)
    graph.constants = {value: x.to(place) for value, x in graph.constants.items()}
    net = CaffeNet(graph, space, place)
    net.makes = None if mean is None and scale is None else space
    return net


def read_graph(
    prototxt: PathLike,
    input_shape: Sequence[int] | None = None,
    inputs: Mapping[str, npt.ArrayLike] | None = None,
) -> Graph:
    """The layers of a prototxt, without weights.

    Args:
        prototxt: the file.
        input_shape: of the images, in place of what the file states.
        inputs: {name: values} of inputs beside the image.

    Raises:
        UserError: the file is missing or no prototxt; a layer is wrongly set; none can be computed;
            an input is unknown or has another shape.

    Warns:
        UserWarning: the file's images are of 1 x 1.
    """
    graph = Graph(read_prototxt(prototxt), tuple(input_shape) if input_shape else None)
    for name, values in (inputs or {}).items():
        _hold(graph, name, values)
    if not input_shape and _is_a_point(graph):
        warnings.warn(
            f"{prototxt}: its images are of 1 x 1, which stands for any size: give input_shape, "
            "[channels, height, width]",
            UserWarning,
            stacklevel=3,
        )
    return graph


def _is_a_point(graph: Graph) -> bool:
    """Whether the image is a single pixel, of which a convolution wants more."""
    image = graph.inputs[graph.image.blob]
    readers = [node.layer for node in graph.nodes if image in node.bottoms]
    convolved = any(isinstance(r, Convolution) and max(r.kernel) > 1 for r in readers)
    return graph.shapes[image][2:] == (1, 1) and convolved


def _hold(graph: Graph, name: str, values: npt.ArrayLike) -> None:
    """Let an input beside the image hold some values."""
    others = {blob: value for blob, value in graph.inputs.items() if value in graph.constants}
    if name not in others:
        raise UserError(
            f"inputs: {graph.name!r} has no input {name!r}{suggest(name, others)} beside its image "
            f"{graph.image.blob!r}; it has: {', '.join(others) or 'none'}"
        )
    held = graph.constants[others[name]]
    try:
        array = np.broadcast_to(np.asarray(values, np.float32), held.shape)
    except ValueError:
        raise UserError(
            f"inputs: {name!r} has the shape {list(held.shape[1:])}, got {np.shape(values)}"
        ) from None
    graph.constants[others[name]] = torch.from_numpy(array.copy())


def save_caffemodel(net: CaffeNet, path: PathLike) -> None:
    """Write the weights of a net as a caffemodel, whole or not at all."""
    layers = (node.layer for node in net.graph.nodes if node.layer.weights)
    arrays = (
        (layer.name, layer.kind, [w.detach().cpu().numpy() for w in layer.weights])
        for layer in layers
    )
    write_caffemodel(path, net.name, arrays)
