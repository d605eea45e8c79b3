"""A net read from Caffe's files, run by PyTorch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from itertools import product

import numpy as np
import torch
from torch import Tensor

from cnnpref.errors import UserError
from cnnpref.geometry import Box, Mask, anywhere
from cnnpref.input_space import InputSpace
from cnnpref.nets.caffe.execution import Execution, cut
from cnnpref.nets.caffe.files.caffemodel import write_caffemodel
from cnnpref.nets.caffe.files.mean import Mean, read_mean
from cnnpref.nets.caffe.files.prototxt import read_prototxt
from cnnpref.nets.caffe.files.schema import PathLike
from cnnpref.nets.caffe.graph import Graph
from cnnpref.nets.caffe.readout import CaffeReadout
from cnnpref.nets.caffe.weights import load_weights
from cnnpref.nets.kernels import find_device
from cnnpref.nets.net import Net
from cnnpref.nets.readout import Part, Readout


class CaffeNet(Net):
    """A Caffe graph as a Net; made by `load_caffe`."""

    def __init__(self, graph: Graph, space: InputSpace, device: torch.device) -> None:
        self.graph = graph
        self.name, self.space, self.device = graph.name, space, device
        self.layers, self.refused = graph.layer_shapes, graph.refused
        self.blobs = {name: graph.shapes[value][1:] for name, value in graph.blobs.items()}
        self._image = next(iter(graph.inputs.values()))
        self.input_shape = graph.shapes[self._image][1:]

    def parameters(self) -> Iterator[Tensor]:
        return (weight for _, weight in self._weights())

    def layer_weights(self, layer: str) -> list[Tensor]:
        value = self.graph.layers[layer]
        return next(node.layer.weights for node in self.graph.nodes if value in node.tops)

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

    def _run(self, given: dict[int, Tensor], wanted: Sequence[int]) -> dict[int, Tensor]:
        execution = Execution(self.graph, dict.fromkeys(wanted), given)
        self._require(execution, given)
        return execution(given)

    def _require(self, execution: Execution, given: Container[int]) -> None:
        """Raise UserError unless all inputs that are read are given."""
        read = execution.read
        absent = [n for n, v in self.graph.inputs.items() if v in read and v not in given]
        if absent:
            raise UserError(f"net {self.name!r}: give its input {', '.join(map(repr, absent))} too")

    def readout(self, layer: str, index: Tensor) -> Readout:
        self.layer_shape(layer)
        return CaffeReadout.of(self.graph, self._image, self.graph.layers[layer], index)

    def part(self, source: str, blob: str, box: Box) -> Part:
        self.check_blobs([source, blob])
        given, wanted = {**self.graph.blobs, **self.graph.inputs}[source], self.graph.blobs[blob]
        top, left, bottom, right = box
        execution = Execution(self.graph, {wanted: ((top, bottom), (left, right))}, [given])
        self._require(execution, [given])
        return lambda x: execution({given: cut(x, execution.areas[given])})[wanted]

    def support(self, layer: str, mask: Mask) -> Mask:
        self.layer_shape(layer)
        value = self.graph.layers[layer]
        reached = {value: mask}
        for node in reversed(self.graph.ancestors([value])):
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
) -> CaffeNet:
    """Read a Caffe net as it was published: batch sizes, in-place layers, old formats and all.

    Args:
        prototxt: the deploy file; phase TEST is read.
        caffemodel: the weights, by layer name; without it all weights have their fillers' values.
        mean: what was subtracted from the images, as 3 values (BGR, 0..255 scale), as a .npy or
            .binaryproto file (a mean image is averaged over its pixels), or None for 0.
        device: "cpu", "cuda", "cuda:1" ...

    Raises:
        UserError: a file is missing, damaged or does not fit the other; no layer can be
            computed.
    """
    graph = read_graph(prototxt)
    place = find_device(device)
    load_weights(graph, caffemodel, place)
    return CaffeNet(graph, InputSpace(mean=read_mean(mean)), place)


def read_graph(prototxt: PathLike) -> Graph:
    """The layers of a prototxt, without weights.

    Raises:
        UserError: the file is missing or no prototxt; a layer is wrongly set; none can be computed.
    """
    return Graph(read_prototxt(prototxt))


def save_caffemodel(net: CaffeNet, path: PathLike) -> None:
    """Write the weights of a net as a caffemodel, whole or not at all."""
    layers = (node.layer for node in net.graph.nodes if node.layer.weights)
    arrays = (
        (layer.name, layer.kind, [w.detach().cpu().numpy() for w in layer.weights])
        for layer in layers
    )
    write_caffemodel(path, net.name, arrays)
