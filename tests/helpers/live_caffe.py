"""A stand-in for pycaffe: objects of its interface, over the layers of our own reader.

It has Caffe's ways, the bad ones too. Blobs keep data and diffs from call to call, also through a
reshape; layers in place overwrite; Caffe's own splits show as layers and blobs; a backward pass
adds up whatever diffs its splits find; without `force_backward` it does nothing; a dimension that
a Reshape layer fixes stays fixed, as do the batch of a DummyData and of weights along axis 0; and
where Caffe would end the process, `Aborted` is raised.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from math import prod
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from live_public import FLAVOURS, public
from small import random_net
from torch import Tensor

import cnnpref
from cnnpref.nets.caffe import CaffeNet, read_prototxt
from cnnpref.nets.caffe.files.prototxt import SCHEMA, Message
from cnnpref.nets.caffe.layers.base import make_layer
from cnnpref.nets.kernels import faithful_kernels
from cnnpref.nets.pycaffe.net import PycaffeNet

FORCE = "force_backward: true\n"
IN_PLACE = {"ReLU", "TanH", "Dropout"}  # whose gradient can be had from what they leave
SOURCES = {"Input": "input_param", "DummyData": "dummy_data_param"}
NOT_IMPLEMENTED = {"ArgMax", "Threshold"}  # backward


class Aborted(Exception):  # noqa: N818
    """A failed CHECK: Caffe ends the process."""


class Blob:
    """Memory for data and diff that only ever grows."""

    __slots__ = ("_data", "_diff", "shape")

    def __init__(self, shape: Iterable[int] = (0,), data: np.ndarray | None = None) -> None:
        self._data, self._diff = np.zeros(0, np.float32), np.zeros(0, np.float32)
        self.reshape(*shape)
        if data is not None:
            self._data = data

    def reshape(self, *shape: int) -> None:
        if any(type(size) is not int for size in shape):
            raise TypeError("No registered converter was able to produce a C++ rvalue of type int")
        self.shape = shape
        if prod(shape) > min(self._data.size, self._diff.size):
            self._data, self._diff = np.zeros((2, prod(shape)), np.float32)

    @property
    def data(self) -> np.ndarray:
        return self._data[: prod(self.shape)].reshape(self.shape)

    @property
    def diff(self) -> np.ndarray:
        return self._diff[: prod(self.shape)].reshape(self.shape)

    def share_data(self, other: Blob) -> None:
        self._data = other._data

    def share_diff(self, other: Blob) -> None:
        self._diff = other._diff


class Layer:
    """A layer on its bottom and top blobs, by the forward function of our reader."""

    def __init__(self, message: Message, bottoms: list[Blob], tops: list[Blob]) -> None:
        self.type, self._bottoms, self._tops = message.type, bottoms, tops
        self._layer = None if self.type in SOURCES else make_layer(message)
        if self._layer is None:
            shapes = getattr(message, SOURCES[self.type]).shape
            for top, shape in zip(tops, shapes, strict=True):
                top.reshape(*shape.dim)
                top.data[...] = 0.5 if self.type == "DummyData" else 0
        else:
            self._layer.setup(*(bottom.shape for bottom in bottoms))
        if self.type == "Reshape":
            self._layer.dims = list(message.reshape_param.shape.dim)  # fixed ones stay fixed

    def weigh(self, weights: list[Tensor]) -> None:
        if self._layer:
            self._layer.weights = weights
        self.blobs = [Blob(w.shape, w.numpy().reshape(-1)) for w in weights]

    def forward(self) -> None:
        if not self._layer:
            return
        with torch.no_grad():
            results = self._run([torch.from_numpy(bottom.data) for bottom in self._bottoms])
        for top, result in zip(self._tops, results, strict=False):
            top.reshape(*result.shape)
            if self.type in ("Split", "Flatten", "Reshape"):
                top.share_data(self._bottoms[0])
            else:
                top.data[...] = result.numpy()
            if self.type == "Reshape":
                top.share_diff(self._bottoms[0])

    def _run(self, bottoms: list[Tensor]) -> tuple[Tensor, ...]:
        shapes = {tuple(bottom.shape) for bottom in bottoms}
        if self.type == "Eltwise" and len(shapes) > 1:
            raise Aborted(f"Check failed: bottom[i]->shape() == bottom[0]->shape() {shapes}")
        along = self.type == "Scale" and len(bottoms) == 1 and self._layer.start == 0
        if along and bottoms[0].shape[:1] != self._layer.weights[0].shape[:1]:
            raise Aborted("Check failed: the weights are of another batch")
        try:
            with faithful_kernels():
                tops = self._layer.forward(*bottoms)
        except (RuntimeError, ValueError) as error:
            raise Aborted(f"Check failed: {error}") from None
        return tops if isinstance(tops, tuple) else (tops,)

    def backward(self) -> None:
        if self.type in NOT_IMPLEMENTED:
            raise Aborted("Not Implemented Yet")
        if self.type == "Split":
            self._bottoms[0].diff[...] = sum(top.diff for top in self._tops)
        elif self.type == "TanH":
            self._bottoms[0].diff[...] = self._tops[0].diff * (1 - self._tops[0].data ** 2)
        elif self.type == "Flatten":
            self._bottoms[0].share_diff(self._tops[0])
        elif self.type not in ("Reshape", *SOURCES):
            leaves = [torch.tensor(b.data, requires_grad=True) for b in self._bottoms]
            diffs = [torch.tensor(top.diff) for top in self._tops]
            with torch.enable_grad(), faithful_kernels():
                tops = self._run(leaves)
                found = torch.autograd.grad(tops, leaves, diffs, materialize_grads=True)
            for bottom, gradient in zip(self._bottoms, found, strict=True):
                bottom.diff[...] = gradient.numpy()


class TopNames:
    """Of rc3: by the name of a layer, and nothing else."""

    def __init__(self, net: Net) -> None:
        self._net = net

    def __getitem__(self, name: str) -> list[str]:
        return [self._net._blob_names[i] for i in self._net._top_ids(self._net._index(name))]


class Net:
    """`caffe.Net(prototxt, weights, caffe.TEST)` of Caffe "rc3" (deepsim) or "1.0" (BVLC)."""

    def __init__(self, prototxt: Path, weights: CaffeNet, release: str = "rc3") -> None:
        message = read_prototxt(prototxt)
        self._release, self._force_backward = release, message.force_backward
        self._blob_names: list[str] = []
        self._blobs: list[Blob] = []
        self._inputs, self._ids = [], []
        self._layer_names, self.layers = [], []
        entries = list(message.layer)
        if release == "1.0" and message.input:
            entries.insert(0, SCHEMA["LayerParameter"](name="input", type="Input"))
            entries[0].top.extend(message.input)
            entries[0].input_param.shape.extend(message.input_shape)
        elif release == "rc3":
            for name, shape in zip(message.input, message.input_shape, strict=True):
                self._inputs.append(self._add_blob(name))
                self._blobs[-1].reshape(*shape.dim)
        stored = {node.layer.name: node.layer.weights for node in weights.graph.nodes}
        for entry in with_splits(list(message.input), entries):
            self._add_layer(entry, stored.get(entry.name, []))

    def _add_blob(self, name: str) -> int:
        self._blob_names.append(name)
        self._blobs.append(Blob())
        return len(self._blobs) - 1

    def _add_layer(self, entry: Message, weights: list[Tensor]) -> None:
        if self._release == "rc3" and entry.type == "Input":
            raise Aborted("Check failed: Unknown layer type: Input")
        place = {name: i for i, name in enumerate(self._blob_names)}
        bottoms = [place[blob] for blob in entry.bottom]
        assert not set(entry.top).intersection(place) or entry.type in IN_PLACE
        tops = [place[blob] if blob in place else self._add_blob(blob) for blob in entry.top]
        layer = Layer(entry, *([self._blobs[i] for i in ids] for ids in (bottoms, tops)))
        layer.weigh(weights)
        layer.forward()
        if entry.type == "Input":
            self._inputs.extend(tops)
        self._layer_names.append(entry.name)
        self.layers.append(layer)
        self._ids.append((bottoms, tops))

    @property
    def blobs(self) -> dict[str, Blob]:
        return dict(zip(self._blob_names, self._blobs, strict=True))

    @property
    def params(self) -> dict[str, list[Blob]]:
        pairs = zip(self._layer_names, self.layers, strict=True)
        return {name: layer.blobs for name, layer in pairs if layer.blobs}

    @property
    def inputs(self) -> list[str]:
        return [self._blob_names[i] for i in self._inputs]

    @property
    def top_names(self) -> TopNames | dict[str, list[str]]:
        names = TopNames(self)
        return names if self._release == "rc3" else {n: names[n] for n in self._layer_names}

    def _bottom_ids(self, layer: int) -> list[int]:
        return self._ids[layer][0]

    def _top_ids(self, layer: int) -> list[int]:
        return self._ids[layer][1]

    def _index(self, layer: str) -> int:
        return self._layer_names.index(layer)

    def _forward(self, first: int, last: int) -> None:
        if first < 0 or last >= len(self.layers):
            raise Aborted("Check failed: end < layers_.size()")
        for layer in self.layers[first : last + 1]:
            layer.forward()

    def _backward(self, last: int, first: int) -> None:
        if first < 0 or last >= len(self.layers):
            raise Aborted("Check failed: start < layers_.size()")
        if self._force_backward:
            for layer in reversed(self.layers[first : last + 1]):
                layer.backward()

    def forward(self, end: str | None = None) -> dict[str, np.ndarray]:
        last = len(self.layers) - 1 if end is None else self._index(end)
        self._forward(0, last)
        wanted = self._blob_names[-1:] if end is None else [end]
        if end is not None and self._release == "1.0":
            wanted = self.top_names[end]
        return {name: self.blobs[name].data for name in wanted}

    def backward(self, start: str | None = None) -> dict[str, np.ndarray]:
        self._backward(len(self.layers) - 1 if start is None else self._index(start), 0)
        return {name: self.blobs[name].diff for name in self.inputs}


def with_splits(inputs: list[str], layers: list[Message]) -> Iterator[Message]:
    """The layers, with one that copies after every top that several bottoms read."""
    made_by = {name: (-1, top) for top, name in enumerate(inputs)}
    readers: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for place, layer in enumerate(layers):
        for bottom, blob in enumerate(layer.bottom):
            readers[made_by[blob]].append((place, bottom))
        made_by.update({blob: (place, top) for top, blob in enumerate(layer.top)})
    for place in range(-1, len(layers)):
        if place >= 0:
            yield layers[place]
        source, tops = ("input", inputs) if place < 0 else (layers[place].name, layers[place].top)
        for top, blob in enumerate(tops):
            if len(readers[place, top]) > 1:
                name = f"{blob}_{source}_{top}_split"
                split = SCHEMA["LayerParameter"](name=name, type="Split", bottom=[blob])
                for copy, (reader, bottom) in enumerate(readers[place, top]):
                    split.top.append(f"{name}_{copy}")
                    layers[reader].bottom[bottom] = f"{name}_{copy}"
                yield split


class Classifier(Net):
    """`caffe.Classifier(prototxt, weights, mean=..., channel_swap=...)`, with its transformer."""

    def __init__(self, prototxt: Path, weights: CaffeNet, **settings: Any) -> None:
        super().__init__(prototxt, weights)
        name = self.inputs[0]
        kinds = ("mean", "channel_swap", "raw_scale", "input_scale")
        given = {kind: {name: settings[kind]} if kind in settings else {} for kind in kinds}
        self.transformer = SimpleNamespace(**given)

    def preprocess(self, rgb: np.ndarray) -> np.ndarray:
        """What `transformer.preprocess` makes of an image (H, W, 3), 0..1."""
        x, settings = rgb.transpose(2, 0, 1), vars(self.transformer)
        swap, raw, mean, scale = (
            settings[kind].get(self.inputs[0])
            for kind in ("channel_swap", "raw_scale", "mean", "input_scale")
        )
        x = x if swap is None else x[list(swap)]
        x = x if raw is None else x * raw
        x = x if mean is None else x - mean
        return x if scale is None else x * scale


class Pair(NamedTuple):
    """One net, read by ourselves, live, and live as a net of ours."""

    ours: CaffeNet
    live: Any
    net: PycaffeNet


def pair(folder: Path, text: str, kind: str = "rc3") -> Pair:
    """The net of a prototxt with random weights; of a release, or with a public flavour of one."""
    ours = random_net(folder, text, 0.3)
    live = Net(folder / "net.prototxt", ours, "1.0" if kind.endswith("1.0") else "rc3")
    shown = public(live, kind) if kind in FLAVOURS else live
    return Pair(ours, shown, cnnpref.load_pycaffe(shown, ours.space.mean))
