"""The C library's heap, where PyTorch keeps tensors on a CPU.

glibc hands large blocks back to the operating system as soon as they are free. The next pass of a
net asks for the same blocks again, page by page, and each page is zeroed first: that took a
quarter of the time of a pass of SqueezeNet with 16 images.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # parameters of mallopt, malloc.h
_HELD = {_MMAP_MAX: 0, _TRIM_THRESHOLD: -1}  # -1: never
# What glibc comes to by itself after a large block was freed, see mallopt(3).
_USUAL = {_MMAP_MAX: 65536, _MMAP_THRESHOLD: 2**25, _TRIM_THRESHOLD: 2**26}


@contextmanager
def held_memory() -> Iterator[None]:
    """Inside, memory that becomes free stays with the process; at the end it is given back.

    Has no effect where the C library is not glibc.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is None or not hasattr(libc, "mallopt"):
        yield
        return
    _set(libc, _HELD)
    try:
        yield
    finally:
        _set(libc, _USUAL)
        libc.malloc_trim(0)


def _set(libc: ctypes.CDLL, options: dict[int, int]) -> None:
    for option, value in options.items():
        libc.mallopt(option, value)
