"""PyTorch modules of all kinds, small and random: what tests of torch nets share."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SHAPE = (3, 16, 16)


def seeded(module: type[nn.Module], *arguments: Any) -> nn.Module:
    """An instance with weights that are always the same, and normalisations that do something."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(3)
        made = module(*arguments)
        for each in made.modules():
            if isinstance(each, nn.BatchNorm2d):
                each.running_mean.normal_(std=0.1)  # type: ignore[union-attr, operator]
                each.running_var.uniform_(0.5, 2)  # type: ignore[union-attr, operator]
                nn.init.normal_(each.bias, std=0.3)
    return made


class Plain(nn.Sequential):
    """Convolution, normalisation, a ReLU in place; a classifier."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 6, 5, stride=2),
            nn.BatchNorm2d(6),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Flatten(),
            nn.Linear(72, 9),
        )


class Residual(nn.Module):
    """A block that adds in place and uses one ReLU twice, after a stem."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
            self.conv2, self.bn2 = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
            self.relu = nn.ReLU(inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            y = self.relu(self.bn1(self.conv1(x)))
            y = self.bn2(self.conv2(y))
            y += x
            return self.relu(y)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2)
        self.layer1 = nn.Sequential(self.Block(), self.Block())
        self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.flatten(self.pool(self.layer1(self.stem(x))), 1))


class Branches(nn.Module):
    """Branches of three sizes of field, concatenated."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.three = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 3, 3, padding=1)
        self.five = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(True), nn.Conv2d(2, 4, 5, padding=2))
        self.last = nn.Conv2d(12, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.max_pool2d(x, 3, 1, 1)
        joined = torch.cat([self.one(x), F.relu(self.three(x)), self.five(x), pooled], 1)
        return self.last(joined)


class Squeeze(nn.Module):
    """Depthwise convolution, and channels weighted by what the whole map says."""

    def __init__(self) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(3, 6, 3, padding=1, groups=3)
        self.down, self.up = nn.Conv2d(6, 2, 1), nn.Conv2d(2, 6, 1)
        self.point = nn.Conv2d(6, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.hardswish(self.depthwise(x))
        gate = torch.sigmoid(self.up(F.silu(self.down(y.mean((2, 3), keepdim=True)))))
        return self.point(y * gate)


class Vit(nn.Module):
    """Patches, a class token, PyTorch's own transformer layer, and attention of one's own."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, stride=4)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
        self.norm, self.attention = nn.LayerNorm(8), nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = self.layer(torch.cat([self.token.expand(len(x), -1, -1), tokens], 1))
        normed = self.norm(tokens)
        tokens = tokens + self.attention(normed, normed, normed, need_weights=False)[0]
        return self.head(tokens[:, 0])


class Convnext(nn.Module):
    """A block whose normalisation and products are over channels that come last."""

    def __init__(self) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(3, 3, 5, padding=2, groups=3)
        self.norm, self.widen, self.narrow = nn.LayerNorm(3), nn.Linear(3, 7), nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.narrow(F.gelu(self.widen(y))).permute(0, 3, 1, 2)
        return x + y


class Functional(nn.Module):
    """Hardly a module in it; changes its input."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3, 3, 3) / 5)

    def forward(self, x: Tensor) -> Tensor:
        x -= 0.5
        y = F.conv2d(x, self.weight, padding=1)
        z = y * 2 - 1
        z.add_(0.5)
        z = F.relu_(z)
        y = torch.cat([1 - z, y[:, 1:3] / 2], dim=1)
        return F.interpolate(y, scale_factor=2).flatten(1).mean(1, keepdim=True)


class Undecided(nn.Module):
    """What it does depends on the values: `torch.fx` cannot trace it."""

    def __init__(self) -> None:
        super().__init__()
        self.dark, self.bright = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bright(x) if float(x.detach().mean()) > 0.7 else self.dark(x)
        return torch.relu(y) + 1


class Parts(nn.Module):
    """Gives a mapping; a part of it gives a tuple."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            y = self.conv(x)
            return y, y.mean((2, 3))

    def __init__(self) -> None:
        super().__init__()
        self.two, self.head = self.Two(), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps, means = self.two(x)
        return {"maps": maps, "scores": self.head(means)}


class Borrowing(nn.Module):
    """Parts that hold modules in lists, and one that uses another's."""

    class Part(nn.Module):
        def __init__(self, lender: nn.Module | None = None) -> None:
            super().__init__()
            self.convs = nn.ModuleList(nn.Conv2d(3, 3, 3, padding=1) for _ in range(2))
            self.act, self.lenders = nn.ReLU(), [lender]

        def forward(self, x: Tensor) -> Tensor:
            for conv in self.convs:
                x = x + conv(x)
            lender = self.lenders[0]
            x = F.relu(x if lender is None else lender.act(lender.convs[0](x)))
            return torch.conv2d(x, self.convs[1].weight) + 1

    def __init__(self) -> None:
        super().__init__()
        self.one = self.Part()
        self.two = self.Part(self.one)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.two(self.one(x)) - 0.1)


class Maker(nn.Module):
    """A generator: images of 3 x 20 x 20, values -1..1, from 12 features."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.up = nn.Linear(12, 8 * 5 * 5), nn.Upsample(scale_factor=2)
        self.grow = nn.ConvTranspose2d(8, 6, 4, stride=2, padding=1)
        self.paint = nn.Conv2d(6, 3, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        y = F.leaky_relu(self.fc(z), 0.2).view(-1, 8, 5, 5)
        return torch.tanh(self.paint(self.up(F.relu(self.grow(y)))) / 4)
