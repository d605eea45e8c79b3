"""Passes of a net recorded in a CUDA graph, and replayed instead of being launched anew.

A pass of a small net is hundreds of short kernels: launching them one by one takes the host longer
than they take the GPU. A graph launches all of them at once. Whoever wants that sets the variable
`CNNPREF_CUDA_GRAPHS=1` in the environment of a job. It is not the default for two reasons: no part
of this has run on a GPU yet, and a graph keeps the memory of a pass to itself, so that a batch
takes up to twice what the estimate says. Where recording fails, passes are launched as always.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

import torch
from torch import Tensor

log = logging.getLogger("cnnpref")

VARIABLE = "CNNPREF_CUDA_GRAPHS"
_WARM_UP = 3  # calls in which libraries choose kernels and allocate what they keep

Function = Callable[[Tensor], tuple[Tensor, ...]]
Record = Callable[[Function, Tensor], Function]
"""(a function, an argument of the shape of all) -> what gives the same with less effort."""


class Recording:
    """Of one function, which is recorded at its first call, if it can be.

    Args:
        record: None: the function is always called itself.
    """

    def __init__(self, record: Record | None) -> None:
        self._record = record
        self._replay: Function | None = None

    @classmethod
    def on(cls, device: torch.device) -> Recording:
        """Where that is asked for, and the device is a CUDA GPU; else of nothing."""
        wanted = device.type == "cuda" and os.environ.get(VARIABLE) == "1"
        return cls(cuda_graph if wanted else None)

    def call(self, function: Function, x: Tensor) -> tuple[Tensor, ...]:
        """What the function gives for x, overwritten by the next call but for tensors of one axis.

        Args:
            function: the same in all calls. It launches kernels and neither reads values nor sends
                any; what it reads beside x stays in its place in memory.
            x: of the same shape in all calls.
        """
        if self._record and not self._replay:
            try:
                self._replay = self._record(function, x)
            except RuntimeError as error:  # CUDA's, also where memory is short
                log.info("no CUDA graph, going on without: %s", str(error).partition("\n")[0])
                self._record = None
        return (self._replay or function)(x)


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
        with torch.cuda.graph(graph):
            found = function(given)

    def replay(x: Tensor) -> tuple[Tensor, ...]:
        given.copy_(x)
        graph.replay()
        return tuple(each.clone() if each.ndim == 1 else each for each in found)

    return replay
