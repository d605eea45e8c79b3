"""Made-up pictures in natural colours, as if methods had made them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt


@cache
def natural(side: int, seed: int) -> npt.NDArray[np.float32]:
    """A picture (side, side, 3) whose amplitudes fall as in photographs, with coloured blobs."""
    random = np.random.default_rng(seed)
    f = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    waves = random.normal(size=(3, side, side // 2 + 1, 2)) @ np.array([1, 1j])
    waves /= np.maximum(f, 1 / side) ** 1.35
    grey, warm, green = np.fft.irfft2(waves, s=(side, side))
    y, x = np.mgrid[:side, :side] / side
    for channel in (grey, warm, green):
        channel /= channel.std()
        for cy, cx, size, high in random.uniform((0.2, 0.2, 0.03, -3), (0.8, 0.8, 0.12, 3), (4, 4)):
            channel += high * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / size**2)
    rgb = np.stack([grey + 0.5 * warm, grey + 0.35 * green, grey - 0.5 * warm], -1)
    return (120 + 45 * rgb).astype(np.float32)


def picture(side: int, unit: int, method: str, seed: int) -> npt.NDArray[np.float32]:
    """A picture of a unit: one of a few dozen, shifted, as if a method had made it."""
    random = np.random.default_rng((unit, len(method), seed))
    base = natural(side, int(random.integers(48)))
    image = np.roll(base, random.integers(side // 8 + 1, size=2), (0, 1))
    image = image[:, ::-1] if random.integers(2) else image
    noisy = {"gd": 12, "lbfgs": 60}.get(method, 3)
    return image + random.normal(0, noisy, image.shape).astype(np.float32)


Painter = Callable[[int, int, str, int], npt.NDArray[np.float32]]
"""Makes a picture, mostly (side, side, 3), for a side, a unit, a method and a seed."""
