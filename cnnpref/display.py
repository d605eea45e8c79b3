"""How an image of floats becomes one to look at."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cnnpref.input_space import Array


def three_channels(image: npt.ArrayLike) -> Array:
    """An image (H, W, C) as one of red, green and blue: its first, middle and last channel."""
    x = np.asarray(image, np.float32)
    return x[..., np.linspace(0, x.shape[-1] - 1, 3).round().astype(int)]


def normalise(image: npt.ArrayLike) -> Array:
    """Stretch an image of any shape so that its minimum is 0 and its maximum 255."""
    x = np.asarray(image, np.float32)
    low, high = x.min(), x.max()
    return (x - low) / (high - low) * np.float32(255) if high > low else np.zeros_like(x)


def clip_extreme(image: npt.ArrayLike, pct: float) -> Array:
    """Clip to the [pct/2, 100 - pct/2] percentiles of the whole array; `pct` in 0..100."""
    x = np.asarray(image, np.float32)
    low, high = np.percentile(x, [pct / 2, 100 - pct / 2])
    return np.clip(x, np.float32(low), np.float32(high))
