"""Batches a few rows at a time, and rows of them overwritten."""

from __future__ import annotations

import torch
from torch import Tensor

from cnnpref.optim.problem import per_row

_CACHED = 640_000  # numbers: with what is made of them they still fit a CPU's cache (measured)


def portions(x: Tensor) -> list[slice]:
    """The rows of a batch in portions: on a CPU few enough to stay in its cache meanwhile."""
    count = len(x) if not x.is_cpu else max(1, _CACHED // max(1, x[0].numel()))
    return [slice(start, start + count) for start in range(0, len(x), count)]


def overwrite(x: Tensor, mask: Tensor, source: Tensor) -> None:
    """Copy the rows where the mask (B,) holds."""
    if x.is_cpu:
        for row in mask.nonzero()[:, 0].tolist():
            x[row] = source[row]
    else:  # a look at the mask would stall a GPU
        torch.where(per_row(mask, x), source, x, out=x)
