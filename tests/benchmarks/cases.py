"""What is measured: nets, the same for all who take part, targets and methods."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from math import prod
from typing import Any

import plain_nets
import torch
from torch import nn

import cnnpref
from cnnpref.ascent.objective import Objective
from cnnpref.ascent.variables import Generator
from cnnpref.methods import METHODS, Options, resolve
from cnnpref.nets.caffe import CaffeNet
from cnnpref.nets.zoo import find

TARGETS = {  # net: layers, with the position of the unit in the map
    "squeezenet": {"conv1": "center", "fire5/expand3x3": "center", "conv10": "all"},
    "alexnet": dict.fromkeys(("conv1", "conv3", "conv5", "fc6", "fc8"), "center"),
}
ITERATIONS = {"gd": 5, "gd_field": 5, "lbfgs": 10, "dgn_gd": 4, "dgn_lbfgs": 6}
VIEWED = {"spectral": 5, "maco": 5}  # methods that nobody has in a plain way: beside our gd
ITERATIONS |= VIEWED
ZOO = {"squeezenet": "squeezenet1.0", "alexnet": "alexnet", "generator": "generator_fc6"}
MODULES = {
    "squeezenet": plain_nets.squeezenet,
    "alexnet": plain_nets.alexnet,
    "generator": plain_nets.generator,
}


@dataclass(frozen=True)
class Nets:
    """A net as cnnpref reads it and as a plain module, with the same random weights."""

    ours: CaffeNet
    plain: plain_nets.Stack


@cache
def nets(name: str, device: str = "cpu") -> Nets:
    """A net of the zoo with weights of He et al. 2015: values neither explode nor vanish."""
    entry = find(ZOO[name])
    ours = cnnpref.load_caffe(entry.prototxt, mean=entry.mean, device=device)
    plain = MODULES[name]().to(device).eval().requires_grad_(False)
    random = torch.Generator(device).manual_seed(0)
    for weight, twin in zip(ours.parameters(), plain.parameters(), strict=True):
        twin.normal_(generator=random).mul_(0 if twin.ndim == 1 else 1)
        weight.copy_(twin)
    gains = [_gain(layer) for layer in plain.modules() if hasattr(layer, "weight")]
    for kernel, twin, gain in zip(_kernels(ours), _kernels(plain), gains, strict=True):
        kernel.mul_(gain)
        twin.mul_(gain)
    return Nets(ours, plain)


def _kernels(net: Any) -> Iterator[torch.Tensor]:
    return (weight for weight in net.parameters() if weight.ndim > 1)


def _gain(layer: nn.Module) -> float:
    """Standard deviation that keeps the size of values through a layer and its ReLU."""
    shape = layer.weight.shape
    if isinstance(layer, nn.ConvTranspose2d):  # an output sees but 1 / stride^2 of the kernel
        return (2 * prod(layer.stride) / (shape[0] * prod(shape[2:]))) ** 0.5
    return (2 / prod(shape[1:])) ** 0.5


@dataclass(frozen=True)
class Case:
    """A method for units of a layer.

    Attributes:
        method: a method of cnnpref, or gd_field: gd on the receptive field alone.
        net: a key of TARGETS.
        layer: its layer.
        position: of the units in the layer's map, "center" or "all".
        device: where it is computed.
        iterations: how many.
        batch: how many units ours takes at once.
        precision: of the net's products; the plain way has float32.
    """

    method: str
    net: str
    layer: str
    position: str
    device: str
    iterations: int
    batch: int = 2
    precision: str = "float32"

    @property
    def name(self) -> str:
        return f"{self.method}/{self.layer}@{self.net}"

    @property
    def nets(self) -> Nets:
        return nets(self.net, self.device)

    @property
    def generates(self) -> bool:
        return self.method.startswith("dgn")

    @property
    def preset(self) -> str:
        method = METHODS[self.method.removesuffix("_field")]
        return method.default_preset(self.nets.ours.layers[self.layer], self.position)

    def options(self, iterations: int | None = None) -> Options:
        """The example's settings; `iterations` None leaves the number of the original's example.

        Raises:
            UserError: gd does not know `canvas`.
        """
        kind = METHODS[self.method.removesuffix("_field")].options.__dataclass_fields__
        count = next(name for name in ("iter_n", "maxiter", "steps") if name in kind)
        given: dict[str, Any] = {"retries": 0, "revive": "dead"}  # a start for each image
        given |= {count: iterations} if iterations else {}
        given |= {"precision": self.precision}
        if self.method == "gd_field":
            return resolve("gd", self.preset, {**given, "canvas": "field"})
        return resolve(self.method, self.preset, given)

    @property
    def units(self) -> list[int]:
        """A batch of the layer's channels, evenly spaced; they come again if there are fewer."""
        channels = self.nets.ours.layers[self.layer][0]
        return [row * channels // self.batch % channels for row in range(self.batch)]

    @property
    def full_count(self) -> int:
        """How many iterations the original's example takes."""
        return METHODS[self.method.removesuffix("_field")].iterations(self.options())

    def objective(self) -> Objective:
        weight = self.options().feature_weight
        return Objective.units(self.nets.ours, self.layer, self.units, self.position, weight)

    def generator(self) -> Generator | None:
        return Generator(nets("generator", self.device).ours) if self.generates else None

    def module(self) -> nn.Module:
        """From pixels or features to a layer, the plain way."""
        if not self.generates:
            return self.nets.plain
        size = self.nets.ours.input_shape[-1]
        return plain_nets.Chain(nets("generator", self.device).plain, self.nets.plain, size)

    def of(self, batch: int) -> Case:
        return replace(self, batch=batch)


def cases(device: str) -> list[Case]:
    """All of them."""
    return [
        Case(
            method, net, layer, position, device, iterations if device == "cpu" else 3 * iterations
        )
        for net, layers in TARGETS.items()
        for layer, position in layers.items()
        for method, iterations in ITERATIONS.items()
    ]
