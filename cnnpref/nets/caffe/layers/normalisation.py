"""Layers that normalise values by others: neighbours, a batch's statistics, a sum."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cnnpref.geometry import Reach, Same, Shape, Whole, Window, relative
from cnnpref.nets.caffe.layers.base import (
    Blob,
    Patch,
    SameShape,
    UnsupportedError,
    canonical_axis,
    layer,
    require,
    scalar,
)
from cnnpref.nets.caffe.layers.lrn import Constants, across_channels
from cnnpref.nets.kernels import fast


@layer("LRN")
class LRN(SameShape):
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
        if fast() and not self.within:
            return across_channels(x, Constants(self.size, self.alpha, self.beta, self.k))
        square = x * x
        half = self.size // 2
        if self.within:
            return self._scaled(x, F.avg_pool2d(square, self.size, 1, half))
        padded = F.pad(square, (0, 0, 0, 0, half, half))
        windows = (padded[:, i : i + x.shape[1]] for i in range(self.size))
        return self._scaled(x, sum(windows, torch.zeros((), device=x.device)) / self.size)

    def _scaled(self, x: Tensor, mean: Tensor) -> Tensor:
        return x * (self.k + self.alpha * mean) ** -self.beta

    @property
    def local(self) -> bool:
        return True

    def forward_patch(self, patch: Patch, *bottoms: Tensor) -> Tensor:
        if not self.within:
            return self.forward(*bottoms)
        (x,), ((rows, columns),), (need,) = bottoms, patch.edges, patch.needs
        mean = F.avg_pool2d(F.pad(x * x, (*columns, *rows)), self.size, 1)
        top, left, _, _ = relative(patch.box, need)
        inner = x[:, :, top : top + mean.shape[2], left : left + mean.shape[3]]
        return self._scaled(inner, mean)

    def reach(self, axis: int, top: int, bottom: int) -> Reach:
        inside = axis > 1 if self.within else axis == 1
        return Window(self.size, 1, self.size // 2) if inside else Same()


@layer("BatchNorm")
class BatchNorm(SameShape):
    """(x - mean) / sqrt(variance + eps), with the stored statistics, or each image's own.

    Told to take a batch's statistics, Caffe takes those of the images that are there: of the one,
    in a batch of 1.
    """

    keeps_top = False

    def setup(self, x: Shape) -> list[Blob]:
        param = self.message.batch_norm_param
        self.stored = param.use_global_stats or not param.HasField("use_global_stats")
        self.eps = param.eps
        channels = 1 if len(x) == 1 else x[1]
        return [Blob((channels,)), Blob((channels,)), Blob((1,))]

    def forward(self, x: Tensor) -> Tensor:
        if not self.stored:
            return _normalised(x.reshape(*x.shape[:2], -1), (-1,), self.eps).reshape(x.shape)
        mean, variance, total = self.weights
        factor = torch.where(total == 0, 0, 1 / scalar(total))
        shape = (-1, *(1,) * (x.ndim - 2))
        mean, variance = (mean * factor).reshape(shape), (variance * factor).reshape(shape)
        return (x - mean) / torch.sqrt(variance + self.eps)

    def reach(self, axis: int, top: int, bottom: int) -> Reach:
        return Whole() if axis > 1 and not self.stored else Same()


@layer("BN", fork=True)
class BN(SameShape):
    """Batch normalisation with its scale and shift in one, of two families of forks.

    TSN and PSPNet: blobs slope, bias, mean and variance, (x - mean) / sqrt(variance + eps) * slope
    + bias. SegNet, ENet and DeconvNet: blobs scale and shift, into which the statistics are merged
    for `bn_mode: INFERENCE`, x * scale + shift; otherwise x is normalised by its image's own.
    """

    keeps_top = False

    def setup(self, x: Shape) -> list[Blob]:
        param = self.message.bn_param
        given = {field.name for field, _ in param.ListFields()}
        self.stored = bool(given & {"slope_filler", "bias_filler", "momentum", "eps", "frozen"})
        self.merged = param.bn_mode == param.INFERENCE
        if self.stored == ("bn_mode" in given):
            raise UnsupportedError(
                "its bn_param does not tell which fork of Caffe it is of: add bn_mode: INFERENCE "
                "for SegNet's, ENet's and DeconvNet's with blobs scale and shift, frozen: true for "
                "PSPNet's and TSN's with blobs slope, bias, mean and variance"
            )
        self.eps = param.eps if self.stored else 1e-9
        channels = (1, x[1], 1, 1)
        if self.stored:
            factors = [Blob(channels, param.slope_filler), Blob(channels, param.bias_filler)]
            return [*factors, Blob(channels), Blob(channels, default=float(param.frozen))]
        return [Blob(channels, param.scale_filler), Blob(channels, param.shift_filler)]

    def forward(self, x: Tensor) -> Tensor:
        scale, shift, *statistics = (w.reshape(-1, *(1,) * (x.ndim - 2)) for w in self.weights)
        if self.stored:
            mean, variance = statistics
            x = (x - mean) / torch.sqrt(variance + self.eps)
        elif not self.merged:
            x = _normalised(x, tuple(range(2, x.ndim)), self.eps)
        return x * scale + shift

    def reach(self, axis: int, top: int, bottom: int) -> Reach:
        return Same() if self.stored or self.merged or axis == 1 else Whole()


def _normalised(x: Tensor, axes: tuple[int, ...], eps: float) -> Tensor:
    centred = x - x.mean(axes, keepdim=True)
    return centred / torch.sqrt(centred.square().mean(axes, keepdim=True) + eps)


@layer("Normalize", fork=True)
class Normalize(SameShape):
    """x / sqrt(sum of squares + eps) * scale, the sum over channels or over a whole image (SSD)."""

    def setup(self, x: Shape) -> list[Blob]:
        param = self.message.norm_param
        self.axes = tuple(range(1, len(x))) if param.across_spatial else (1,)
        self.eps = param.eps
        filler = param.scale_filler if param.HasField("scale_filler") else None
        return [Blob(() if param.channel_shared else (x[1],), filler, 1.0)]

    def forward(self, x: Tensor) -> Tensor:
        norm = torch.sqrt(x.square().sum(self.axes, keepdim=True) + self.eps)
        return x / norm * self.weights[0].reshape(-1, *(1,) * (x.ndim - 2))

    def reach(self, axis: int, top: int, bottom: int) -> Reach:
        return Whole() if axis in self.axes else Same()


@layer("MVN")
class MVN(SameShape):
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

    def reach(self, axis: int, top: int, bottom: int) -> Reach:
        return Whole() if axis in self.axes else Same()


@layer("Softmax")
class Softmax(SameShape):
    """exp(x), divided by its sum over an axis."""

    def setup(self, x: Shape) -> list[Blob]:
        self.axis = canonical_axis(self.message.softmax_param.axis, len(x))
        return []

    def forward(self, x: Tensor) -> Tensor:
        return F.softmax(x, self.axis)

    def reach(self, axis: int, top: int, bottom: int) -> Reach:
        return Whole() if axis == self.axis else Same()
