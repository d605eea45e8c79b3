"""Lazy modules, whose parameters get their shapes from the first input."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.parameter import is_lazy


def build_lazy(module: nn.Module, input_shape: Sequence[int]) -> None:
    """Give lazy modules their parameters, with random values, by one pass over black images."""
    tensors = [*module.parameters(), *module.buffers()]
    if not any(map(is_lazy, tensors)):
        return
    modes = {part: part.training for part in module.modules()}
    with torch.no_grad():
        module.eval()(torch.zeros(1, *input_shape, device=tensors[0].device))
    for part, training in modes.items():
        part.training = training
