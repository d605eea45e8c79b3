"""L-BFGS-B on a generator's features, under the original's name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cnnpref.ascent.variables import Generator
from cnnpref.nets.pycaffe import AnyNet, as_net
from cnnpref.original import Callback, Watch, one_image

Bounds = Sequence[tuple[float | None, float | None]]


def generate_image(
    net_gen: AnyNet,
    net: AnyNet,
    layer: str,
    feature_mask: npt.ArrayLike,
    feature_weight: npt.ArrayLike = 1.0,
    initial_gen_feat: npt.ArrayLike | None = None,
    gen_feat_bounds: Bounds | None = None,
    input_layer_gen: str | None = None,
    output_layer_gen: str | None = None,
    maxiter: int = 500,
    disp: bool = True,
    save_intermediate: bool = False,
    save_intermediate_every: int = 1,
    save_intermediate_path: str | None = None,
    callback: Callback | None = None,
    resize: bool = False,
) -> npt.NDArray[np.float32]:
    """The image of a generator that the masked units prefer, by L-BFGS-B on its features.

    Random numbers come from NumPy's global state: `np.random.seed` reproduces a run.

    Args:
        net_gen: the generator, given like `net`; its images are in the input space of `net`, or in
            its own if it was loaded with a mean, std or scale.
        net: the network, or a live pycaffe `Net` or `Classifier`.
        layer: a name in `net.layers`.
        feature_mask: of the layer's shape, 1 at the target units.
        feature_weight: a number, or an array of the layer's shape.
        initial_gen_feat: features to start from; None is 10 * max(0, N(0, 1)).
        gen_feat_bounds: (lowest, highest) per feature, None for no bound; None is (0, 100) each.
        input_layer_gen: blob of the features; None is the first of `net_gen`.
        output_layer_gen: blob of the image; None is the last of `net_gen`.
        maxiter: most iterations.
        disp: print the activation of every evaluation.
        save_intermediate: write images as JPEG while running,
        save_intermediate_every: every so many evaluations,
        save_intermediate_path: into this folder; None is a new one, named after the time.
        callback: called as callback(i, image, activation) after evaluation i = 1, 2, ... with the
            image that was evaluated and its activation summed over the mask.
        resize: stretch the generator's images to the size of the net's.

    Returns:
        float32 (H, W, 3), RGB, 0..255 scale, not clipped: of the final features.

    Raises:
        UserError: unknown layer or blob; a mask of another shape or without a target; bounds of
            another length or crossed; an image smaller than the net's input; a wrong option.
    """
    given = locals()
    lower, upper = _split(gen_feat_bounds)
    blobs = (input_layer_gen, output_layer_gen)
    generator = Generator(as_net(net_gen), *blobs, lower, upper, resize=resize)
    saving = save_intermediate_every if save_intermediate else 0
    watch = Watch(int(disp), saving, save_intermediate_path, callback)
    target = (net, layer, feature_mask, feature_weight, initial_gen_feat)
    return one_image("dgn_lbfgs", *target, given, watch, generator)


def _split(bounds: Bounds | None) -> tuple[npt.ArrayLike, npt.ArrayLike]:
    """Pairs as lower and upper bounds."""
    if bounds is None:
        return 0.0, 100.0
    lower = [-np.inf if low is None else low for low, _ in bounds]
    upper = [np.inf if high is None else high for _, high in bounds]
    return lower, upper
