"""Running parts of a live pycaffe net forward and backward, as one step of PyTorch's autograd.

Caffe keeps one state: the data and the diffs of every blob. Each pass therefore puts its inputs
in anew, and a gradient is taken only from the state that its own forward pass left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from cnnpref.errors import UserError
from cnnpref.input_space import Array
from cnnpref.nets.pycaffe.runs import LiveBlob, Route, Runner


@dataclass(frozen=True)
class Engine:
    """How a live net is run, its blobs, and the names of those that gradients do reach."""

    runner: Runner
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
        if not all(self.runner.has_gradient(route) for route in routes):
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
        blobs, runner = [self.engine.blobs[name] for name in self.names], self.engine.runner
        pairs = list(zip(blobs, given, strict=True))
        others = [(blob, x.shape) for blob, x in pairs if blob.data.shape != x.shape]
        for blob, shape in others:
            blob.reshape(*shape)
        if others:
            runner.follow()
        for blob, x in pairs:
            blob.data[...] = x.detach().numpy()
        runner.forward(self.routes)
        tops = [self._data(route.blob) for route in self.routes]
        return [torch.from_numpy(np.array(top, np.float32)) for top in tops]

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
        for name in self.engine.runner.diffs(route):
            self._diff(name)[...] = 0
        for name in self.names:
            self._diff(name)[...] = unwritten
        self._diff(route.blob)[...] = diff
        self.engine.runner.backward(route)
        return [np.array(self._diff(name), np.float32) for name in self.names]

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
