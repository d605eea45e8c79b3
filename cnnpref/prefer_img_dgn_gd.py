"""Gradient descent on a generator's features, under the original's name."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cnnpref.ascent.variables import Generator
from cnnpref.nets.pycaffe import AnyNet, as_net
from cnnpref.original import Callback, Watch, one_image


def generate_image(
    net_gen: AnyNet,
    net: AnyNet,
    layer: str,
    feature_mask: npt.ArrayLike,
    feature_weight: npt.ArrayLike = 1.0,
    initial_gen_feat: npt.ArrayLike | None = None,
    feat_upper_bound: npt.ArrayLike | None = 100.0,
    feat_lower_bound: npt.ArrayLike | None = 0.0,
    input_layer_gen: str | None = None,
    output_layer_gen: str | None = None,
    iter_n: int = 200,
    lr_start: float = 2.0,
    lr_end: float = 1e-10,
    momentum_start: float = 0.9,
    momentum_end: float = 0.9,
    decay_start: float = 0.01,
    decay_end: float = 0.01,
    disp_every: int = 1,
    save_intermediate: bool = False,
    save_intermediate_every: int = 1,
    save_intermediate_path: str | None = None,
    callback: Callback | None = None,
    resize: bool = False,
) -> npt.NDArray[np.float32]:
    """The image of a generator that the masked units prefer, by gradient descent on its features.

    Random numbers come from NumPy's global state: `np.random.seed` reproduces a run. The
    parameters from `iter_n` to `decay_end` are those of `DgnGdOptions`.

    Args:
        net_gen: the generator, given like `net`; its images are in the input space of `net`, or in
            its own if it was loaded with a mean, std or scale.
        net: the network, or a live pycaffe `Net` or `Classifier`.
        layer: a name in `net.layers`.
        feature_mask: of the layer's shape, 1 at the target units.
        feature_weight: a number, or an array of the layer's shape.
        initial_gen_feat: features to start from; None is 10 * max(0, N(0, 1)).
        feat_upper_bound: a number, one per feature, or None for no bound.
        feat_lower_bound: the same.
        input_layer_gen: blob of the features; None is the first of `net_gen`.
        output_layer_gen: blob of the image; None is the last of `net_gen`.
        disp_every: print the activation every so many iterations.
        save_intermediate: write images as JPEG while running,
        save_intermediate_every: every so many iterations,
        save_intermediate_path: into this folder; None is a new one, named after the time.
        callback: called as callback(i, image, activation) after iteration i = 1, 2, ... with the
            image of the features before the update and its activation summed over the mask.
        resize: stretch the generator's images to the size of the net's.

    Returns:
        float32 (H, W, 3), RGB, 0..255 scale, not clipped: of the features before the last update.

    Raises:
        UserError: unknown layer or blob; a mask of another shape or without a target; bounds of
            another length or crossed; an image smaller than the net's input; a wrong option.
    """
    given = locals()
    blobs, bounds = (input_layer_gen, output_layer_gen), (feat_lower_bound, feat_upper_bound)
    generator = Generator(as_net(net_gen), *blobs, *bounds, resize=resize)
    saving = save_intermediate_every if save_intermediate else 0
    watch = Watch(disp_every, saving, save_intermediate_path, callback)
    target = (net, layer, feature_mask, feature_weight, initial_gen_feat)
    return one_image("dgn_gd", *target, given, watch, generator, last_evaluated=True)
