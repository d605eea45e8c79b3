"""Running parts of a live pycaffe net forward and backward, as one step of PyTorch's autograd.

Caffe keeps one state: the data and the diffs of every blob. Each pass therefore puts its inputs
in anew, and a gradient is taken only from the state that its own forward pass left.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cnnpref.errors import UserError

Array = npt.NDArray[np.float32]


class LiveBlob(Protocol):
    """A blob of pycaffe; its arrays are views of Caffe's memory, which a reshape may move."""

    @property
    def data(self) -> Array: ...
    @property
    def diff(self) -> Array: ...
    def reshape(self, *shape: int) -> object: ...


class LiveLayer(Protocol):
    """A layer of pycaffe."""

    @property
    def type(self) -> str: ...


class LiveNet(Protocol):
    """What is used of a `caffe.Net`: the same from Caffe 1.0.0-rc3 (deepsim) to BVLC's last.

    Layers go by their place: pycaffe's `forward(end=name)` and `backward(start, end)` fail, before
    2017, where a layer and its blob have different names.
    """

    inputs: Sequence[str]
    blobs: Mapping[str, LiveBlob]
    params: Mapping[str, Iterable[LiveBlob]]
    layers: Iterable[LiveLayer]
    _layer_names: Iterable[str]
    _blob_names: Iterable[str]

    def _top_ids(self, layer: int) -> Iterable[int]: ...
    def _bottom_ids(self, layer: int) -> Iterable[int]: ...
    def _forward(self, first: int, last: int) -> object: ...
    def _backward(self, last: int, first: int) -> object: ...


USED = (
    *("inputs", "blobs", "params", "layers", "_layer_names", "_blob_names"),
    *("_top_ids", "_bottom_ids", "_forward", "_backward"),
)

# Caffe has no gradient of these: asked for one, it ends the process.
_NO_GRADIENT = {"Accuracy", "ArgMax", "Threshold"}
_SPLIT = re.compile(r".*_\d+_split")


@dataclass(frozen=True)
class Step:
    """A layer: its place in the net, and the blobs that it reads and writes."""

    place: int
    name: str
    kind: str
    bottoms: Sequence[str]
    tops: Sequence[str]

    @property
    def is_split(self) -> bool:
        """Whether Caffe put it in, as it does where several layers read a blob."""
        return self.kind == "Split" and bool(_SPLIT.fullmatch(self.name))


def read_steps(net: LiveNet) -> list[Step]:
    """The layers in execution order, without those that only stand for an input."""
    blobs, inputs = list(net._blob_names), set(net.inputs)
    steps = []
    for place, (name, layer) in enumerate(zip(net._layer_names, net.layers, strict=True)):
        bottoms = [blobs[i] for i in net._bottom_ids(place)]
        tops = [blobs[i] for i in net._top_ids(place)]
        if bottoms or not inputs.issuperset(tops):
            steps.append(Step(place, name, layer.type, bottoms, tops))
    return steps


@dataclass(frozen=True)
class Route:
    """How a blob comes about: the layers that lead to it, in execution order."""

    blob: str
    steps: Sequence[Step]

    @property
    def read(self) -> set[str]:
        """The blob itself, and all that the layers read."""
        return {self.blob, *(bottom for step in self.steps for bottom in step.bottoms)}

    @property
    def has_gradient(self) -> bool:
        """Whether Caffe can go it backward."""
        return _NO_GRADIENT.isdisjoint(step.kind for step in self.steps)


def _ranges(steps: Iterable[Step]) -> list[tuple[int, int]]:
    """The places of layers as runs of consecutive ones, (first, last) each."""
    runs: list[tuple[int, int]] = []
    for place in sorted({step.place for step in steps}):
        first = runs.pop()[0] if runs and runs[-1][1] == place - 1 else place
        runs.append((first, place))
    return runs


@dataclass(frozen=True)
class Engine:
    """A live net, its blobs, and the names of those that gradients are known to reach."""

    net: LiveNet
    blobs: Mapping[str, LiveBlob]
    proven: set[str] = field(default_factory=set)

    def run(self, routes: Sequence[Route], given: Mapping[str, Tensor]) -> list[Tensor]:
        """The blobs at the ends of the routes, (N, *shape) each, from blobs that are given.

        Differentiable with respect to what is given, as far as it is read.

        Raises:
            UserError: (by the gradient) Caffe computes none, for want of `force_backward`.
        """
        read = {blob for route in routes for blob in route.read}
        used = {name: x for name, x in given.items() if name in read}
        if not all(route.has_gradient for route in routes):
            used = {name: x.detach() for name, x in used.items()}
        tops = _Pass.apply(_Job(self, routes, list(used)), *used.values())
        return list(tops)


@dataclass(frozen=True)
class _Job:
    """What one pass computes: the ends of some routes from the blobs `names`."""

    engine: Engine
    routes: Sequence[Route]
    names: Sequence[str]

    def forward(self, given: Sequence[Tensor]) -> list[Tensor]:
        """Run the layers of all routes; the blobs at their ends."""
        for name, x in zip(self.names, given, strict=True):
            blob = self.engine.blobs[name]
            if blob.data.shape != x.shape:
                blob.reshape(*x.shape)
            blob.data[...] = x.detach().numpy()
        for first, last in _ranges(step for route in self.routes for step in route.steps):
            self.engine.net._forward(first, last)
        return [torch.from_numpy(self._data(route.blob).copy()) for route in self.routes]

    def left_as_is(self, given: Sequence[Tensor], tops: Sequence[Tensor]) -> bool:
        """Whether the blobs still hold what `forward` put and found there."""
        names = [*self.names, *(route.blob for route in self.routes)]
        pairs = zip(names, [*given, *tops], strict=True)
        return all(np.array_equal(self._data(name), x.detach().numpy()) for name, x in pairs)

    def backward(self, route: Route, diff: Array) -> list[Array]:
        """The gradients with respect to the blobs `names`, given that at the end of a route.

        Raises:
            UserError: Caffe computes none, for want of `force_backward`.
        """
        gradients, proven = self._backward(route, diff, 0), self.engine.proven
        proven.update(name for name, g in zip(self.names, gradients, strict=True) if g.any())
        wanted = route.read.intersection(self.names)
        if not proven.issuperset(wanted):
            self._prove(route, wanted)
            proven.update(wanted)
        return gradients

    def _prove(self, route: Route, wanted: set[str]) -> None:
        """Tell a gradient that is zero from one that Caffe does not compute: it never writes it."""
        noise = np.random.default_rng(0).standard_normal(self._data(route.blob).shape, np.float32)
        for name, found in zip(self.names, self._backward(route, noise, 1), strict=True):
            if name in wanted and (found == 1).all():
                raise UserError(
                    f"Caffe computes no gradient of blob {route.blob!r} with respect to {name!r}; "
                    "add `force_backward: true` to the prototxt, or read the net's files with "
                    "load_caffe, which needs no such line"
                )

    def _backward(self, route: Route, diff: Array, unwritten: float) -> list[Array]:
        """The same, with a number of choice where Caffe writes nothing.

        Diffs that an earlier call left in branches beside the route would be added: they go first.
        """
        for top in {top for step in route.steps for top in step.tops}:
            self._diff(top)[...] = 0
        for name in self.names:
            self._diff(name)[...] = unwritten
        self._diff(route.blob)[...] = diff
        for first, last in reversed(_ranges(route.steps)):
            self.engine.net._backward(last, first)
        return [self._diff(name).copy() for name in self.names]

    def _data(self, blob: str) -> Array:
        return self.engine.blobs[blob].data

    def _diff(self, blob: str) -> Array:
        return self.engine.blobs[blob].diff


class _Pass(torch.autograd.Function):
    """A job on tensors; their gradients are Caffe's."""

    @staticmethod
    def forward(ctx: Any, job: _Job, *given: Tensor) -> tuple[Tensor, ...]:
        tops = job.forward(given)
        ctx.job = job
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*given, *tops)
        return tuple(tops)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *diffs: Tensor | None) -> tuple[Tensor | None, ...]:
        job, count = ctx.job, len(ctx.job.names)
        given, tops = ctx.saved_tensors[:count], ctx.saved_tensors[count:]
        if not job.left_as_is(given, tops):
            job.forward(given)
        gradients = [torch.zeros_like(x) for x in given]
        for route, diff in zip(job.routes, diffs, strict=True):
            if diff is not None:
                for total, part in zip(gradients, job.backward(route, diff.numpy()), strict=True):
                    total += torch.from_numpy(part)
        return None, *gradients
