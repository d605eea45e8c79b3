"""What tests of every part use: the message of a refused call, and noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from cnnpref.errors import UserError


def refusal(function: Callable[..., object], *arguments: Any, **named: Any) -> str:
    """The one line of the `UserError` that a call raises."""
    with pytest.raises(UserError) as caught:
        function(*arguments, **named)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Standard normal values of that shape, always the same for a seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def floats(*shape: int, seed: int = 0) -> npt.NDArray[np.float64]:
    """The same as an array of NumPy, in double precision."""
    return noise(*shape, seed=seed, dtype=torch.float64).numpy()
