"""Layers over space and channels: convolutions, pooling, normalisation, inner product.

Sizes, padding and divisors are Caffe's, which differ from PyTorch's: pooling rounds up and clips
its last window only when there is padding; what an average divides by counts the padding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from cnnpref.geometry import Reach, Same, Transposed, Whole, Window
from cnnpref.nets.caffe.layer import Blob, Layer, Shape, canonical_axis, layer, pair, require
from cnnpref.nets.kernels import linear

_LOWEST = torch.finfo(torch.float32).min  # Caffe's start value of a maximum: -FLT_MAX


class _Kernel(Layer):
    """What Convolution and Deconvolution share: kernel, stride, pad, dilation, groups, bias."""

    _apply: Callable[..., Tensor]  # one bottom -> its top

    def setup(self, *shapes: Shape) -> list[Blob]:
        param, x = self.message.convolution_param, shapes[0]
        require(canonical_axis(param.axis, len(x)) == 1, "only the channel axis 1 is supported")
        require(all(s[1:] == x[1:] for s in shapes), f"bottoms of different shapes {shapes}")
        self.ndim = len(x) - 2
        self.kernel = self._per_axis("kernel_size", None)
        self.stride = self._per_axis("stride", 1)
        self.pad = self._per_axis("pad", 0)
        self.dilation = self._spread(list(param.dilation) or [1], "dilation")
        self.group, outputs = param.group, param.num_output
        for name in ("kernel", "stride", "dilation"):
            require(min(getattr(self, name)) > 0, f"{name} must be positive")
        require(self.group > 0, "group must be positive")
        require(outputs > 0, "num_output must be given")
        require(x[1] % self.group == 0, f"group {self.group} does not divide {x[1]} input channels")
        require(
            outputs % self.group == 0, f"group {self.group} does not divide num_output {outputs}"
        )
        weight = Blob(self._weight_shape(x[1], outputs), param.weight_filler)
        return [weight] + ([Blob((outputs,), param.bias_filler)] if param.bias_term else [])

    def _per_axis(self, name: str, default: int | None) -> tuple[int, ...]:
        param = self.message.convolution_param
        if self.ndim == 2:
            return pair(param, name, default)
        values = list(getattr(param, name)) or ([] if default is None else [default])
        return self._spread(values, name)

    def _spread(self, values: list[int], name: str) -> tuple[int, ...]:
        require(
            len(values) in (1, self.ndim), f"{name} needs 1 or {self.ndim} values, got {values}"
        )
        return tuple(values * self.ndim if len(values) == 1 else values)

    def _weight_shape(self, inputs: int, outputs: int) -> Shape:
        return (outputs, inputs // self.group, *self.kernel)

    def _bias(self) -> Tensor | None:
        return self.weights[1] if len(self.weights) > 1 else None

    def _window(self, axis: int) -> Window:
        return Window(self.kernel[axis], self.stride[axis], self.pad[axis], self.dilation[axis])

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return tuple(self._apply(x) for x in bottoms)


@layer("Convolution", most=math.inf)
class Convolution(_Kernel):
    """Correlation with zero padding; sizes round down."""

    def _apply(self, x: Tensor) -> Tensor:
        convolve = (F.conv1d, F.conv2d, F.conv3d)[self.ndim - 1]
        geometry = (self.stride, self.pad, self.dilation, self.group)
        return convolve(x, self.weights[0], self._bias(), *geometry)

    def reach(self, bottom: int, bottoms: Sequence[Shape], top: Shape, axis: int) -> Reach:
        return self._window(axis)


@layer("Deconvolution", most=math.inf)
class Deconvolution(_Kernel):
    """The transpose of a convolution; weights are [in, out / group, kh, kw]."""

    def _weight_shape(self, inputs: int, outputs: int) -> Shape:
        return (inputs, outputs // self.group, *self.kernel)

    def _apply(self, x: Tensor) -> Tensor:
        convolve = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[self.ndim - 1]
        geometry = (self.stride, self.pad, 0, self.group, self.dilation)
        return convolve(x, self.weights[0], self._bias(), *geometry)

    def reach(self, bottom: int, bottoms: Sequence[Shape], top: Shape, axis: int) -> Reach:
        return Transposed(self._window(axis))


@layer("Pooling")
class Pooling(Layer):
    """MAX or AVE over windows; a second top of MAX holds the flat index of each maximum."""

    def setup(self, x: Shape) -> list[Blob]:
        param = self.message.pooling_param
        require(len(x) == 4, f"pooling needs a blob of 4 axes, got {x}")
        self.method = param.PoolMethod.Name(param.pool)
        require(
            self.method != "STOCHASTIC", "STOCHASTIC pooling is not defined in phase TEST on CPU"
        )
        self.is_global = param.global_pooling
        self.round_up = param.round_mode == param.CEIL
        self.stride, self.pad = pair(param, "stride"), pair(param, "pad")
        require(min(self.stride) > 0, "stride must be positive")
        require(not self.is_global or self.stride == (1, 1), "global_pooling needs stride 1")
        require(not self.is_global or self.pad == (0, 0), "global_pooling needs pad 0")
        self.window = (0, 0) if self.is_global else pair(param, "kernel_size")
        for pad, kernel in zip(self.pad, self._kernel(x), strict=True):
            require(kernel > 0, "kernel_size must be given and positive")
            require(pad < kernel, f"pad {pad} must be smaller than the kernel {kernel}")
        self.has_mask = len(self.message.top) > 1
        return []

    def _kernel(self, shape: Sequence[int]) -> tuple[int, int]:
        return (shape[-2], shape[-1]) if self.is_global else self.window

    def _size(self, size: int, kernel: int, stride: int, pad: int) -> int:
        """Number of windows along an axis."""
        span = size + 2 * pad - kernel
        windows = (-(-span // stride) if self.round_up else span // stride) + 1
        if any(self.pad) and (windows - 1) * stride >= size + pad:
            windows -= 1
        return windows

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        kernel = self._kernel(x.shape)
        axes = list(zip(x.shape[2:], kernel, self.stride, self.pad, strict=True))
        sizes = [self._size(*axis) for axis in axes]
        # what must follow the last row and column for exactly these windows; can be negative
        after = [(n - 1) * s + k - size - p for n, (size, k, s, p) in zip(sizes, axes, strict=True)]
        if self.method == "MAX":
            return self._max(x, kernel, after)
        return self._average(x, kernel, after) / self._divisor(x, axes, sizes)

    def _padded(self, x: Tensor, after: Sequence[int], value: float) -> Tensor:
        edges = [self.pad[1], after[1], self.pad[0], after[0]]
        return F.pad(x, edges, value=value) if any(edges) else x

    def _max(self, x: Tensor, kernel: Shape, after: Sequence[int]) -> Tensor | tuple[Tensor, ...]:
        padded = self._padded(x, after, _LOWEST)
        if not self.has_mask:
            return F.max_pool2d(padded, kernel, self.stride)
        top, flat = F.max_pool2d(padded, kernel, self.stride, return_indices=True)
        row = torch.div(flat, padded.shape[-1], rounding_mode="floor") - self.pad[0]
        column = flat % padded.shape[-1] - self.pad[1]
        return top, (row * x.shape[-1] + column).to(x.dtype)

    def _average(self, x: Tensor, kernel: Shape, after: Sequence[int]) -> Tensor:
        padded = self._padded(x, after, 0.0)
        return F.avg_pool2d(padded, kernel, self.stride, divisor_override=1)

    def _divisor(self, x: Tensor, axes: Sequence[Shape], sizes: Sequence[int]) -> Tensor:
        """(out_h, out_w): size of each window inside the padded input, <= 0 for an empty one."""
        extents = []
        for windows, (size, kernel, stride, pad) in zip(sizes, axes, strict=True):
            start = torch.arange(windows, device=x.device) * stride - pad
            extents.append(((start + kernel).clamp(max=size + pad) - start).to(x.dtype))
        return extents[0][:, None] * extents[1]

    def reach(self, bottom: int, bottoms: Sequence[Shape], top: Shape, axis: int) -> Reach:
        return Window(self._kernel(bottoms[0])[axis], self.stride[axis], self.pad[axis])


@layer("LRN")
class LRN(Layer):
    """Local response normalisation: x * (k + alpha / n * sum of x**2 over n neighbours) ** -beta.

    The neighbours are channels, or (WITHIN_CHANNEL, n * n of them and k = 1) pixels.
    """

    def setup(self, x: Shape) -> list[Blob]:
        param = self.message.lrn_param
        self.size, self.alpha, self.beta = param.local_size, param.alpha, param.beta
        self.within = param.norm_region == param.WITHIN_CHANNEL
        self.k = 1.0 if self.within else param.k
        require(self.size % 2 == 1, f"local_size must be odd, got {self.size}")
        require(len(x) == 4, f"LRN needs a blob of 4 axes, got {x}")
        return []

    def forward(self, x: Tensor) -> Tensor:
        square = x * x
        half = self.size // 2
        if self.within:
            mean = F.avg_pool2d(square, self.size, 1, half)
        else:
            padded = F.pad(square, (0, 0, 0, 0, half, half))
            windows = (padded[:, i : i + x.shape[1]] for i in range(self.size))
            mean = sum(windows, torch.zeros((), device=x.device)) / self.size
        return x * (self.k + self.alpha * mean) ** -self.beta

    def reach(self, bottom: int, bottoms: Sequence[Shape], top: Shape, axis: int) -> Reach:
        return Window(self.size, 1, self.size // 2) if self.within else Same()


@layer("InnerProduct")
class InnerProduct(Layer):
    """Fully connected: the axes from `axis` on are flattened and multiplied with the weights."""

    def setup(self, x: Shape) -> list[Blob]:
        param = self.message.inner_product_param
        require(param.num_output > 0, "num_output must be given")
        self.axis, self.transpose = canonical_axis(param.axis, len(x)), param.transpose
        inputs, outputs = prod(x[self.axis :]), param.num_output
        shape = (inputs, outputs) if self.transpose else (outputs, inputs)
        weight = Blob(shape, param.weight_filler)
        return [weight] + ([Blob((outputs,), param.bias_filler)] if param.bias_term else [])

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weights[0].T if self.transpose else self.weights[0]
        bias = self.weights[1] if len(self.weights) > 1 else None
        return linear(x.flatten(self.axis), weight, bias)

    def reach(self, bottom: int, bottoms: Sequence[Shape], top: Shape, axis: int) -> Reach:
        return Whole() if self.axis <= len(bottoms[0]) + axis else Same()


@layer("MVN")
class MVN(Layer):
    """Subtract the mean, divide by the standard deviation + eps, per channel or per image."""

    def setup(self, x: Shape) -> list[Blob]:
        param = self.message.mvn_param
        self.variance, self.eps = param.normalize_variance, param.eps
        self.axes = tuple(range(1 if param.across_channels else 2, len(x)))
        return []

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(self.axes, keepdim=True)
        if not self.variance:
            return centred
        deviation = centred.square().mean(self.axes, keepdim=True).sqrt()
        return centred / (deviation + self.eps)

    def reach(self, bottom: int, bottoms: Sequence[Shape], top: Shape, axis: int) -> Reach:
        return Whole()


@layer("Softmax")
class Softmax(Layer):
    """exp(x), divided by its sum over an axis."""

    def setup(self, x: Shape) -> list[Blob]:
        self.axis = canonical_axis(self.message.softmax_param.axis, len(x))
        return []

    def forward(self, x: Tensor) -> Tensor:
        return F.softmax(x, self.axis)

    def reach(self, bottom: int, bottoms: Sequence[Shape], top: Shape, axis: int) -> Reach:
        return Whole() if self.axis == len(top) + axis else Same()
