"""Passes of a net recorded in a CUDA graph, and replayed instead of being launched anew.

A pass of a small net, or of few images, is hundreds of short kernels: launching them one by one
takes the host longer than they take the GPU. A graph launches all of them at once, but keeps the
memory of a pass to itself. So a pass is recorded where launching is what takes the time, and only
there. Where recording fails, passes are launched as always.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Protocol

import torch
from torch import Tensor

log = logging.getLogger("cnnpref")

_WARM_UP = 3  # calls in which libraries choose kernels and allocate what they keep
_WORTH = 1.5  # a GPU that takes no longer than so many times the host's launching waits for it

Function = Callable[[Tensor], tuple[Tensor, ...]]
Record = Callable[[Function, Tensor], Function]
"""(a function, an argument of the shape of all) -> what gives the same with less effort."""


class Stopwatch(Protocol):
    """Times calls of a function."""

    def call(self, function: Function, x: Tensor) -> tuple[Tensor, ...]:
        """What it gives for x."""

    @property
    def pays(self) -> bool | None:
        """Whether recording the function would save time; None: that is not known yet."""


class Recording:
    """Of one function, which is recorded once it is known to be worth it.

    Args:
        record: how; None: the function is always called itself.
        stopwatch: tells whether.
    """

    def __init__(self, record: Record | None = None, stopwatch: Stopwatch | None = None) -> None:
        self._pending = (record, stopwatch) if record and stopwatch else None  # until it is known
        self._replay: Function | None = None

    @classmethod
    def on(cls, device: torch.device) -> Recording:
        """In a CUDA graph, on such a GPU; elsewhere none."""
        return cls(cuda_graph, _CudaStopwatch()) if device.type == "cuda" else cls()

    def call(self, function: Function, x: Tensor) -> tuple[Tensor, ...]:
        """What the function gives for x, overwritten by the next call but for tensors of one axis.

        Args:
            function: the same in all calls. It launches kernels and neither reads values nor sends
                any; what it reads beside x stays in its place in memory.
            x: of the same shape in all calls.
        """
        if self._pending:
            self._consider(*self._pending, function, x)
        if self._replay:
            return self._replay(x)
        return self._pending[1].call(function, x) if self._pending else function(x)

    def _consider(
        self, record: Record, stopwatch: Stopwatch, function: Function, x: Tensor
    ) -> None:
        """Record the function if that pays, or never."""
        if (pays := stopwatch.pays) is None:
            return
        self._pending = None
        if pays:
            try:
                self._replay = record(function, x)
            except RuntimeError as error:  # CUDA's, also where memory is short
                log.info("no CUDA graph, going on without: %s", str(error).partition("\n")[0])


class _CudaStopwatch:
    """How long a call takes the host to launch, and the GPU to compute. The host never waits."""

    def __init__(self) -> None:
        self._start, self._end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        self._host, self._calls = 0.0, 0

    def call(self, function: Function, x: Tensor) -> tuple[Tensor, ...]:
        stream = torch.cuda.current_stream(x.device)
        began = perf_counter()
        self._start.record(stream)
        found = function(x)
        self._end.record(stream)
        self._host = perf_counter() - began
        self._calls += 1
        return found

    @property
    def pays(self) -> bool | None:
        if self._calls < _WARM_UP or not self._end.query():  # a GPU that lags behind is busy
            return None
        return self._start.elapsed_time(self._end) / 1000 < _WORTH * self._host


def cuda_graph(function: Function, x: Tensor) -> Function:
    """Record a function, by calling it with a copy of x.

    Raises:
        RuntimeError: it does something that a graph cannot hold.
    """
    with torch.cuda.device(x.device):
        given, current, aside = x.detach().clone(), torch.cuda.current_stream(), torch.cuda.Stream()
        aside.wait_stream(current)
        with torch.cuda.stream(aside):
            for _ in range(_WARM_UP):
                function(given)
        current.wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # other threads may write files of finished units meanwhile
        with _no_collection(), torch.cuda.graph(graph, capture_error_mode="thread_local"):
            found = function(given)

    def replay(x: Tensor) -> tuple[Tensor, ...]:
        given.copy_(x)
        graph.replay()
        return tuple(each.clone() if each.ndim == 1 else each for each in found)

    return replay


@contextmanager
def _no_collection() -> Iterator[None]:
    """Graphs of earlier batches are not freed inside, where CUDA forbids it."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
