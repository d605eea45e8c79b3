"""The nets of the benchmark as plain PyTorch modules: what a researcher has who has no cnnpref.

Their layers have the names that they have in Caffe's prototxts.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Stack(nn.Sequential):
    """Layers one after another, by name; stops where it is told."""

    def forward(self, x: Tensor, until: str | None = None) -> Tensor:
        """The output of the last layer, or of `until`: "name", or "name/part" inside a Fire."""
        last, _, part = (until or "").partition("/")
        for name, layer in self.named_children():
            if name == last:
                return layer(x, part) if part else layer(x)
            x = layer(x)
        return x


class Fire(nn.Module):
    """SqueezeNet's module: few channels, then many from kernels of 1 and of 3."""

    def __init__(self, inputs: int, few: int, many: int) -> None:
        super().__init__()
        self.squeeze1x1 = nn.Conv2d(inputs, few, 1)
        self.expand1x1 = nn.Conv2d(few, many, 1)
        self.expand3x3 = nn.Conv2d(few, many, 3, padding=1)

    def forward(self, x: Tensor, part: str | None = None) -> Tensor:
        x = self.squeeze1x1(x)
        if part == "squeeze1x1":
            return x
        x = F.relu(x)
        if part:
            return self.get_submodule(part)(x)
        return F.relu(torch.cat([self.expand1x1(x), self.expand3x3(x)], 1))


class Chain(nn.Module):
    """A generator, and a net that looks at the centre of its image."""

    def __init__(self, generator: nn.Module, net: nn.Module, size: int) -> None:
        super().__init__()
        self.generator, self.net, self.size = generator, net, size

    def forward(self, features: Tensor, until: str | None = None) -> Tensor:
        image = self.generator(features)
        first = (image.shape[-1] - self.size) // 2
        seen = slice(first, first + self.size)
        return self.net(image[:, :, seen, seen], until)


def pool() -> nn.Module:
    return nn.MaxPool2d(3, 2, ceil_mode=True)


def squeezenet() -> Stack:
    """SqueezeNet 1.0 (Iandola et al. 2016), up to its last convolution."""
    return Stack(
        OrderedDict(
            conv1=nn.Conv2d(3, 96, 7, 2),
            relu_conv1=nn.ReLU(),
            pool1=pool(),
            fire2=Fire(96, 16, 64),
            fire3=Fire(128, 16, 64),
            fire4=Fire(128, 32, 128),
            pool4=pool(),
            fire5=Fire(256, 32, 128),
            fire6=Fire(256, 48, 192),
            fire7=Fire(384, 48, 192),
            fire8=Fire(384, 64, 256),
            pool8=pool(),
            fire9=Fire(512, 64, 256),
            conv10=nn.Conv2d(512, 1000, 1, padding=1),
        )
    )


def alexnet() -> Stack:
    """AlexNet (Krizhevsky, Sutskever and Hinton 2012) as BVLC trained it, up to fc8."""
    return Stack(
        OrderedDict(
            conv1=nn.Conv2d(3, 96, 11, 4),
            relu1=nn.ReLU(),
            norm1=nn.LocalResponseNorm(5),
            pool1=pool(),
            conv2=nn.Conv2d(96, 256, 5, padding=2, groups=2),
            relu2=nn.ReLU(),
            norm2=nn.LocalResponseNorm(5),
            pool2=pool(),
            conv3=nn.Conv2d(256, 384, 3, padding=1),
            relu3=nn.ReLU(),
            conv4=nn.Conv2d(384, 384, 3, padding=1, groups=2),
            relu4=nn.ReLU(),
            conv5=nn.Conv2d(384, 256, 3, padding=1, groups=2),
            relu5=nn.ReLU(),
            pool5=pool(),
            flatten=nn.Flatten(),
            fc6=nn.Linear(9216, 4096),
            relu6=nn.ReLU(),
            fc7=nn.Linear(4096, 4096),
            relu7=nn.ReLU(),
            fc8=nn.Linear(4096, 1000),
        )
    )


def generator() -> Stack:
    """The generator from fc6 of Dosovitskiy and Brox 2016: 4096 features to 3 x 256 x 256."""
    layers = OrderedDict[str, nn.Module]()

    def add(name: str, layer: nn.Module) -> None:
        layers[name], layers[f"relu_{name}"] = layer, nn.LeakyReLU(0.3)

    for name in ("defc7", "defc6", "defc5"):
        add(name, nn.Linear(4096, 4096))
    layers["reshape"] = nn.Unflatten(1, (256, 4, 4))
    add("deconv5", nn.ConvTranspose2d(256, 256, 4, 2, 1))
    add("conv5_1", nn.ConvTranspose2d(256, 512, 3, 1, 1))
    add("deconv4", nn.ConvTranspose2d(512, 256, 4, 2, 1))
    add("conv4_1", nn.ConvTranspose2d(256, 256, 3, 1, 1))
    add("deconv3", nn.ConvTranspose2d(256, 128, 4, 2, 1))
    add("conv3_1", nn.ConvTranspose2d(128, 128, 3, 1, 1))
    add("deconv2", nn.ConvTranspose2d(128, 64, 4, 2, 1))
    add("deconv1", nn.ConvTranspose2d(64, 32, 4, 2, 1))
    layers["deconv0"] = nn.ConvTranspose2d(32, 3, 4, 2, 1)
    return Stack(layers)
