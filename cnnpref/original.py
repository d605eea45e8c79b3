"""What the functions of the original's names share: one faithful image, watched as it is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from cnnpref.ascent.objective import Objective
from cnnpref.ascent.task import Moment
from cnnpref.ascent.variables import Generator
from cnnpref.display import clip_extreme, normalise
from cnnpref.errors import UserError
from cnnpref.maximisation import maximise
from cnnpref.methods import METHODS, resolve
from cnnpref.nets.pycaffe import AnyNet

RGB = npt.NDArray[np.float32]
Callback = Callable[[int, RGB, float], None]
"""(iteration or evaluation 1, 2, ..., image (H, W, 3) as returned, summed activation)."""


@dataclass(frozen=True)
class Watch:
    """What to show and save while an image is made.

    Attributes:
        show_every: print the activation at every so many iterations; 0 is never.
        save_every: write the image as JPEG at every so many iterations; 0 is never.
        folder: where to; None is a new folder in the working directory, named after the time.
        callback: called at every iteration.
    """

    show_every: int = 0
    save_every: int = 0
    folder: str | None = None
    callback: Callback | None = None


def one_image(
    method: str,
    net: AnyNet,
    layer: str,
    feature_mask: npt.ArrayLike,
    feature_weight: npt.ArrayLike,
    initial: npt.ArrayLike | None,
    given: dict[str, Any],
    watch: Watch,
    generator: Generator | None = None,
    last_evaluated: bool = False,
) -> RGB:
    """The image (H, W, 3) that the original returns, with NumPy's global random numbers.

    Args:
        method: one of `METHODS`.
        net: the network, or a live pycaffe net.
        layer: a name in `net.layers`.
        feature_mask: of the layer's shape, 1 at the targets.
        feature_weight: a number, or an array of the layer's shape.
        initial: RGB image or generator features to start from; None is random.
        given: arguments of the caller, among them the options of the method by name.
        watch: what to show and save.
        generator: of the methods dgn_*.
        last_evaluated: return the image that was evaluated last, not what its update made of it.

    Raises:
        UserError: something does not fit the net, the layer or the method.
    """
    names = {f.name for f in fields(METHODS[method].options)} - {"feature_weight", "initial_image"}
    options = resolve(method, "reference", {name: given[name] for name in names & given.keys()})
    mask = np.asarray(feature_mask)
    objective = Objective.masks(net, layer, mask[None], feature_weight)
    folder = _make_folder(method, watch) if watch.save_every else None
    last: list[RGB] = []

    def observe(moment: Moment) -> None:
        last[:] = moment.images()
        _tell(watch, folder, moment.count, last[0], float(moment.activations[0]))

    solution = maximise(
        net,
        objective,
        method,
        options,
        generator=generator,
        initial=None if initial is None else [initial],
        draws=[np.random],
        observe=observe,
        faithful=True,
    )
    image: RGB = last[0] if last_evaluated else solution.images[0]
    return image


def _make_folder(method: str, watch: Watch) -> Path:
    folder = Path(watch.folder or f"prefer_img_{method}_{datetime.now():%Y%m%dT%H%M%S}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {folder}: {error.strerror}") from None
    return folder


def _tell(watch: Watch, folder: Path | None, i: int, image: RGB, activation: float) -> None:
    if watch.show_every and i % watch.show_every == 0:
        print(f"iter={i}; activation={activation:g};")
    if folder and i % watch.save_every == 0:
        shown = normalise(clip_extreme(image, pct=0.04)).astype(np.uint8)
        Image.fromarray(shown).save(folder / f"{i:05d}.jpg", quality=95)
    if watch.callback:
        watch.callback(i, image, activation)
