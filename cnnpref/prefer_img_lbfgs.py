"""L-BFGS-B on pixels, under the original's name: one image for one feature mask."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cnnpref.nets.pycaffe import AnyNet
from cnnpref.original import Callback, Watch, one_image


def generate_image(
    net: AnyNet,
    layer: str,
    feature_mask: npt.ArrayLike,
    feature_weight: npt.ArrayLike = 1.0,
    initial_image: npt.ArrayLike | None = None,
    maxiter: int = 500,
    disp: bool = True,
    save_intermediate: bool = False,
    save_intermediate_every: int = 1,
    save_intermediate_path: str | None = None,
    callback: Callback | None = None,
) -> npt.NDArray[np.float32]:
    """The image that the masked units prefer, by SciPy's L-BFGS-B on its pixels.

    Every pixel stays within 0..255. Random numbers come from NumPy's global state in the
    original's order: `np.random.seed` reproduces a run.

    Args:
        net: the network, or a live pycaffe `Net` or `Classifier`.
        layer: a name in `net.layers`.
        feature_mask: of the layer's shape, 1 at the target units.
        feature_weight: a number, or an array of the layer's shape.
        initial_image: RGB (H, W, 3), 0..255; None is uniform noise.
        maxiter: most iterations.
        disp: print the activation of every evaluation.
        save_intermediate: write images as JPEG while running,
        save_intermediate_every: every so many evaluations,
        save_intermediate_path: into this folder; None is a new one, named after the time.
        callback: called as callback(i, image, activation) after evaluation i = 1, 2, ... with the
            image that was evaluated and its activation summed over the mask.

    Returns:
        float32 (H, W, 3), RGB, 0..255.

    Raises:
        UserError: unknown layer; a mask of another shape or without a target; a wrong option.
    """
    given = locals()
    saving = save_intermediate_every if save_intermediate else 0
    watch = Watch(int(disp), saving, save_intermediate_path, callback)
    return one_image("lbfgs", net, layer, feature_mask, feature_weight, initial_image, given, watch)
