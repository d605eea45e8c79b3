"""Steps that shape an image between updates: batched, (B, C, H, W) to (B, C, H, W).

Every image of the batch is treated alone. Percentages are in 0..100.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cnnpref.optim.problem import per_row

_FEW = 24  # neighbours to each side, from where on a matrix product is faster


def shift(x: Tensor, right: Tensor, down: Tensor) -> Tensor:
    """Roll image b by `right[b]` pixels along W and `down[b]` along H."""
    if x.is_cpu:
        offsets = zip(x, down.tolist(), right.tolist(), strict=True)
        return torch.stack([image.roll(by, (-2, -1)) for image, *by in offsets])
    height, width = x.shape[-2:]
    rows = (torch.arange(height, device=x.device) - down[:, None]) % height
    columns = (torch.arange(width, device=x.device) - right[:, None]) % width
    batch = torch.arange(len(x), device=x.device)[:, None, None]
    picked = x.permute(0, 2, 3, 1)[batch, rows[:, :, None], columns[:, None, :]]
    return picked.permute(0, 3, 1, 2)


def blur(x: Tensor, sigma: float, kernel: Tensor | None = None) -> Tensor:
    """Gaussian blur over H and W, as `scipy.ndimage.gaussian_filter`: truncate 4, mode reflect.

    On a CPU by adding up neighbours, while they are few. Else by one product with a square matrix
    per axis: a matrix product is what a GPU does best, and it is exact at any border.

    Args:
        x: images.
        sigma: standard deviation in pixels; 0 or less leaves them as they are.
        kernel: one of `kernels`, so that nothing need be sent to the device.
    """
    radius = int(4 * sigma + 0.5)
    if sigma <= 0:
        return x
    if x.is_cpu and radius <= min(_FEW, *x.shape[-2:]):
        return _summed(_summed(x, sigma, -2), sigma, -1)
    weights = kernels([sigma], x.device, x.dtype)[0] if kernel is None else kernel
    rows, columns = (_blur_matrix(size, weights) for size in x.shape[-2:])
    return rows @ x @ columns.T


def kernels(
    sigmas: Sequence[float], device: torch.device, dtype: torch.dtype = torch.float32
) -> Tensor:
    """The kernels of several blurs on a device, as wide as the widest, (len(sigmas), n)."""
    found = [_kernel(sigma) if sigma > 0 else torch.ones(1) for sigma in sigmas]
    widest = max(map(len, found), default=1)
    rows = [F.pad(each, ((widest - len(each)) // 2,) * 2) for each in found]
    return torch.stack(rows).to(dtype).to(device)


def _kernel(sigma: float) -> Tensor:
    """The weights of the neighbours at the distances -radius .. radius, in double precision."""
    radius = int(4 * sigma + 0.5)
    taps = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (taps / sigma) ** 2)
    return kernel / kernel.sum()


def _summed(x: Tensor, sigma: float, axis: int) -> Tensor:
    """Blur along one axis: each pixel and its neighbours, weighted and added up."""
    kernel = _kernel(sigma).tolist()
    radius, size = len(kernel) // 2, x.shape[axis]
    shape = list(x.shape)
    shape[axis] += 2 * radius
    mirrored = x.new_empty(shape)  # ... c b a | a b c ... | c b a ...
    mirrored.narrow(axis, radius, size).copy_(x)
    mirrored.narrow(axis, 0, radius).copy_(x.narrow(axis, 0, radius).flip(axis))
    end = x.narrow(axis, size - radius, radius)
    mirrored.narrow(axis, size + radius, radius).copy_(end.flip(axis))
    blurred = x * kernel[radius]
    for distance in range(1, radius + 1):
        pair = mirrored.narrow(axis, radius - distance, size)
        pair = pair + mirrored.narrow(axis, radius + distance, size)
        blurred.add_(pair, alpha=kernel[radius + distance])
    return blurred


def _blur_matrix(size: int, kernel: Tensor) -> Tensor:
    """(size, size): row i holds the weights of the pixels that blur into pixel i."""
    taps = torch.arange(len(kernel), device=kernel.device) - len(kernel) // 2
    places = (torch.arange(size, device=kernel.device)[:, None] + taps) % (2 * size)
    mirrored = torch.minimum(places, 2 * size - 1 - places)  # ... c b a | a b c ... | c b a ...
    matrix = kernel.new_zeros(size, size)
    return matrix.scatter_add_(1, mirrored, kernel.expand(size, -1))


def percentile(values: Tensor, pct: float) -> Tensor:
    """The percentile of each row of (B, N), interpolated linearly as NumPy does: (B,)."""
    place = pct / 100 * (values.shape[1] - 1)
    below = min(math.floor(place), values.shape[1] - 2) if values.shape[1] > 1 else 0
    if values.device.type == "mps":  # which has no selection
        low, high = values.sort(1).values[:, below : below + 2].expand(-1, 2).unbind(1)
    elif not values.is_cpu:
        low = values.kthvalue(below + 1, dim=1).values
        high = low if place == below else values.kthvalue(below + 2, dim=1).values
    else:  # NumPy's selection uses the processor's vectors: 6 times as fast
        parted = torch.from_numpy(np.partition(values.numpy(), below, axis=1))
        low = parted[:, below]
        high = low if place == below else parted[:, below + 1 :].amin(1)
    return torch.lerp(low, high, place - below)


def clip_extreme(x: Tensor, pct: float) -> Tensor:
    """Clip each image to its [pct/2, 100 - pct/2] percentiles."""
    flat = x.flatten(1)
    low, high = (percentile(flat, p)[:, None, None, None] for p in (pct / 2, 100 - pct / 2))
    return x.clamp(low, high)


def clip_small(x: Tensor, of: Tensor, pct: float) -> Tensor:
    """Zero the pixels whose norm over the channels of `of` is under its `pct` percentile.

    Args:
        x: the images.
        of: `x` itself, or `x` times its gradient for the pixels' contribution, (B, C, H, W).
        pct: the share of pixels to lose, 0..100.
    """
    norm = channel_norm(of)
    if x.is_cpu and _mostly_zero(norm.flatten(1), pct):
        return x
    return x * (norm >= percentile(norm.flatten(1), pct)[:, None, None])[:, None]


def _mostly_zero(norms: Tensor, pct: float) -> bool:
    """Whether the percentile of every row (B, N) of norms is 0, under which there is nothing."""
    most = norms.shape[1] - (math.floor(pct / 100 * (norms.shape[1] - 1)) + 2)
    return bool((norms.count_nonzero(1) <= most).all())


def channel_norm(x: Tensor) -> Tensor:
    """The norm of each pixel over its channels, (B, H, W) from (B, C, H, W)."""
    squares = x[:, 0].square()  # one by one: 50 times as fast as a reduction over this axis
    for channel in range(1, x.shape[1]):
        squares.addcmul_(x[:, channel], x[:, channel])
    return squares.sqrt_()


def p_norm_gradient(x: Tensor, p: float) -> Tensor:
    """Gradient of sum |x|^p."""
    return p * x.abs() ** (p - 1) * x.sign()


def tv_gradient(x: Tensor, beta: float) -> Tensor:
    """Gradient of the total variation sum (d_h^2 + d_w^2)^(beta/2) by forward differences.

    Mahendran and Vedaldi 2015, with the original's floor of 1e-5 on each term.
    """
    down = torch.zeros_like(x)
    right = torch.zeros_like(x)
    down[..., :-1, :] = x[..., 1:, :] - x[..., :-1, :]
    right[..., :-1] = x[..., 1:] - x[..., :-1]
    variation = ((down**2 + right**2) ** (beta / 2)).clamp(min=1e-5)
    factor = variation ** (2 * (beta / 2 - 1) / beta)
    down, right = factor * down, factor * right
    gradient = -down - right
    gradient[..., 1:, :] += down[..., :-1, :]
    gradient[..., 1:] += right[..., :-1]
    return beta * gradient


def unit_mean(gradient: Tensor) -> Tensor:
    """Each row divided by its mean absolute value, where that is above 0."""
    mean = per_row(gradient.flatten(1).abs().mean(1), gradient)
    return torch.where(mean > 0, gradient / mean, gradient)
