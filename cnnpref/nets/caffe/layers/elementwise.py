"""Layers that treat every value alone, and those with a weight per channel.

At kinks the gradient is Caffe's convention: ReLU and PReLU at 0 have the negative slope, ELU its
alpha, AbsVal 0, Clip 1 at its bounds.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from cnnpref.geometry import Mask, Shape, anywhere
from cnnpref.nets.caffe.files.schema import Message
from cnnpref.nets.caffe.layers.base import Blob, SameShape, canonical_axis, layer, require


@layer("Dropout")
class Dropout(SameShape):
    """In phase TEST: x; or x (1 - ratio), if training did not scale what it let pass."""

    def setup(self, x: Shape) -> list[Blob]:
        param = self.message.dropout_param
        self.kept = 1.0 if param.scale_train else 1 - param.dropout_ratio
        return []

    def forward(self, x: Tensor) -> Tensor:
        return x if self.kept == 1 else self.kept * x


@layer("ReLU")
class ReLU(SameShape):
    """max(x, 0), or negative_slope * x below 0."""

    def setup(self, x: Shape) -> list[Blob]:
        self.slope = self.message.relu_param.negative_slope
        self.is_relu = not self.slope
        return []

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x, self.slope) if self.slope else F.relu(x)

    def overwrite(self, x: Tensor) -> Tensor:
        if self.slope < 0:
            return self.forward(x)
        return F.leaky_relu_(x, self.slope) if self.slope else F.relu_(x)


@layer("ReLU6", fork=True)
class ReLU6(SameShape):
    """x, at least 0 and at most 6 (MobileNet)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu6(x)


@layer("PReLU")
class PReLU(SameShape):
    """ReLU with a learned slope, per channel or shared."""

    def setup(self, x: Shape) -> list[Blob]:
        param = self.message.prelu_param
        shape = () if param.channel_shared else (x[1],)
        filler = param.filler if param.HasField("filler") else None
        return [Blob(shape, filler, 0.25)]

    def forward(self, x: Tensor) -> Tensor:
        return F.prelu(x, self.weights[0].reshape(-1))


@layer("ELU")
class ELU(SameShape):
    """x above 0, alpha * (exp(x) - 1) below."""

    def setup(self, x: Shape) -> list[Blob]:
        self.alpha = self.message.elu_param.alpha
        return []

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, x, self.alpha * torch.expm1(x.clamp(max=0)))


@layer("Sigmoid")
class Sigmoid(SameShape):
    """1 / (1 + exp(-x))."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(x)


@layer("TanH")
class TanH(SameShape):
    """The hyperbolic tangent."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x)


@layer("AbsVal")
class AbsVal(SameShape):
    """|x|."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.abs(x)


@layer("BNLL")
class BNLL(SameShape):
    """log(1 + exp(x))."""

    def forward(self, x: Tensor) -> Tensor:
        return F.softplus(x, threshold=50)


@layer("Swish")
class Swish(SameShape):
    """x * sigmoid(beta * x)."""

    def setup(self, x: Shape) -> list[Blob]:
        self.beta = self.message.swish_param.beta
        return []

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.beta * x)


@layer("Clip")
class Clip(SameShape):
    """x, at least min and at most max."""

    def setup(self, x: Shape) -> list[Blob]:
        self.low, self.high = self.message.clip_param.min, self.message.clip_param.max
        return []

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(self.low, self.high)


@layer("Threshold")
class Threshold(SameShape):
    """1 strictly above the threshold, else 0; no gradient."""

    def setup(self, x: Shape) -> list[Blob]:
        self.threshold = self.message.threshold_param.threshold
        return []

    def forward(self, x: Tensor) -> Tensor:
        return (x > self.threshold).to(x.dtype)


@layer("Power")
class Power(SameShape):
    """(shift + scale * x) ** power; a constant when scale or power is 0."""

    def setup(self, x: Shape) -> list[Blob]:
        param = self.message.power_param
        self.power, self.scale, self.shift = param.power, param.scale, param.shift
        return []

    def forward(self, x: Tensor) -> Tensor:
        if self.scale == 0 or self.power == 0:
            return torch.full_like(x, self.shift).pow(self.power)
        inner = self.scale * x + self.shift
        return inner if self.power == 1 else _PowerFunction.apply(inner, self.power)


class _PowerFunction(torch.autograd.Function):
    """inner ** power with Caffe's gradient, power * y / inner: not a number where inner is 0."""

    @staticmethod
    def forward(ctx, inner: Tensor, power: float) -> Tensor:  # type: ignore[no-untyped-def]
        y = inner**power
        ctx.save_for_backward(inner, y)
        ctx.power = power
        return y

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def]
        inner, y = ctx.saved_tensors
        return grad * (2 * inner if ctx.power == 2 else ctx.power * y / inner), None


def _log_base(base: float) -> float:
    require(base == -1 or base > 0, f"base {base} must be positive, or -1 for e")
    return 1.0 if base == -1 else math.log(base)


@layer("Exp")
class Exp(SameShape):
    """base ** (shift + scale * x), base e by default."""

    def setup(self, x: Shape) -> list[Blob]:
        param = self.message.exp_param
        log_base = _log_base(param.base)
        self.scale, self.shift = log_base * param.scale, log_base * param.shift
        return []

    def forward(self, x: Tensor) -> Tensor:
        return torch.exp(self.scale * x + self.shift)


@layer("Log")
class Log(SameShape):
    """log(shift + scale * x), to base e by default."""

    def setup(self, x: Shape) -> list[Blob]:
        param = self.message.log_param
        self.scale, self.shift = param.scale, param.shift
        self.factor = 1 / _log_base(param.base)
        return []

    def forward(self, x: Tensor) -> Tensor:
        return torch.log(self.scale * x + self.shift) * self.factor


def _axes_from(x: Shape, axis: int, num_axes: int) -> tuple[int, Shape]:
    """First axis and shape of a weight that covers `num_axes` (-1: all) axes of x from `axis`."""
    start = canonical_axis(axis, len(x))
    end = len(x) if num_axes == -1 else start + num_axes
    require(end <= len(x), f"num_axes {num_axes} from axis {axis} reaches past the blob's {len(x)}")
    return start, x[start:end]


def _broadcast(weight: Tensor, x: Tensor, start: int) -> Tensor:
    """Align `weight` with the axes of x from `start` on."""
    return weight.reshape(weight.shape + (1,) * (x.ndim - start - weight.ndim))


class _PerAxis(SameShape):
    """Scale and Bias: the second operand is a weight, or a second bottom."""

    keeps_top = False

    def _operand(self, param: Message, default: float, *shapes: Shape) -> list[Blob]:
        x = shapes[0]
        if len(shapes) == 2:
            self.start = 0 if not shapes[1] else canonical_axis(param.axis, len(x))
            covered = x[self.start : self.start + len(shapes[1])]
            require(
                covered == shapes[1], f"bottoms {x} and {shapes[1]} do not match at {self.start}"
            )
            return []
        self.start, shape = _axes_from(x, param.axis, param.num_axes)
        return [Blob(shape, param.filler if param.HasField("filler") else None, default)]

    def pull_back(self, mask: Mask, top: int, bottom: int) -> Mask:
        if bottom == 0:
            return mask
        before, covered = self.start - 1, len(self.bottom_shapes[1])  # without the batch
        over = [a for a in range(mask.ndim) if not before <= a < before + covered]
        return anywhere(mask, tuple(over))

    @property
    def local(self) -> bool:
        return self.over_maps and bool(self.weights) and self.start + self.weights[0].ndim <= 2

    def why_mixed(self) -> str:
        along = self.weights and self.start == 0 and self.weights[0].shape[:1] > (1,)
        return "its weights differ from image to image" if along else ""

    def _second(self, x: Tensor, bottoms: tuple[Tensor, ...]) -> Tensor:
        return _broadcast(bottoms[0] if bottoms else self.weights[0], x, self.start)


@layer("Scale", most=2)
class Scale(_PerAxis):
    """x * weight (+ bias), along the axes that the weight covers."""

    def setup(self, *shapes: Shape) -> list[Blob]:
        param = self.message.scale_param
        blobs = self._operand(param, 1.0, *shapes)
        covered = blobs[0].shape if blobs else shapes[1]
        self.bias = param.bias_term
        return blobs + ([Blob(covered, param.bias_filler)] if self.bias else [])

    def forward(self, x: Tensor, *bottoms: Tensor) -> Tensor:
        y = x * self._second(x, bottoms)
        return y + _broadcast(self.weights[-1], x, self.start) if self.bias else y


@layer("Bias", most=2)
class Bias(_PerAxis):
    """x + bias, along the axes that the bias covers."""

    def setup(self, *shapes: Shape) -> list[Blob]:
        return self._operand(self.message.bias_param, 0.0, *shapes)

    def forward(self, x: Tensor, *bottoms: Tensor) -> Tensor:
        return x + self._second(x, bottoms)
