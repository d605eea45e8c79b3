"""The helpers of the original's `utils`, under its names and in its layouts, NumPy in and out.

An image is RGB (H, W, 3) on the 0..255 scale; a net's input is (3, H, W), BGR, the mean subtracted.
No function changes its arguments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cnnpref.ascent import pixel_ops as transform
from cnnpref.display import clip_extreme, normalise
from cnnpref.errors import UserError, suggest
from cnnpref.geometry import Shape
from cnnpref.input_space import Array, InputSpace
from cnnpref.nets.blob_values import blob_values
from cnnpref.nets.caffe.files.mean import Mean, read_mean
from cnnpref.nets.pycaffe import AnyNet, as_net

Floats = npt.NDArray[np.floating]
IMAGENET_MEAN = (104.0, 117.0, 123.0)


def img_preprocess(img: npt.ArrayLike, img_mean: Mean = IMAGENET_MEAN) -> Array:
    """An image (H, W, 3) as the net's input (3, H, W); `img_mean` is 3 values, BGR.

    Raises:
        UserError: no image, or no mean.
    """
    return InputSpace(mean=read_mean(img_mean)).encode(_with_channels(img, last=True))


def img_deprocess(img: npt.ArrayLike, img_mean: Mean = IMAGENET_MEAN) -> Array:
    """The net's input (3, H, W) as an image (H, W, 3), not clipped; `img_mean` is 3 values, BGR.

    Raises:
        UserError: no image of 3 channels, or no mean.
    """
    return InputSpace(mean=read_mean(img_mean)).decode(_with_channels(img, last=False))


def _with_channels(img: npt.ArrayLike, last: bool) -> npt.NDArray[np.generic]:
    x = np.asarray(img)
    if x.ndim != 3 or x.shape[2 if last else 0] != 3:
        layout = "(H, W, 3)" if last else "(3, H, W)"
        raise UserError(f"an image of shape {layout} wanted, got {x.shape}")
    return x


def normalise_img(img: npt.ArrayLike) -> npt.NDArray[np.uint8]:
    """Any image, stretched so that its minimum is 0 and its maximum 255, fractions cut off."""
    return normalise(img).astype(np.uint8)


def get_cnn_features(
    net: AnyNet, img: npt.ArrayLike, layer_list: Sequence[str]
) -> dict[str, Array]:
    """What an image makes of some blobs after a full pass, {name: values of the blob's shape}.

    Args:
        net: the network, or a live pycaffe net.
        img: (H, W, 3), of the size that the net takes.
        layer_list: blobs, as in-place layers leave them: a `conv1` with its ReLU in place is
            rectified; layers where no blob is called so. For a layer before its in-place ReLU
            take `net.activations`.

    Raises:
        UserError: an unknown name, or an image of another size.
    """
    found = blob_values(as_net(net), np.asarray(img)[None], layer_list)
    return {name: values[0] for name, values in found.items()}


def p_norm(x: npt.ArrayLike, p: float = 2) -> tuple[float, Floats]:
    """The loss sum |x|^p of any array, and its gradient."""
    given = _tensor(x)
    return float((given.abs() ** p).sum()), transform.p_norm_gradient(given, p).numpy()


def TV_norm(x: npt.ArrayLike, TVbeta: float = 1) -> tuple[float, Floats]:  # noqa: N802, N803
    """The total variation sum (dh^2 + dw^2)^(TVbeta/2) of (C, H, W), and its gradient.

    Differences are between neighbours, 0 at the last row and column. In the gradient each term
    counts as 1e-5 at least.
    """
    given = _image(x)
    down = torch.diff(given, dim=1, append=given[:, -1:])
    right = torch.diff(given, dim=2, append=given[:, :, -1:])
    loss = (down**2 + right**2) ** (TVbeta / 2)
    return float(loss.sum()), transform.tv_gradient(given, TVbeta).numpy()


def image_norm(img: npt.ArrayLike) -> Floats:
    """The norm of each pixel of (C, H, W) over its channels, (H, W)."""
    return torch.linalg.vector_norm(_image(img), dim=0).numpy()


def gaussian_blur(img: npt.ArrayLike, sigma: float) -> Floats:
    """(C, H, W), each channel smoothed by a Gaussian of `sigma` pixels; as it is for sigma <= 0."""
    return transform.blur(_image(img), sigma).numpy()


def clip_extreme_pixel(img: npt.ArrayLike, pct: float = 1) -> Array:
    """An array, clipped to the percentiles [pct/2, 100 - pct/2] of all its values."""
    return clip_extreme(img, _share(pct))


def clip_small_norm_pixel(img: npt.ArrayLike, pct: float = 1) -> Floats:
    """(C, H, W), with 0 where a pixel's norm is under the `pct` percentile of the norms."""
    x = _image(img)[None]
    return transform.clip_small(x, x, _share(pct))[0].numpy()


def clip_small_contribution_pixel(
    img: npt.ArrayLike, grad: npt.ArrayLike, pct: float = 1
) -> Floats:
    """(C, H, W), with 0 where the norm of pixel * gradient is under the `pct` percentile.

    Raises:
        UserError: the gradient has another shape.
    """
    x, gradient = _image(img)[None], _image(grad)[None]
    if x.shape != gradient.shape:
        raise UserError(f"a gradient of shape {tuple(x.shape[1:])} wanted, got {np.shape(grad)}")
    return transform.clip_small(x, x * gradient, _share(pct))[0].numpy()


def _share(pct: float) -> float:
    """What is outside 0..100 counts as the nearer end, as in the original."""
    return min(max(pct, 0.0), 100.0)


def _tensor(x: npt.ArrayLike) -> Tensor:
    """A copy; double precision stays, whole numbers become floats."""
    given = np.asarray(x)
    return torch.from_numpy(np.array(given, np.result_type(given, np.float32), order="C"))


def _image(x: npt.ArrayLike) -> Tensor:
    given = _tensor(x)
    if given.ndim != 3:
        raise UserError(f"an image of shape (C, H, W) wanted, got {tuple(given.shape)}")
    return given


def sort_layer_list(net: AnyNet, layer_list: Sequence[str]) -> list[str]:
    """Names of layers, or names of blobs, in the order of the net.

    Raises:
        UserError: a name is neither a layer's nor a blob's, or layers and blobs are mixed.
    """
    net = as_net(net)
    order = list(net.layers if net.layers.keys() >= set(layer_list) else net.blobs)
    unknown = next((name for name in layer_list if name not in order), None)
    if unknown is not None:
        raise UserError(
            f"unknown blob {unknown!r}{suggest(unknown, order)}; "
            f"the net {net.name!r} has: {', '.join(order)}"
        )
    return sorted(layer_list, key=order.index)


def create_feature_masks(
    features: Mapping[str, npt.ArrayLike],
    masks: Mapping[str, npt.ArrayLike] | None = None,
    channels: Mapping[str, npt.ArrayLike] | None = None,
) -> dict[str, Array]:
    """Which units of each layer are wanted: 1 for these and 0 for others, in the layer's shape.

    Args:
        features: by layer, (C, H, W) or (C,): every layer here gets a mask.
        masks: by layer, of the layer's shape; or (h, w) for all channels, its centre laid on the
            map's: what overhangs is cut off, what it leaves uncovered is 1.
        channels: by layer, the wanted channels; without effect beside a mask of the layer's shape.
            A layer in neither `masks` nor `channels` has 1 everywhere.

    Raises:
        UserError: a mask of another shape, or channels that the layer does not have.
    """
    masks, channels = masks or {}, channels or {}
    return {
        layer: _feature_mask(layer, np.shape(values), masks.get(layer), channels.get(layer))
        for layer, values in features.items()
    }


def _feature_mask(
    layer: str, shape: Shape, mask: npt.ArrayLike | None, channels: npt.ArrayLike | None
) -> Array:
    given = np.ones(shape[1:]) if mask is None else np.asarray(mask)
    if mask is not None and given.shape == shape:
        return given.astype(np.float32)
    if given.ndim != len(shape) - 1 or (mask is not None and given.ndim != 2):
        allowed = f"{shape}, or (h, w)" if len(shape) == 3 else f"{shape}"
        raise UserError(f"a mask of layer {layer!r} must have shape {allowed}, got {given.shape}")
    result = np.zeros(shape, np.float32)
    result[_channels(layer, shape[0], channels)] = _centred(given, shape[1:])
    return result


def _channels(layer: str, count: int, wanted: npt.ArrayLike | None) -> npt.NDArray[np.int64]:
    if wanted is None:
        return np.arange(count)
    index = np.asarray(wanted).ravel()
    if index.dtype.kind not in "iu" or not index.size or index.min() < 0 or index.max() >= count:
        raise UserError(f"layer {layer!r} has channels 0..{count - 1}, got {index.tolist()}")
    return index.astype(np.int64)


def _centred(mask: npt.NDArray[np.generic], size: Shape) -> Array:
    """`mask`, its centre on that of a map of ones."""
    common = [min(pair) for pair in zip(mask.shape, size, strict=True)]
    taken, covered = (
        tuple(slice((n - c) // 2, (n - c) // 2 + c) for n, c in zip(whole, common, strict=True))
        for whole in (mask.shape, size)
    )
    result = np.ones(size, np.float32)
    result[covered] = mask[taken]
    return result


def estimate_cnn_feat_std(cnn_feat: npt.ArrayLike) -> float:
    """The standard deviation of features.

    Args:
        cnn_feat: (C, H, W): that within each channel, averaged over the channels; or a vector,
            (C,), (1, C) or (C, 1, 1): that over the units.

    Raises:
        UserError: another shape.
    """
    x = np.asarray(cnn_feat, np.float64)
    if x.ndim == 3 and x.shape[1] * x.shape[2] > 1 and x.size:
        return float(x.std((1, 2)).mean())
    if x.ndim not in (1, 2, 3) or (x.ndim == 2 and len(x) != 1) or not x.size:
        raise UserError(f"features of shape (C, H, W), (C,) or (1, C) wanted, got {x.shape}")
    return float(x.std())


def create_receptive_field_mask(
    net: AnyNet, layer: str, feat_mask: npt.ArrayLike
) -> npt.NDArray[np.uint8]:
    """Which part of the image can change the wanted units: 1 there, 0 elsewhere, (H, W, 3).

    The smallest box around it, from the geometry of the layers: exact, and nothing is drawn.

    Args:
        net: the network, or a live pycaffe net.
        layer: a name in `net.layers`.
        feat_mask: of the layer's shape, above 0 at the wanted units.

    Raises:
        UserError: an unknown layer; a mask of another shape, or without a unit.
    """
    net = as_net(net)
    shape, wanted = net.layer_shape(layer), np.asarray(feat_mask) > 0
    if wanted.shape != shape or not wanted.any():
        got = "none above 0" if wanted.shape == shape else f"shape {wanted.shape}"
        raise UserError(f"a mask of layer {layer!r} has shape {shape} and 1 at units, got {got}")
    top, left, bottom, right = net.receptive_field(layer, wanted)
    mask = np.zeros((*net.input_shape[1:], 3), np.uint8)
    mask[top:bottom, left:right] = 1
    return mask
