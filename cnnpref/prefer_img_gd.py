"""Gradient descent on pixels, under the original's name: one image for one feature mask."""

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
    iter_n: int = 200,
    lr_start: float = 2.0,
    lr_end: float = 1e-10,
    momentum_start: float = 0.9,
    momentum_end: float = 0.9,
    decay_start: float = 0.1,
    decay_end: float = 0.1,
    grad_normalize: bool = True,
    image_jitter: bool = True,
    jitter_size: int = 32,
    image_blur: bool = True,
    sigma_start: float = 2.0,
    sigma_end: float = 0.5,
    use_p_norm_reg: bool = False,
    p: float = 3,
    lamda_start: float = 0.5,
    lamda_end: float = 0.5,
    use_TV_norm_reg: bool = False,
    TVbeta: float = 2,
    TVlamda_start: float = 0.5,
    TVlamda_end: float = 0.5,
    clip_extreme: bool = False,
    clip_extreme_every: int = 4,
    e_pct_start: float = 1,
    e_pct_end: float = 1,
    clip_small_norm: bool = False,
    clip_small_norm_every: int = 4,
    n_pct_start: float = 5.0,
    n_pct_end: float = 5.0,
    clip_small_contribution: bool = False,
    clip_small_contribution_every: int = 4,
    c_pct_start: float = 5.0,
    c_pct_end: float = 5.0,
    disp_every: int = 1,
    save_intermediate: bool = False,
    save_intermediate_every: int = 1,
    save_intermediate_path: str | None = None,
    callback: Callback | None = None,
) -> npt.NDArray[np.float32]:
    """The image that the masked units prefer, by gradient descent with momentum on its pixels.

    Random numbers come from NumPy's global state in the original's order: `np.random.seed`
    reproduces a run. The parameters between `iter_n` and `c_pct_end` are those of `GdOptions`;
    the presets `lower` and `higher` of the method have values that make good images, which these
    defaults do not in convolution layers.

    Args:
        net: the network, or a live pycaffe `Net` or `Classifier`.
        layer: a name in `net.layers`.
        feature_mask: of the layer's shape, 1 at the target units.
        feature_weight: a number, or an array of the layer's shape.
        initial_image: RGB (H, W, 3), 0..255; None is uniform noise.
        disp_every: print the activation every so many iterations.
        save_intermediate, save_intermediate_every, save_intermediate_path: write the image as JPEG
            every so many iterations, into that folder (None: one named after the time).
        callback: called as callback(i, image, activation) after iteration i = 1, 2, ...; the image
            as returned, the activation summed over the mask, before the update.

    Returns:
        float32 (H, W, 3), RGB, 0..255 scale, not clipped.

    Raises:
        UserError: unknown layer; a mask of another shape or without a target; a wrong option.
    """
    given = locals()
    saving = save_intermediate_every if save_intermediate else 0
    watch = Watch(disp_every, saving, save_intermediate_path, callback)
    return one_image("gd", net, layer, feature_mask, feature_weight, initial_image, given, watch)
