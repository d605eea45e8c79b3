"""Gradients through ReLUs that are shut.

Where all ReLUs on the way to a unit are shut, nothing says how to open them. Here such a ReLU lets
a gradient through that would open it, so that a few steps lead to where the true gradient is more
than 0 (the idea of lucid's `redirected_relu_grad`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class _PassingRelu(torch.autograd.Function):
    """max(x, 0), whose gradient of a loss is redirected for images that it would stop."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x > 0)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (is_open,), (gradient,) = ctx.saved_tensors, gradients
        true = gradient * is_open
        reached = (true != 0).flatten(1).any(1).reshape(-1, *(1,) * (true.ndim - 1))
        opening = torch.where(is_open | (gradient < 0), gradient, 0)
        return torch.where(reached, true, opening)


def _relu(x: Tensor, inplace: bool = False) -> Tensor:
    found: Tensor = _PassingRelu.apply(x)
    return x.copy_(found) if inplace else found


def _relu_in_place(x: Tensor) -> Tensor:
    return _relu(x, inplace=True)


def _clipped(
    x: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Tensor:
    found = _relu(x - min_val).clamp(max=max_val - min_val) + min_val
    return x.copy_(found) if inplace else found


def _relu6(x: Tensor, inplace: bool = False) -> Tensor:
    return _clipped(x, 0.0, 6.0, inplace)


_PASSING: dict[str, Callable[..., Tensor]] = {
    "relu": _relu,
    "relu_": _relu_in_place,
    "relu6": _relu6,
    "hardtanh": _clipped,  # what nn.ReLU6 calls
}


class ShutRelusPass(TorchFunctionMode):
    """While it is entered, ReLUs that would stop all of an image's gradient let some through.

    That is the part which would open them; values are the same. The gradient is taken to be that of
    a loss: where it is negative, a larger value is wanted. Reaches the ReLUs of Caffe's files and
    of PyTorch modules, not those of a live pycaffe net.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _PASSING.get(func.__name__, func)(*args, **(kwargs or {}))
