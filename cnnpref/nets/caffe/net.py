"""A net read from Caffe's files, run by PyTorch."""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cnnpref.errors import UserError
from cnnpref.geometry import Mask, map_size, pull_back
from cnnpref.image import InputSpace
from cnnpref.nets.caffe.files import (
    PathLike,
    read_binaryproto,
    read_bytes,
    read_prototxt,
    write_caffemodel,
)
from cnnpref.nets.caffe.graph import Graph, Node
from cnnpref.nets.caffe.weights import load_weights
from cnnpref.nets.kernels import faithful_kernels, find_device
from cnnpref.nets.net import Net

Mean = Sequence[float] | PathLike | None


class CaffeNet(Net):
    """A Caffe graph as a Net; made by `load_caffe`."""

    def __init__(self, graph: Graph, space: InputSpace, device: torch.device) -> None:
        self.graph = graph
        self.name, self.space, self.device = graph.name, space, device
        self.layers = graph.layer_shapes
        self.blobs = {name: graph.shapes[value][1:] for name, value in graph.blobs.items()}
        self._image = next(iter(graph.inputs.values()))
        self.input_shape = graph.shapes[self._image][1:]

    def parameters(self) -> Iterator[Tensor]:
        seen = set()
        for node in self.graph.nodes:
            for weight in node.layer.weights:
                if weight.data_ptr() not in seen:  # shared weights once
                    seen.add(weight.data_ptr())
                    yield weight

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
        nodes = self.graph.ancestors(wanted, given)
        read = {*wanted, *(b for node in nodes for b in node.bottoms)}
        absent = [n for n, v in self.graph.inputs.items() if v in read and v not in given]
        if absent:
            raise UserError(f"net {self.name!r}: give its input {', '.join(map(repr, absent))} too")
        values = dict(given)
        uses = Counter(bottom for node in nodes for bottom in node.bottoms)
        with faithful_kernels():
            for node in nodes:
                tops = node.run([values[b] for b in node.bottoms])
                values.update(zip(node.tops, tops, strict=False))
                uses.subtract(node.bottoms)
                for done in {b for b in node.bottoms if not uses[b]}.difference(wanted):
                    del values[done]  # its memory is free, unless a gradient needs it
        return values

    def support(self, layer: str, mask: Mask) -> Mask:
        self.layer_shape(layer)
        value = self.graph.layers[layer]
        reached = {value: mask}
        for node in reversed(self.graph.ancestors([value])):
            for index, bottom in enumerate(node.bottoms):
                for top in reached.keys() & set(node.tops):
                    found = self._reaching(node, index, top, reached[top])
                    reached[bottom] = reached[bottom] | found if bottom in reached else found
        return reached.get(self._image, np.zeros(map_size(self.input_shape), bool))

    def _reaching(self, node: Node, index: int, top: int, mask: Mask) -> Mask:
        """The positions of a bottom that reach the masked ones of a top."""
        shapes = self.graph.shapes
        bottoms, bottom = [shapes[b] for b in node.bottoms], shapes[node.bottoms[index]]
        if len(bottom) != 4 or len(shapes[top]) != 4:
            return np.full(map_size(bottom[1:]), mask.any())
        rows, columns = (
            node.layer.reach(index, bottoms, shapes[top], axis).relation(
                shapes[top][axis], bottom[axis]
            )
            for axis in (-2, -1)
        )
        return pull_back(mask, rows, columns)


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
        UserError: a file is missing, damaged or does not fit the other; an unknown layer type.
    """
    graph = read_graph(prototxt)
    place = find_device(device)
    load_weights(graph, caffemodel, place)
    return CaffeNet(graph, InputSpace(mean=read_mean(mean)), place)


def read_graph(prototxt: PathLike) -> Graph:
    """The layers of a prototxt, without weights.

    Raises:
        UserError: the file is missing or no prototxt; a layer is unknown or wrongly set.
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


def read_mean(mean: Mean) -> tuple[float, ...]:
    """Three values, BGR, from values, a .npy or .binaryproto file, or None.

    Raises:
        UserError: the file cannot be read, or holds something else than 3 channels.
    """
    if mean is None:
        return (0.0, 0.0, 0.0)
    name = f"mean {mean}" if isinstance(mean, str | os.PathLike) else "mean"
    try:
        values = _mean_values(mean)
    except (ValueError, TypeError) as error:
        raise UserError(f"{name}: cannot be read as numbers: {error}") from None
    while values.ndim > 3 and len(values) == 1:
        values = values[0]
    if values.shape[:1] != (3,) or not values.size:
        raise UserError(f"{name}: 3 values or channels (BGR) wanted, got shape {values.shape}")
    channels = values.reshape(3, -1).mean(1)
    if not np.isfinite(channels).all():
        raise UserError(f"{name}: finite values wanted, got {channels.tolist()}")
    return tuple(channels.tolist())


def _mean_values(mean: Sequence[float] | PathLike) -> npt.NDArray[np.float64]:
    if not isinstance(mean, str | os.PathLike):
        return np.asarray(mean, np.float64)
    if Path(mean).suffix != ".npy":
        return read_binaryproto(mean).astype(np.float64)
    data = io.BytesIO(read_bytes(mean))
    return np.asarray(np.lib.format.read_array(data, allow_pickle=False), np.float64)
