"""A GPU that computes nothing: what runs on it must neither mix devices nor need any value.

PyTorch's FakeTensorMode knows shapes and devices alone, and raises where an operation gets tensors
of two devices. Its tensors are on "cuda" where there is one. PyTorch's builds for CPUs cannot take
gradients of those (autograd asks for a guard of CUDA's devices): there the device is "meta", which
is no CPU either, and has no values to be read.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from cnnpref.ascent.recorded import Recording

DEVICE = "cuda:0" if torch.cuda.is_available() else "meta"
# One for all tests: what they cache, such as tables of noise, is of one mode.
_FAKE = FakeTensorMode(allow_non_fake_inputs=True)
_READS = {"item", "tolist", "numpy", "__bool__", "__int__", "__float__", "__index__", "__array__"}
_SHAPED = {"nonzero", "masked_select", "unique"}  # whose result has a shape that depends on values
_MOVES = {torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default}
# to which indices of the host are sent
_INDEXED = {
    getattr(torch.ops.aten, name).default
    for name in ("index_put", "index_put_", "_index_put_impl_")
}
_INDEXED.add(torch.ops.aten.index.Tensor)

Answer = Callable[[Sequence[int]], Any]
"""What a read of a tensor of that shape gives."""


def ones(shape: Sequence[int]) -> Any:
    return np.ones(shape)


@dataclass
class Told:
    """What the host did, each with the functions of ours that it was in, innermost last."""

    reads: list[list[str]] = field(default_factory=list)
    sent: list[list[str]] = field(default_factory=list)

    def within(self, *functions: Callable[..., Any], but: Callable[..., Any]) -> list[str]:
        """Where the host read or sent something within some functions, but not within another."""
        names, other = {name_of(each) for each in functions}, name_of(but)
        told = (each for each in self.reads + self.sent if other not in each)
        return [" > ".join(each) for each in told if names & set(each)]


@contextmanager
def fake_gpu(answer: Answer = ones) -> Iterator[Told]:
    """Inside, tensors are made on `DEVICE` without values; what is read is made up.

    Args:
        answer: what reads give; 1, or True, unless told otherwise.
    """
    told = Told()
    whole = patch.object(FakeTensor, "tolist", Tensor.tolist)  # its own asks for each number
    launched = patch.object(Recording, "on", lambda _device: Recording())  # there is no graph of it
    with whole, launched, _FAKE, _Transfers(told), counted_reads(told, answer):
        yield told


@contextmanager
def counted_reads(told: Told | None = None, answer: Answer | None = None) -> Iterator[Told]:
    """Inside, reads of values are counted; on tensors with values, too."""
    told = told or Told()
    with _Reads(told, answer):
        yield told


class _Reads(TorchFunctionMode):
    """Counts what Python reads of tensors; makes it up where they have no values."""

    def __init__(self, told: Told, answer: Answer | None) -> None:
        self._told, self._answer = told, answer

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name in _READS and isinstance(args[0], Tensor):
            fake = isinstance(args[0], FakeTensor)
            if not (fake and args[0].is_cpu):  # what came from a GPU was counted on its way
                self._told.reads.append(_stack())
            if fake and self._answer:
                return self._made_up(name, args[0])
        elif name in _SHAPED or (name in ("__getitem__", "__setitem__") and _has_mask(args[1])):
            self._told.reads.append(_stack())
        return func(*args, **(kwargs or {}))

    def _made_up(self, name: str, x: Tensor) -> Any:
        assert self._answer
        found = np.asarray(self._answer(tuple(x.shape)))
        if name in ("numpy", "__array__"):
            return found.astype(str(x.dtype).removeprefix("torch."))
        values = found.tolist()
        convert = {"__bool__": bool, "__int__": int, "__float__": float, "__index__": int}
        return convert[name](values) if name in convert else values


class _Transfers(TorchDispatchMode):
    """Counts what is brought from one device to another."""

    def __init__(self, told: Told) -> None:
        super().__init__()
        self._told = told

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in _INDEXED and any(each is not None and each.is_cpu for each in args[1]):
            self._told.sent.append(_stack())
        found = func(*args, **(kwargs or {}))
        if func in _MOVES and args[-1].device != found.device:
            (self._told.sent if args[-1].is_cpu else self._told.reads).append(_stack())
        return found


def _has_mask(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(part, Tensor) and part.dtype == torch.bool for part in parts)


def _stack() -> list[str]:
    """The functions of ours that run, the innermost last."""
    frame: FrameType | None = sys._getframe()
    names = []
    while frame:
        if "/cnnpref/" in frame.f_code.co_filename:
            names.append(_name(frame.f_code))
        frame = frame.f_back
    return names[::-1]


def name_of(function: Callable[..., Any]) -> str:
    """Of a function, as in `Told`."""
    return _name(function.__code__)  # type: ignore[attr-defined]


def _name(code: CodeType) -> str:
    return f"{code.co_filename.rpartition('/cnnpref/')[2]}:{code.co_qualname}"
