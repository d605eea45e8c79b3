"""Layers that multiply with weights: convolutions and the inner product."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from copy import copy
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from cnnpref.geometry import (
    Box,
    Grouped,
    Mask,
    Nothing,
    Reach,
    Shape,
    Transposed,
    Whole,
    Window,
    spans,
)
from cnnpref.nets.caffe.layers.base import (
    Blob,
    Layer,
    Patch,
    canonical_axis,
    collapsed,
    holes_of,
    layer,
    pair,
    require,
)
from cnnpref.nets.caffe.layers.head import ConvolutionHead, Head, InnerProductHead
from cnnpref.nets.caffe.layers.strided import strided, suits
from cnnpref.nets.kernels import fast, linear


class _Kernel(Layer):
    """What Convolution and Deconvolution share: kernel, stride, pad, dilation, groups, bias."""

    keeps_top = False
    _apply: Callable[..., Tensor]  # one bottom -> its top
    _size: Callable[..., int]  # of a bottom's axis and its window -> of the top's
    _last: tuple[object, Tensor] | None = None  # the kernel with its channels last; which it is of

    def setup(self, *shapes: Shape) -> list[Blob]:
        param, x = self.message.convolution_param, shapes[0]
        require(canonical_axis(param.axis, len(x)) == 1, "only the channel axis 1 is supported")
        require(all(s[1:] == x[1:] for s in shapes), f"bottoms of different shapes {shapes}")
        self.ndim = len(x) - 2
        self.kernel = self._per_axis("kernel_size", None)
        self.stride = self._per_axis("stride", 1)
        self.pad = self._per_axis("pad", 0)
        self.dilation = self._dilation()
        self.group, outputs = self._groups(x[1]), param.num_output
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

    def _dilation(self) -> tuple[int, ...]:
        param = self.message.convolution_param
        if holes := holes_of(param):
            require(self.ndim == 2, "hole is for 2-D layers")
            return holes
        return self._spread(list(param.dilation) or [1], "dilation")

    def _groups(self, channels: int) -> int:
        """How many groups of a bottom's channels are treated apart from each other."""
        return int(self.message.convolution_param.group)

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

    def _laid_out(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """A bottom and the kernel as the kernels want them; channels last is fastest (measured)."""
        weight = self.weights[0]
        if self.ndim != 2 or not fast():
            return x, weight
        x, version = x.contiguous(memory_format=torch.channels_last), weight._version
        if x.is_cuda and torch.cuda.is_current_stream_capturing():
            # what is recorded reads the weight itself, which may change between replays
            return x, weight.contiguous(memory_format=torch.channels_last)
        if self._last is None or self._last[0] != (weight.data_ptr(), version):
            laid_out = weight.contiguous(memory_format=torch.channels_last)
            self._last = (weight.data_ptr(), version), laid_out
        return x, self._last[1]

    def _bias(self) -> Tensor | None:
        return self.weights[1] if len(self.weights) > 1 else None

    def _window(self, axis: int) -> Window:
        return Window(self.kernel[axis], self.stride[axis], self.pad[axis], self.dilation[axis])

    def _along(self, axis: int, top: int, bottom: int, space: Callable[[int], Reach]) -> Reach:
        if top != bottom:  # each bottom has a top of its own
            return Nothing()
        if axis == 1:
            return Grouped(self.group) if self.group > 1 else Whole()
        return space(axis - 2)

    @property
    def local(self) -> bool:
        return self.over_maps

    def infer(self, *bottoms: Shape) -> list[Shape]:
        bottom = bottoms[0][2:]
        sizes = [self._size(size, self._window(axis)) for axis, size in enumerate(bottom)]
        kernel, size = (" x ".join(map(str, each)) for each in (self.kernel, bottom))
        require(min(sizes, default=1) > 0, f"a kernel of {kernel} does not fit a map of {size}")
        top = bottoms[0][0], self.message.convolution_param.num_output, *sizes
        return [top for _ in bottoms]

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return tuple(self._apply(x) for x in bottoms)


@layer("Convolution", most=math.inf)
@layer(
    "DepthwiseConvolution", most=math.inf, fork=True
)  # says its `group`; another way to compute it
class Convolution(_Kernel):
    """Correlation with zero padding; sizes round down."""

    @staticmethod
    def _size(size: int, window: Window) -> int:
        return (size + 2 * window.pad - window.extent) // window.stride + 1

    def _apply(self, x: Tensor) -> Tensor:
        return self._correlate(x, self.pad)

    def _correlate(self, x: Tensor, pad: Sequence[int]) -> Tensor:
        if fast() and self.group == 1 and not any(pad) and tuple(x.shape[2:]) == self.kernel:
            # one position: convolutions sum it in another order for few images than for many
            top = linear(x.flatten(1), self.weights[0].flatten(1), self._bias())
            return top.reshape(*top.shape, *(1,) * self.ndim)
        if fast() and self.ndim == 2 and suits(x, self.stride, self.dilation, self.group):
            return strided(*self._laid_out(x), self._bias(), self.stride[0], (pad[0], pad[1]))
        convolve: Callable[..., Tensor] = (F.conv1d, F.conv2d, F.conv3d)[self.ndim - 1]
        geometry = (self.stride, pad, self.dilation, self.group)
        return convolve(*self._laid_out(x), self._bias(), *geometry)

    def unit_weights(self) -> list[Tensor]:
        return list(self.weights[0].flatten(1).chunk(self.group))

    def of_channels(self, first: int, last: int) -> Convolution:
        """The part of the sum that is over some channels of the bottom; with the bias if first."""
        part = copy(self)
        part.weights = [self.weights[0][:, first:last], *([] if first else self.weights[1:])]
        part._last = None
        return part

    def head(self, channels: Tensor) -> Head:
        per_group = self.message.convolution_param.num_output // self.group
        bias = self._bias()
        return ConvolutionHead(
            self.weights[0][channels],
            None if bias is None else bias[channels],
            torch.div(channels, per_group, rounding_mode="floor"),
            self.group,
            (self.stride[0], self.stride[1]),
            (self.dilation[0], self.dilation[1]),
        )

    def forward_patch(self, patch: Patch, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return tuple(
            self._correlate(x, (rows[0], columns[0]))
            if rows[0] == rows[1] and columns[0] == columns[1]
            else self._correlate(F.pad(x, (*columns, *rows)), (0, 0))
            for x, (rows, columns) in zip(bottoms, patch.edges, strict=True)
        )

    def reach(self, axis: int, top: int, bottom: int) -> Reach:
        return self._along(axis, top, bottom, self._window)


@layer("ConvolutionDepthwise", most=math.inf, fork=True)
class ConvolutionDepthwise(Convolution):
    """A convolution of each channel by itself, whatever its `group` says (ShuffleNet)."""

    def _groups(self, channels: int) -> int:
        return channels


@layer("Deconvolution", most=math.inf)
class Deconvolution(_Kernel):
    """The transpose of a convolution; weights are [in, out / group, kh, kw]."""

    @staticmethod
    def _size(size: int, window: Window) -> int:
        return window.stride * (size - 1) + window.extent - 2 * window.pad

    def _weight_shape(self, inputs: int, outputs: int) -> Shape:
        return (inputs, outputs // self.group, *self.kernel)

    def _apply(self, x: Tensor) -> Tensor:
        convolve: Callable[..., Tensor] = (
            F.conv_transpose1d,
            F.conv_transpose2d,
            F.conv_transpose3d,
        )[self.ndim - 1]
        geometry = (self.stride, self.pad, 0, self.group, self.dilation)
        return convolve(*self._laid_out(x), self._bias(), *geometry)

    def forward_patch(self, patch: Patch, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return tuple(
            self._spread_patch(x, patch.box, need)
            for x, need in zip(bottoms, patch.needs, strict=True)
        )

    def _spread_patch(self, x: Tensor, box: Box, need: Box) -> Tensor:
        (x, weight), zero = self._laid_out(x), (0, 0)
        spread = F.conv_transpose2d(
            x, weight, None, self.stride, zero, zero, self.group, self.dilation
        )
        edges: list[int] = []
        for axis in (1, 0):  # columns first, as F.pad has them
            (first, last), start, size = spans(box)[axis], need[axis], spread.shape[2 + axis]
            before = start * self.stride[axis] - self.pad[axis] - first  # negative: cut off
            edges += [before, last - first - before - size]
        top, bias = F.pad(spread, edges), self._bias()
        return top if bias is None else top + bias[:, None, None]

    def reach(self, axis: int, top: int, bottom: int) -> Reach:
        return self._along(axis, top, bottom, lambda i: Transposed(self._window(i)))


@layer("InnerProduct")
class InnerProduct(Layer):
    """Fully connected: the axes from `axis` on are flattened and multiplied with the weights."""

    keeps_top = False

    def setup(self, x: Shape) -> list[Blob]:
        param = self.message.inner_product_param
        require(param.num_output > 0, "num_output must be given")
        self.axis, self.transpose = canonical_axis(param.axis, len(x)), param.transpose
        inputs, outputs = prod(x[self.axis :]), param.num_output
        shape = (inputs, outputs) if self.transpose else (outputs, inputs)
        weight = Blob(shape, param.weight_filler)
        return [weight] + ([Blob((outputs,), param.bias_filler)] if param.bias_term else [])

    def infer(self, *bottoms: Shape) -> list[Shape]:
        return [(*bottoms[0][: self.axis], self.message.inner_product_param.num_output)]

    def unit_weights(self) -> list[Tensor]:
        return [self.weights[0].T if self.transpose else self.weights[0]]

    def forward(self, x: Tensor) -> Tensor:
        (weight,) = self.unit_weights()
        bias = self.weights[1] if len(self.weights) > 1 else None
        return linear(x.flatten(self.axis), weight, bias)

    def head(self, channels: Tensor) -> Head | None:
        if self.axis != 1:
            return None
        (weight,) = self.unit_weights()
        bias = self.weights[1][channels] if len(self.weights) > 1 else None
        return InnerProductHead(weight[channels], bias)

    def pull_back(self, mask: Mask, top: int, bottom: int) -> Mask:
        return collapsed(mask, self.axis, len(self.bottom_shapes[0]))
