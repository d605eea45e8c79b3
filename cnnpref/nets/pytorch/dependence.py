"""Which pixels a module's values depend on, from the ATen operations of one pass.

Every tensor is a map of positions with, at each, any number of values: two of its axes are the rows
and columns, wherever permutations have put them. What an operation does to its axes is told by
`rules`; one that is not known there makes everything depend on everything. So the answer may be too
large, and is never too small: in-place operations, and views of one memory, are followed too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cnnpref.geometry import Mask, Reach, Whole, pull_back
from cnnpref.nets.pytorch.memory import Key, key_of, storage_of
from cnnpref.nets.pytorch.passes import Pass, Visit, linear_arguments
from cnnpref.nets.pytorch.rules import SAME, Call, Dims, dims_of

Axes = tuple[int | None, int | None]  # of rows and of columns; None: there is one row, one column

_TELLS = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}  # its values to Python


class Source(NamedTuple):
    """Another map that a map depends on, and how its rows and columns do."""

    map: Map
    rows: Reach
    columns: Reach

    def is_same(self, size: tuple[int, int]) -> bool:
        """Whether a map of that size depends on the other position by position."""
        both = zip((self.rows, self.columns), size, strict=True)
        return self.map.size == size and all(reach is SAME or count == 1 for reach, count in both)

    def reaching(self, mask: Mask) -> Mask:
        """The positions of the other map that reach the masked ones."""
        (height, width), (rows, columns) = mask.shape, self.map.size
        if self.is_same((height, width)):
            return mask
        mask = pull_back(mask, 0, self.rows, height, rows)
        return np.broadcast_to(pull_back(mask, 1, self.columns, width, columns), self.map.size)


class Map:
    """Positions (rows, columns) and what they depend on."""

    def __init__(self, size: tuple[int, int], sources: Sequence[Source] = ()) -> None:
        self.size, self.sources = size, sources


class Trace(NamedTuple):
    """A tensor that depends on the image: its map, and where in its shape that lies."""

    map: Map
    axes: Axes


class Recorder(TorchDispatchMode):
    """Listens to operations, inside `with`, and keeps what their outputs depend on.

    Args:
        images: (1, ...), what everything is traced back to.
    """

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        axes: Axes = (2, 3) if images.ndim == 4 else (None, None)
        self.origin = Map(_size(images, axes))
        self._maps = [self.origin]  # in the order in which they were made
        self._traces: dict[Key, tuple[int, Trace | None]] = {}  # with the time of writing
        self._memory: dict[int, list[Map]] = {}  # all that a storage has held, by storage
        self._written: dict[int, int] = {}  # when a storage was last changed in place
        self._told: list[Map] = []  # what Python was told the values of
        self._alive: list[Tensor] = []  # so that no storage is used twice
        self._time = 0
        self._keep(images, Trace(self.origin, axes))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        call = Call(func, args, kwargs or {})
        traces = [self._trace(t) for t in call.tensors]
        written = [(t, storage_of(t)) for t in call.written]
        result = func(*args, **(kwargs or {}))
        self._time += 1
        if _TELLS.intersection(func.tags):
            self._told += [trace.map for trace in traces if trace]
        for tensor, storage in written:
            self._written[storage] = self._time
            self._keep(tensor, self._derive(call, traces, tensor))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and not any(tensor is t for t, _ in written):
                self._keep(tensor, self._derive(call, traces, tensor))
        return result

    def linear(self, output: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> None:
        """Tell that `output` is linear in the last axis of `x`: matrix products show no maps."""
        trace = self._trace(x)
        constant = all(w is None or self._trace(w) is None for w in (weight, bias))
        if trace and constant:
            dims: Dims = {axis: (axis, SAME) for axis in range(x.ndim - 1)}
            self._keep(output, self._join([(trace, dims)], output))

    def trace(self, tensor: Tensor) -> Trace:
        """What a tensor depends on; for a constant, a map that depends on nothing."""
        return self._trace(tensor) or Trace(Map((1, 1)), (None, None))

    def support(self, trace: Trace, units: Mask) -> Mask:
        """The positions of the image that reach the masked units, of the tensor's shape."""
        places = [axis for axis in trace.axes if axis is not None]
        others = tuple(axis for axis in range(units.ndim) if axis not in places)
        mask: Mask = np.asarray(units.any(others))
        if len(places) == 2 and places[0] > places[1]:
            mask = mask.T
        reached = {trace.map: mask.reshape(trace.map.size)}
        for each in reversed(self._maps):
            for source in each.sources if each in reached else ():
                found = source.reaching(reached[each])
                known = reached.get(source.map)
                reached[source.map] = found if known is None else known | found
        return reached.get(self.origin, np.zeros(self.origin.size, bool))

    def _trace(self, tensor: Tensor) -> Trace | None:
        """Of a tensor as it is now; None for a constant."""
        storage = storage_of(tensor)
        time, trace = self._traces.get(key_of(tensor), (-1, None))
        if time >= self._written.get(storage, 0):
            return trace
        held = self._memory.get(storage)
        return self._add((1, 1), [_whole(each) for each in held], (None, None)) if held else None

    def _keep(self, tensor: Tensor, trace: Trace | None) -> None:
        self._alive.append(tensor)
        self._traces[key_of(tensor)] = self._time, trace
        if trace:
            self._memory.setdefault(storage_of(tensor), []).append(trace.map)

    def _derive(self, call: Call, traces: Sequence[Trace | None], output: Tensor) -> Trace | None:
        found = zip_longest(traces, dims_of(call, output), fillvalue=None)
        return self._join([(trace, dims or {}) for trace, dims in found if trace], output)

    def _join(self, inputs: Sequence[tuple[Trace, Dims]], output: Tensor) -> Trace | None:
        """The trace of an output whose axes depend so on those of its inputs."""
        if not inputs and not self._told:
            return None
        moved = [[_moved(axis, dims) for axis in trace.axes] for trace, dims in inputs]
        best = max(moved, key=lambda both: sum(axis is not None for axis, _ in both), default=None)
        rows, columns = (axis for axis, _ in best) if best else (None, None)
        sources = [
            Source(
                trace.map,
                by_row if row == rows else Whole(),
                by_column if column == columns else Whole(),
            )
            for (trace, _), ((row, by_row), (column, by_column)) in zip(inputs, moved, strict=True)
        ]
        sources += [_whole(told) for told in self._told]
        return self._add(_size(output, (rows, columns)), sources, (rows, columns))

    def _add(self, size: tuple[int, int], sources: Sequence[Source], axes: Axes) -> Trace:
        if len(sources) == 1 and sources[0].is_same(size):
            return Trace(sources[0].map, axes)
        self._maps.append(Map(size, sources))
        return Trace(self._maps[-1], axes)


class RecordedPass(Pass):
    """A pass under a recorder, which is told of linear layers.

    Args:
        module, input_name, visit: as for Pass.
        recorder: inside whose `with` the pass runs.
    """

    def __init__(
        self, module: nn.Module, input_name: str, visit: Visit, recorder: Recorder
    ) -> None:
        super().__init__(module, input_name, visit)
        self._recorder = recorder

    def _call(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        value = super()._call(func, args, kwargs)
        if func is F.linear:
            self._recorder.linear(output=value, **linear_arguments(args, kwargs))
        return value


def _whole(of: Map) -> Source:
    return Source(of, Whole(), Whole())


def _moved(axis: int | None, dims: Dims) -> tuple[int | None, Reach]:
    """Where an input's axis is in the output, and how the one depends on the other."""
    places: Iterable[tuple[int, Reach]] = (
        (to, reach) for to, (of, reach) in dims.items() if of == axis
    )
    return next(iter(places), (None, Whole()))


def _size(tensor: Tensor, axes: Axes) -> tuple[int, int]:
    rows, columns = (1 if axis is None else tensor.shape[axis] for axis in axes)
    return rows, columns
