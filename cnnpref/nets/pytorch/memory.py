"""Which tensors are the same memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

Key = tuple[Any, ...]


def storage_of(tensor: Tensor) -> int:
    """Of tensors that are alive, the same for those that share memory."""
    dense = tensor.layout is torch.strided
    return tensor.untyped_storage()._cdata if dense else id(tensor)


def key_of(tensor: Tensor) -> Key:
    """Tensors of the same key are the same memory, seen in the same way."""
    if tensor.layout is not torch.strided:
        return (id(tensor),)
    view = tensor.storage_offset(), tuple(tensor.shape), tensor.stride(), tensor.dtype
    return storage_of(tensor), *view
