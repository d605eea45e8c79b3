"""Steps that shape an image between updates: batched, (B, C, H, W) to (B, C, H, W).

Every image of the batch is treated alone. Percentages are in 0..100.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cnnpref.optim.problem import per_row


def shift(x: Tensor, right: Tensor, down: Tensor) -> Tensor:
    """Roll image b by `right[b]` pixels along W and `down[b]` along H."""
    height, width = x.shape[-2:]
    rows = (torch.arange(height, device=x.device) - down[:, None]) % height
    columns = (torch.arange(width, device=x.device) - right[:, None]) % width
    batch = torch.arange(len(x), device=x.device)[:, None, None]
    picked = x.permute(0, 2, 3, 1)[batch, rows[:, :, None], columns[:, None, :]]
    return picked.permute(0, 3, 1, 2)


def blur(x: Tensor, sigma: float) -> Tensor:
    """Gaussian blur over H and W, as `scipy.ndimage.gaussian_filter`: truncate 4, mode reflect.

    One product with a square matrix per axis: exact at the borders, and a matrix product is what
    every device does best.
    """
    if sigma <= 0:
        return x
    rows, columns = (_blur_matrix(size, sigma, x) for size in x.shape[-2:])
    return rows @ x @ columns.T


def _blur_matrix(size: int, sigma: float, like: Tensor) -> Tensor:
    """(size, size): row i holds the weights of the pixels that blur into pixel i."""
    radius = int(4 * sigma + 0.5)
    taps = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-0.5 * (taps / sigma) ** 2)
    kernel = (kernel / kernel.sum()).to(like.dtype)
    sources = (torch.arange(size)[:, None] + taps.long()) % (2 * size)
    mirrored = torch.minimum(sources, 2 * size - 1 - sources)  # ... c b a | a b c ... | c b a ...
    matrix = torch.zeros(size, size, dtype=like.dtype)
    return matrix.scatter_add_(1, mirrored, kernel.expand(size, -1)).to(like.device)


def percentile(values: Tensor, pct: float) -> Tensor:
    """The percentile of each row of (B, N), interpolated linearly as NumPy does: (B,)."""
    place = pct / 100 * (values.shape[1] - 1)
    below = min(math.floor(place), values.shape[1] - 2) if values.shape[1] > 1 else 0
    low = values.kthvalue(below + 1, dim=1).values
    if place == below:
        return low
    high = values.kthvalue(below + 2, dim=1).values
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
    norm = torch.linalg.vector_norm(of, dim=1, keepdim=True)
    return x * (norm >= percentile(norm.flatten(1), pct)[:, None, None, None])


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
