"""Work on the rows of a batch, a few at a time: as many as a CPU's cache holds, one lot per core.

The steps of gradient descent are many passes over an image and little arithmetic. In the cache they
are several times faster than in memory; and cores that work on images of their own need not wait
for each other after each of these passes, as they would on one image together.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

import torch
from torch import Tensor

_CACHED = 160_000  # numbers: with what is made of them they fill a CPU's cache (measured)


class Portions:
    """The rows of a batch in portions; a context manager that keeps threads for them.

    Args:
        x: the batch, (B, ...). On a GPU it is one portion.
    """

    def __init__(self, x: Tensor) -> None:
        count = len(x) if x.is_cuda else max(1, _CACHED // max(1, x[0].numel()))
        self.slices = [slice(start, start + count) for start in range(0, len(x), count)]
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Portions:
        threads = torch.get_num_threads()
        if min(threads, len(self.slices)) > 1:
            self._pool = ThreadPoolExecutor(
                threads, initializer=torch.set_num_threads, initargs=(1,)
            )
            self.run(lambda _: None)
            torch.set_num_threads(threads)  # a part of the setting is not the thread's own
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pool:
            self._pool.shutdown()

    def run(self, work: Callable[[slice], None]) -> None:
        """Do the work on each portion; raises what it raises."""
        for _ in (self._pool.map if self._pool else map)(work, self.slices):
            pass
