"""Small PyTorch modules of unusual kinds, for images of 3 x 16 x 16."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class Block(nn.Module):
    """Attention, which gives a tuple, and an MLP."""

    def __init__(self, batch_first: bool = True) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=batch_first)
        self.mlp = nn.Sequential(nn.Linear(8, 12), nn.GELU(), nn.Linear(12, 8))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        x = x + self.attention(y, y, y)[0]
        return x + self.mlp(x)


class Tokens(nn.Module):
    """A vision transformer with a class token before or behind its patches, or without."""

    def __init__(self, token: str = "first", batch_first: bool = True) -> None:
        super().__init__()
        self.patches, self.token = nn.Conv2d(3, 8, 4, 4), token
        self.cls = nn.Parameter(torch.zeros(1, 1, 8))
        self.block, self.head = Block(batch_first), nn.Linear(8, 5)
        self.batch_first = batch_first

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        cls = self.cls.expand(len(x), -1, -1)
        if self.token:
            x = torch.cat([cls, x] if self.token == "first" else [x, cls], 1)
        x = self.block(x) if self.batch_first else self.block(x.transpose(0, 1)).transpose(0, 1)
        return self.head(x[:, 0] if self.token == "first" else x[:, -1])


class ChannelsLast(nn.Module):
    """Maps (H, W, C), as in Swin."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm, self.mix = nn.Conv2d(3, 6, 4, 4), nn.LayerNorm(6), nn.Linear(6, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mix(self.norm(self.stem(x).permute(0, 2, 3, 1)))
        return x.mean((1, 2))


class Clip(nn.Module):
    """An image as a film that stands still."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool = nn.Conv3d(3, 4, 3, padding=1), nn.AdaptiveAvgPool3d(1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.conv(x.unsqueeze(2).expand(-1, -1, 5, -1, -1))).flatten(1)


class Both(NamedTuple):
    """What `Nested` gives by name."""

    logits: Tensor
    aux: Tensor | None


class Nested(nn.Module):
    """Parts that give a mapping of lists, and a named tuple with nothing in it."""

    class Maps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> dict[str, object]:
            y = self.conv(x)
            return {"maps": [y, y.relu()], "best": y.flatten(1).argmax(1)}

    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 5)

        def forward(self, x: Tensor) -> Both:
            return Both(self.fc(x.mean((2, 3))), None)

    def __init__(self) -> None:
        super().__init__()
        self.maps, self.heads, self.unused = self.Maps(), self.Heads(), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Both:
        found: Both = self.heads(self.maps(x)["maps"][1])
        return found


class Checkpointed(nn.Module):
    """A checkpoint through which PyTorch takes no gradient with respect to chosen inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)
        self.inner = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        x = checkpoint(self.inner, self.conv(x), use_reentrant=True)
        return self.fc(x.mean((2, 3)))


class KeptOff(nn.Module):
    """One of two branches keeps gradients off."""

    def __init__(self) -> None:
        super().__init__()
        self.off, self.on, self.fc = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            y = self.off(x)
        return self.fc((y + self.on(x)).mean((2, 3)))


class _Stuck(torch.autograd.Function):
    @staticmethod
    def forward(_context: object, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(_context: object, *_: Tensor) -> Tensor:
        raise RuntimeError("not this way")


class OneWay(nn.Module):
    """A function without a way back, in the middle."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(_Stuck.apply(self.conv(x)).mean((2, 3)))


class Spectrum(nn.Module):
    """Complex values in the middle."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fft, self.fc = nn.Conv2d(3, 4, 3), Rfft(), nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.fft(self.conv(x)).abs().mean((2, 3)))


class Rfft(nn.Module):
    """The Fourier transform as a module."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.rfft2(x)


class Windows(nn.Module):
    """A part of it works on windows, four of each image, as if they were images."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.inside = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x).unflatten(2, (2, 8)).unflatten(4, (2, 8)).permute(0, 2, 4, 1, 3, 5)
        y = self.inside(y.flatten(0, 2)).unflatten(0, (-1, 4))
        return y.mean((1, 3, 4))


class Shared(nn.Module):
    """One module, used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(3, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv(self.conv(x).relu()).mean((2, 3)))


class Chance(nn.Module):
    """Draws at random in eval mode, in one of several ways."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.conv, self.drop, self.fc, self.way = nn.Conv2d(3, 8, 3), nn.Dropout(), None, way
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).mean((2, 3))
        if self.way == "dropout":
            x = F.dropout(x)
        elif self.way == "mul":  # a variational autoencoder
            x = x + x.exp() * torch.randn_like(x)
        elif self.way == "drop":
            x = self.drop.train()(x)
        return self.fc(F.dropout(x, training=self.training))
