"""What the functions of the original's names show and save while they run."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from cnnpref.image import clip_extreme, normalise

Callback = Callable[[int, npt.NDArray[np.float32], float], None]
"""(iteration or evaluation 1, 2, ..., image (H, W, 3) as returned, summed activation)."""


def show_progress(every: int) -> Callback:
    """Print the activation at every so many calls."""

    def show(i: int, _image: npt.NDArray[np.float32], activation: float) -> None:
        if i % every == 0:
            print(f"iter={i}; activation={activation:g};")

    return show


def save_snapshots(method: str, every: int, folder: str | None) -> Callback:
    """Write the image, stretched to 0..255, as JPEG at every so many calls.

    Args:
        method: names the folder where none is given.
        every: number of calls.
        folder: made if absent; None is a new one in the working directory, named after the time.
    """
    name = folder or f"prefer_img_{method}_{datetime.now():%Y%m%dT%H%M%S}"
    target = Path(name)
    target.mkdir(parents=True, exist_ok=True)

    def save(i: int, image: npt.NDArray[np.float32], _activation: float) -> None:
        if i % every == 0:
            shown = normalise(clip_extreme(image, pct=0.04)).astype(np.uint8)
            Image.fromarray(shown).save(target / f"{i:05d}.jpg", quality=95)

    return save
