"""Noise that is the same on every device: stretches of one table of normal numbers."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

STARTS = 2**20  # places where a stretch can start
LONGEST = 2**22  # numbers in a stretch; longer ones go on at the start of the table
LENGTH = STARTS + LONGEST  # of the table


@cache
def noise_table(device: torch.device) -> Tensor:
    """Normal numbers, always the same, (LENGTH,)."""
    numbers = np.random.RandomState(0).standard_normal(LENGTH)
    return torch.from_numpy(numbers.astype(np.float32)).to(device)


def stretch(device: torch.device, start: int, count: int) -> Tensor:
    """So many numbers of the table, from a place on; views where one stretch has them, (count,)."""
    table = noise_table(device)
    if start + count <= len(table):
        return table[start : start + count]
    rest = count - (len(table) - start)
    return torch.cat([table[start:], table.repeat(-(-rest // len(table)))[:rest]])
