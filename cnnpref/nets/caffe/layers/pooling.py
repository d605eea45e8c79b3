"""Pooling over windows.

Caffe rounds the number of windows up and clips the last one only when there is padding. What an
average divides by counts the padding, but not what reaches past it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from math import prod
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cnnpref.geometry import Mask, Reach, Same, Shape, Span, Window, spans
from cnnpref.nets.caffe.files.schema import SCHEMA
from cnnpref.nets.caffe.layers.base import (
    Blob,
    Layer,
    Patch,
    UnsupportedError,
    layer,
    pair,
    require,
)

_LOWEST = torch.finfo(torch.float32).min  # Caffe's start value of a maximum: -FLT_MAX


@layer("Pooling")
class Pooling(Layer):
    """MAX or AVE over windows; a second top of MAX holds the flat index of each maximum."""

    def setup(self, x: Shape) -> list[Blob]:
        param = self.message.pooling_param
        require(len(x) == 4, f"pooling needs a blob of 4 axes, got {x}")
        self.method = param.PoolMethod.Name(param.pool)
        if self.method == "STOCHASTIC":
            raise UnsupportedError("STOCHASTIC pooling is not defined in phase TEST on a CPU")
        self.is_global = param.global_pooling
        self.round_up = param.round_mode == param.CEIL and param.ceil_mode
        self.stride, self.pad = pair(param, "stride"), pair(param, "pad")
        require(min(self.stride) > 0, "stride must be positive")
        require(not self.is_global or self.stride == (1, 1), "global_pooling needs stride 1")
        require(not self.is_global or self.pad == (0, 0), "global_pooling needs pad 0")
        self.window = (0, 0) if self.is_global else pair(param, "kernel_size")
        for pad, kernel in zip(self.pad, self._kernel(x), strict=True):
            require(kernel > 0, "kernel_size must be given and positive")
            require(pad < kernel, f"pad {pad} must be smaller than the kernel {kernel}")
        self.has_mask = self.method == "MAX" and len(self.message.top) > 1
        # a window outside of the map holds the lowest number, which ReLU would change
        filled = all(s <= k for s, k in zip(self.stride, self._kernel(x), strict=True))
        self.commutes_with_relu = self.method == "MAX" and filled and not self.has_mask
        return []

    @property
    def overlaps(self) -> bool:
        """Whether its windows have pixels in common."""
        kernel = self._kernel(self.bottom_shapes[0])
        return any(s < k for s, k in zip(self.stride, kernel, strict=True))

    def _kernel(self, shape: Sequence[int]) -> tuple[int, int]:
        return (shape[-2], shape[-1]) if self.is_global else self.window

    def _size(self, size: int, kernel: int, stride: int, pad: int) -> int:
        """Number of windows along an axis."""
        windows = _windows(size + 2 * pad - kernel, stride, self.round_up)
        if any(self.pad) and (windows - 1) * stride >= size + pad:
            windows -= 1
        return windows

    def infer(self, *bottoms: Shape) -> list[Shape]:
        (shape,), kernel = bottoms, self._kernel(bottoms[0])
        axes = zip(shape[2:], kernel, self.stride, self.pad, strict=True)
        top = (*shape[:2], *(self._size(*axis) for axis in axes))
        return [top, top] if self.has_mask else [top]

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        kernel = self._kernel(x.shape)
        axes = list(zip(x.shape[2:], kernel, self.stride, self.pad, strict=True))
        sizes = [self._size(*axis) for axis in axes]
        # what must follow the last row and column for exactly these windows; can be negative
        after = [(n - 1) * s + k - size - p for n, (size, k, s, p) in zip(sizes, axes, strict=True)]
        edges = [self.pad[1], after[1], self.pad[0], after[0]]
        if self.has_mask:
            return self._with_mask(x, edges, kernel)
        return self._pool(x, edges, kernel, x.shape[2:], [(0, sizes[0]), (0, sizes[1])])

    @property
    def local(self) -> bool:
        return not self.has_mask

    def forward_patch(self, patch: Patch, *bottoms: Tensor) -> Tensor:
        ((rows, columns),) = patch.edges
        shape = self.bottom_shapes[0]
        kernel = self._kernel(shape)
        return self._pool(bottoms[0], [*columns, *rows], kernel, shape[2:], spans(patch.box))

    def _pool(
        self, x: Tensor, edges: Sequence[int], kernel: Shape, size: Shape, area: Sequence[Span]
    ) -> Tensor:
        """The windows of an area of the top; `size` is that of the bottom's whole map."""
        if self.method == "MAX":
            return self._maxima(x, edges, kernel, [last - first for first, last in area])
        total = F.avg_pool2d(_padded(x, edges, 0.0), kernel, self.stride, divisor_override=1)
        return total / self._divisor(x, kernel, size, area)

    def _maxima(
        self, x: Tensor, edges: Sequence[int], kernel: Shape, counts: Sequence[int]
    ) -> Tensor:
        """Of so many windows along each axis; PyTorch pads by itself where it makes the same."""
        pads = edges[2], edges[0]
        for round_up in (False, True):
            axes = zip(x.shape[2:], kernel, self.stride, pads, counts, strict=True)
            if all(_pads_so(*axis, round_up) for axis in axes):
                return F.max_pool2d(x, kernel, self.stride, pads, ceil_mode=round_up)
        return F.max_pool2d(_padded(x, edges, _LOWEST), kernel, self.stride)

    def _with_mask(self, x: Tensor, edges: Sequence[int], kernel: Shape) -> tuple[Tensor, Tensor]:
        padded = _padded(x, edges, _LOWEST)
        top, flat = F.max_pool2d(padded, kernel, self.stride, return_indices=True)
        row = torch.div(flat, padded.shape[-1], rounding_mode="floor") - self.pad[0]
        column = flat % padded.shape[-1] - self.pad[1]
        return top, (row * x.shape[-1] + column).to(x.dtype)

    def _divisor(self, x: Tensor, kernel: Shape, size: Shape, area: Sequence[Span]) -> Tensor:
        """(out_h, out_w): size of each window inside the padded input, <= 0 for an empty one."""
        extents = []
        for axis, (first, last) in enumerate(area):
            pad = self.pad[axis]
            start = torch.arange(first, last, device=x.device) * self.stride[axis] - pad
            end = (start + kernel[axis]).clamp(max=size[axis] + pad)
            extents.append((end - start).to(x.dtype))
        return extents[0][:, None] * extents[1]

    def reach(self, axis: int, top: int, bottom: int) -> Reach:
        if axis == 1:
            return Same()
        kernel = self._kernel(self.bottom_shapes[0])
        return Window(kernel[axis - 2], self.stride[axis - 2], self.pad[axis - 2])


@layer("SPP")
class SPP(Layer):
    """Spatial pyramid pooling: 1, 4, 16 ... windows over the whole map, all in one vector."""

    def setup(self, x: Shape) -> list[Blob]:
        height = self.message.spp_param.pyramid_height
        require(height > 0, "pyramid_height must be given and positive")
        require(len(x) == 4, f"needs a blob of 4 axes, got {x}")
        self.pools = [self._pooling(x, 2**level) for level in range(height)]
        return []

    def _pooling(self, x: Shape, bins: int) -> Pooling:
        """Of bins x bins windows; there is padding where they do not divide the map."""
        kernel = [-(-size // bins) for size in x[2:]]
        pad = [(k * bins - size + 1) // 2 for k, size in zip(kernel, x[2:], strict=True)]
        param = SCHEMA["PoolingParameter"](pool=self.message.spp_param.pool)
        param.kernel_h, param.kernel_w = param.stride_h, param.stride_w = kernel
        param.pad_h, param.pad_w = pad
        pool = Pooling(SCHEMA["LayerParameter"](name=self.name, pooling_param=param))
        pool.setup(x)
        pool.bottom_shapes, pool.top_shapes = [x], pool.infer(x)
        return pool

    def infer(self, *bottoms: Shape) -> list[Shape]:
        if len(self.pools) == 1:
            return self.pools[0].top_shapes
        return [(bottoms[0][0], sum(self._sizes()))]

    def _sizes(self) -> list[int]:
        return [prod(pool.top_shapes[0][1:]) for pool in self.pools]

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        if len(self.pools) == 1:
            return self.pools[0].forward(x)
        tops = (cast(Tensor, pool.forward(x)) for pool in self.pools)  # none has a mask
        return torch.cat([top.flatten(1) for top in tops], 1)

    def pull_back(self, mask: Mask, top: int, bottom: int) -> Mask:
        values = np.broadcast_to(mask, self.top_shapes[0][1:]).ravel()
        parts = np.split(values, np.cumsum(self._sizes())[:-1])
        masks = [
            pool.pull_back(part.reshape(pool.top_shapes[0][1:]), 0, 0)
            for pool, part in zip(self.pools, parts, strict=True)
        ]
        return reduce(np.logical_or, masks)

    @property
    def local(self) -> bool:
        return False


def _windows(span: int, stride: int, round_up: bool) -> int:
    """How many start within `span` steps."""
    return (-(-span // stride) if round_up else span // stride) + 1


def _pads_so(size: int, kernel: int, stride: int, pad: int, count: int, round_up: bool) -> bool:
    """Whether PyTorch makes `count` windows along an axis, each with a value in it."""
    made = _windows(size + 2 * pad - kernel, stride, round_up)
    return 0 <= 2 * pad <= kernel and count == made and (made - 1) * stride - pad < size


def _padded(x: Tensor, edges: Sequence[int], value: float) -> Tensor:
    return F.pad(x, list(edges), value=value) if any(edges) else x
