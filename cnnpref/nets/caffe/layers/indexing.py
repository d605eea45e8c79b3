"""Layers that copy values to places which a parameter or another blob names."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cnnpref.geometry import Mask, Shape, anywhere
from cnnpref.nets.caffe.layers.base import Blob, Layer, holes_of, layer, pair, require


@layer("Im2col")
class Im2col(Layer):
    """What a convolution multiplies with its kernel: a channel for each tap, (N, C kh kw, h, w)."""

    def setup(self, x: Shape) -> list[Blob]:
        param = self.message.convolution_param
        require(len(x) == 4 and param.axis in (1, -3), f"needs a blob of 4 axes, got {x}")
        dilation = holes_of(param) or tuple(param.dilation) or (1,)
        self.kernel = pair(param, "kernel_size")
        self.stride, self.pad = pair(param, "stride", 1), pair(param, "pad", 0)
        self.dilation = dilation[0], dilation[-1]
        require(min(*self.kernel, *self.stride, *self.dilation) > 0, "sizes must be positive")
        return []

    def infer(self, *bottoms: Shape) -> list[Shape]:
        ((batch, channels, *size),) = bottoms
        axes = zip(size, self.kernel, self.stride, self.pad, self.dilation, strict=True)
        height, width = ((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in axes)
        return [(batch, channels * self.kernel[0] * self.kernel[1], height, width)]

    def forward(self, x: Tensor) -> Tensor:
        columns = F.unfold(x, self.kernel, self.dilation, self.pad, self.stride)
        return columns.unflatten(2, self.infer(tuple(x.shape))[0][2:])

    def pull_back(self, mask: Mask, top: int, bottom: int) -> Mask:
        columns = torch.zeros(self.top_shapes[0][1:]) + torch.from_numpy(mask)
        size = self.bottom_shapes[0][2:]
        geometry = self.kernel, self.dilation, self.pad, self.stride
        reached: Mask = (F.fold(columns.flatten(1)[None], size, *geometry)[0] > 0).numpy()
        return reached

    @property
    def local(self) -> bool:
        return False


@layer("Embed")
class Embed(Layer):
    """A row of the weights for each index in the bottom; no gradient."""

    def setup(self, x: Shape) -> list[Blob]:
        param = self.message.embed_param
        sizes = (param.input_dim, param.num_output)
        require(min(sizes) > 0, "input_dim and num_output must be given")
        weight = Blob(sizes, param.weight_filler)
        bias = [Blob(sizes[1:], param.bias_filler)] if param.bias_term else []
        return [weight, *bias]

    def infer(self, *bottoms: Shape) -> list[Shape]:
        return [(*bottoms[0], self.message.embed_param.num_output)]

    def forward(self, x: Tensor) -> Tensor:
        rows = F.embedding(x.long(), self.weights[0])
        return rows + self.weights[1] if len(self.weights) > 1 else rows

    def pull_back(self, mask: Mask, top: int, bottom: int) -> Mask:
        return anywhere(mask, -1)

    @property
    def local(self) -> bool:
        return False


@layer("BatchReindex", least=2, most=2)
class BatchReindex(Layer):
    """The images of the first bottom that the indices in the second name."""

    def setup(self, x: Shape, index: Shape) -> list[Blob]:
        require(len(index) == 1, f"its second bottom is a list of numbers, not {index}")
        return []

    def infer(self, *bottoms: Shape) -> list[Shape]:
        return [(*bottoms[1], *bottoms[0][1:])]

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        return x[index.long()]

    def why_mixed(self) -> str:
        return "it picks images of the batch by their numbers"

    @property
    def local(self) -> bool:
        return False
