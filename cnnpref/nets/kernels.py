"""Which kernels compute: those that match Caffe best, or the fastest.

Caffe on a CPU unrolls each image and multiplies matrices. PyTorch has kernels of the same kind,
whose values differ from Caffe's by 3e-7 of a blob's maximum (SqueezeNet, all layers) and flip no
ReLU or maximum on the recorded image; oneDNN's direct convolutions are 1.5 to 5 times faster, but
differ by 2e-6 and flip some, which changes late gradients by 1e-3. On a GPU, TF32 has 10 bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cnnpref.errors import UserError

_ROWS = 16  # from so many rows on, matrix products on a CPU treat every row alike (measured, MKL)
_fast: ContextVar[bool] = ContextVar("fast", default=False)


def find_device(name: str | torch.device) -> torch.device:
    """The device of that name.

    Raises:
        UserError: this machine, or this PyTorch, does not have it.
    """
    try:
        return torch.empty(0, device=name).device
    except (AssertionError, RuntimeError):
        raise UserError(
            f"no device {str(name)!r}; there are cpu and {torch.cuda.device_count()} GPUs "
            "(cuda:0 ...)"
        ) from None


@contextmanager
def fast_kernels() -> Iterator[None]:
    """Let everything inside, forward and backward, use the fastest float32 kernels."""
    token = _fast.set(True)
    try:
        yield
    finally:
        _fast.reset(token)


def fast() -> bool:
    """Whether this is inside `fast_kernels`."""
    return _fast.get()


@contextmanager
def faithful_kernels() -> Iterator[None]:
    """Let everything inside, forward and backward, use the kernels that match Caffe best.

    Has no effect inside `fast_kernels`.
    """
    if _fast.get():
        yield
        return
    onednn, tf32 = bool(torch.backends.mkldnn.enabled), bool(torch.backends.cudnn.allow_tf32)
    _select(False, False)
    try:
        yield
    finally:
        _select(onednn, tf32)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear` whose rows (N, inputs) do not depend, in their last bits, on how many they are.

    On a CPU products of few rows are summed in another order.
    """
    lacking = _ROWS - len(x) if x.device.type == "cpu" and x.ndim == 2 else 0
    if lacking <= 0:
        return F.linear(x, weight, bias)
    return F.linear(F.pad(x, (0, 0, 0, lacking)), weight, bias)[: len(x)]


def _select(onednn: bool, tf32: bool) -> None:
    backends: Any = torch.backends  # whose switches have no usable static type
    backends.mkldnn.enabled = onednn
    backends.cudnn.allow_tf32 = tf32
