"""What tests of PyTorch nets in a config share: a module of builders, and weights for one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import basics
import torch
from torch import Tensor, nn

from cnnpref.nets import open_net

SOURCE = """
import torch
from torch import nn

def build(width=4):
    return nn.Sequential(
        nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * width, 5),
    )

class Maker(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 3 * 10 * 10)

    def forward(self, z):
        return torch.tanh(self.fc(z)).view(-1, 3, 10, 10)

class Deciding(nn.Conv2d):
    def forward(self, x):
        return super().forward(x) * (2 if x.sum() > 0 else 1)

class Half(nn.Conv2d):
    def __init__(self):
        super().__init__(3, 2, 3)
        self.half()

def lazy():
    return nn.Sequential(nn.LazyConv2d(8, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(5))

def fails():
    raise RuntimeError("no such luck\\nin this line")

def number():
    return 3

class Silent(nn.Conv2d):
    @torch.no_grad()
    def forward(self, x):
        return super().forward(x)

constant = 3
"""
Section = dict[str, Any]
NET: Section = {"torch": "vision:build", "input_shape": [3, 8, 8]}


def state(width: int = 4) -> dict[str, Tensor]:
    """Other weights than the builder's own."""
    torch.manual_seed(7)
    layers = [nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.ReLU(), nn.ReLU()]
    made = nn.Sequential(*layers, nn.Linear(4 * width, 5)).state_dict()
    made["1.running_mean"] += 0.5
    return made


def write_plain(path: Path, values: dict[str, Tensor]) -> Path:
    torch.save(values, path.with_suffix(".pth"))
    return path.with_suffix(".pth")


def answer(section: Section) -> Tensor:
    x = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return open_net(section).activations(x, "5")


def refusal(section: Section, use: Callable[[Section], object] = open_net) -> str:
    """The one line with which a section of a config is refused."""
    return basics.refusal(use, section)
