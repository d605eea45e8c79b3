"""Which kernels compute: those that match Caffe best, or the fastest.

Caffe on a CPU unrolls each image and multiplies matrices. PyTorch has kernels of the same kind,
whose values differ from Caffe's by 3e-7 of a blob's maximum (SqueezeNet, all layers) and flip no
ReLU or maximum on the recorded image; oneDNN's direct convolutions are 1.5 to 5 times faster, but
differ by 2e-6 and flip some, which changes late gradients by 1e-3. On a GPU, TF32 has 10 bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cnnpref.errors import UserError

_LEAST = (
    16  # from so many rows and columns on a CPU's products treat all rows alike (MKL, measured)
)
_fast: ContextVar[bool] = ContextVar("fast", default=False)
_bf16: ContextVar[bool] = ContextVar("bf16", default=False)


def find_device(name: str | torch.device) -> torch.device:
    """The device of that name.

    Raises:
        UserError: this machine, or this PyTorch, does not have it.
    """
    try:
        return torch.empty(0, device=name).device
    except (AssertionError, RuntimeError):
        others = ", mps" if torch.backends.mps.is_available() else ""
        raise UserError(
            f"no device {str(name)!r}; there are cpu{others} and {torch.cuda.device_count()} GPUs "
            "(cuda:0 ...)"
        ) from None


@contextmanager
def fast_kernels(precision: str = "float32") -> Iterator[None]:
    """Let everything inside, forward and backward, use the fastest kernels.

    Args:
        precision: "float32"; "tf32": GPUs that can, round the factors of products to 10 bits;
            "bf16": see `passing`.
    """
    token, half, switches = _fast.set(True), _bf16.set(precision == "bf16"), _tf32()
    _set_tf32(precision == "tf32", precision == "tf32")
    try:
        yield
    finally:
        _set_tf32(*switches)
        _bf16.reset(half)
        _fast.reset(token)


def passing(device: torch.device) -> AbstractContextManager[Any]:
    """For a pass of a net; what is inside computes in bfloat16 where that was asked for.

    Products are rounded to 8 bits and summed up in single precision.
    """
    return torch.autocast(device.type, torch.bfloat16) if _bf16.get() else nullcontext()


def check_precision(precision: str, device: torch.device) -> None:
    """Let only what the device has circuits for pass: emulated, bfloat16 is slower.

    Raises:
        UserError: it is "bf16" and the device has none.
    """
    if precision == "bf16" and not _has_bf16(device):
        raise UserError(
            f"precision bf16: {device} has no circuits for it (CPUs have AVX-512 bf16 or AMX, GPUs"
            " are of Ampere or later); take float32"
        )


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    known: Any = torch.cpu
    has = known._is_avx512_bf16_supported() or known._is_amx_tile_supported()
    return device.type == "cpu" and bool(has)


def doubles(x: Tensor) -> Tensor:
    """In double precision; on the CPU if the device, as Apple's mps, has none."""
    return (x.cpu() if x.device.type == "mps" else x).double()


@contextmanager
def without_gaps(device: torch.device) -> Iterator[None]:
    """Tell in words of an operation that PyTorch lacks on a device, as it does some on mps.

    Raises:
        UserError: there is one inside.
    """
    try:
        yield
    except NotImplementedError as error:
        if device.type != "mps":
            raise
        raise UserError(
            f"PyTorch {torch.__version__} cannot do all of this on mps:"
            f" {str(error).partition('. ')[0]}; set PYTORCH_ENABLE_MPS_FALLBACK=1, or take --device"
            " cpu"
        ) from error


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
    backends: Any = torch.backends  # whose switches have no usable static type
    onednn, tf32 = bool(backends.mkldnn.enabled), _tf32()
    backends.mkldnn.enabled = False
    _set_tf32(False, False)
    try:
        yield
    finally:
        backends.mkldnn.enabled = onednn
        _set_tf32(*tf32)


def _tf32() -> tuple[bool, bool]:
    """Whether matrix products and convolutions on a GPU round their factors to 10 bits."""
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


def _set_tf32(matmul: bool, cudnn: bool) -> None:
    backends: Any = torch.backends
    backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32 = matmul, cudnn


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear` whose rows (N, inputs) do not depend, in their last bits, on the other rows.

    On a CPU small products are summed in an order that depends on the place of a row: these are
    made larger, with zeros. So are those that the way back takes.
    """
    sizes = *x.shape, weight.shape[0]
    if x.device.type != "cpu" or len(sizes) != 3 or min(sizes) >= _LEAST:
        return F.linear(x, weight, bias)
    rows, inputs, outputs = (max(0, _LEAST - size) for size in sizes)
    weight = F.pad(weight, (0, inputs, 0, outputs))
    bias = None if bias is None else F.pad(bias, (0, outputs))
    return F.linear(F.pad(x, (0, inputs, 0, rows)), weight, bias)[: sizes[0], : sizes[2]]


def batch_norm(
    input: Tensor,  # noqa: A002  (the names are those of `F.batch_norm`)
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`F.batch_norm`, but where it takes the statistics of a batch each image has its own."""
    if training:
        return F.instance_norm(input, weight=weight, bias=bias, eps=eps)
    return F.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
