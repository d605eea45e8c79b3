"""A network that lives in pycaffe, a `caffe.Net` or `caffe.Classifier`, as a Net.

Nothing of Caffe is imported: the object itself brings all that is used, which `LiveNet` lists.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cnnpref.errors import UserError
from cnnpref.geometry import Mask
from cnnpref.image import InputSpace
from cnnpref.nets.caffe.net import Mean, check_names, read_mean
from cnnpref.nets.live import USED, Engine, LiveNet, Route, Step, read_steps
from cnnpref.nets.net import Net

AnyNet = Net | LiveNet
_PROBES = 8  # random images whose gradients show a receptive field


def as_net(net: AnyNet) -> Net:
    """A net as it is, or a live pycaffe net in the form of one.

    Raises:
        UserError: it is neither.
    """
    return net if isinstance(net, Net) else load_pycaffe(net)


def load_pycaffe(net: LiveNet, mean: Mean = None) -> PycaffeNet:
    """Take a net that runs in Caffe, with its weights as they are.

    The order and the scale of the channels are those of a Classifier's transformer; without one,
    BGR on the 0..255 scale. Whether a GPU computes is set in Caffe (`caffe.set_mode_gpu()`).

    Args:
        net: a `caffe.Net` or `caffe.Classifier` of Caffe 1.0.0-rc3 or later. For gradients its
            prototxt must say `force_backward: true`. It may be used for other things in between.
        mean: what was subtracted from the images, as for `load_caffe`; None is what the
            transformer of a Classifier says, averaged over its pixels, or else 0.

    Raises:
        UserError: it is no such net, it has no input, or the mean is not one.
    """
    absent = next((name for name in USED if not hasattr(net, name)), None)
    if absent:
        raise UserError(
            f"a net of cnnpref or of pycaffe (Caffe 1.0.0-rc3 or later) wanted, got "
            f"{type(net).__name__!r}, which has no {absent!r}; load_caffe reads Caffe's files"
        )
    if not net.inputs:
        raise UserError(
            "the pycaffe net has no input; make it of the deploy prototxt, which has `input:` or a "
            "layer of type Input"
        )
    return PycaffeNet(net, mean)


class PycaffeNet(Net):
    """A live pycaffe net as a Net; made by `load_pycaffe`.

    The live net is left as the last pass leaves it: its input blob has the batch of the images. A
    net with a layer of type Reshape, whose dimensions may name the batch, keeps its own batch, and
    the images go through it in portions.
    """

    def __init__(self, live: LiveNet, mean: Mean = None) -> None:
        self.name, self.device = "pycaffe", torch.device("cpu")  # of the tensors, in and out
        self._live, self._inputs, self._steps = live, list(live.inputs), read_steps(live)
        self._engine = Engine(live, dict(live.blobs))
        inner = {top for step in self._steps if step.is_split for top in step.tops}
        shapes = {name: blob.data.shape for name, blob in live.blobs.items()}
        self.blobs = {name: shape[1:] for name, shape in shapes.items() if name not in inner}
        self._layers: dict[str, Step] = {}
        for step in self._steps:
            if step.tops and not step.is_split:
                self._layers.setdefault(step.name, step)  # of layers with one name the first
        self.layers = {name: self.blobs[step.tops[0]] for name, step in self._layers.items()}
        self.input_shape = self.blobs[self._inputs[0]]
        self.space = _space(live, mean) if self.input_shape[:1] == (3,) else InputSpace()
        fixed = any(step.kind == "Reshape" for step in self._steps)
        self._batch = shapes[self._inputs[0]][0] if fixed else None

    def parameters(self) -> Iterator[Tensor]:
        arrays = [blob.data for blobs in self._live.params.values() for blob in blobs]
        shared = {array.ctypes.data: array for array in arrays}  # shared weights once
        return (torch.from_numpy(array) for array in shared.values())

    def activations(self, images: Tensor, layer: str) -> Tensor:
        self.layer_shape(layer)
        step, image = self._layers[layer], self._inputs[0]
        return self._run([self._route(step.tops[0], [image], step.place)], {image: images})[0]

    def forward(self, inputs: Mapping[str, Tensor], blobs: Sequence[str]) -> dict[str, Tensor]:
        check_names(f"blob of {self.name!r}", [*inputs, *blobs], self.blobs)
        routes = [self._route(blob, inputs) for blob in blobs]
        return dict(zip(blobs, self._run(routes, inputs), strict=True))

    def _route(self, blob: str, given: Collection[str], last: int | None = None) -> Route:
        """The layers, up to the place `last`, that make a blob of those that are given.

        An input is given as it is before a layer changes it in place, any other blob as it is
        after a full pass: no layer may write to it again.
        """
        final = {name for name in given if name not in self._inputs}
        needed, steps = {blob} - final, []
        for step in reversed(self._steps):
            if (last is None or step.place <= last) and needed.intersection(step.tops):
                needed.update(bottom for bottom in step.bottoms if bottom not in final)
                steps.append(step)
        absent = [name for name in self._inputs if name in needed and name not in given]
        beside = [step for step in steps if final.intersection(step.tops)]
        absent += [top for step in beside for top in step.tops if top in needed]
        if absent:
            raise UserError(f"net {self.name!r}: give its input {', '.join(map(repr, absent))} too")
        return Route(blob, steps[::-1])

    def _run(self, routes: Sequence[Route], given: Mapping[str, Tensor]) -> list[Tensor]:
        """The blobs at the ends of the routes, in portions of the net's batch where it has one."""
        for name, x in given.items():
            if x.shape[1:] != self.blobs[name]:  # Caffe would end the process
                raise UserError(
                    f"blob {name!r} of net {self.name!r} has shape {list(self.blobs[name])}, got "
                    f"{list(x.shape[1:])}"
                )
        if self._batch is None or not given:
            return self._engine.run(routes, given)
        rows = len(next(iter(given.values())))
        full = [
            torch.cat([x, x[-1:].expand(-rows % self._batch, *x.shape[1:])]) for x in given.values()
        ]
        portions = zip(*(x.split(self._batch) for x in full), strict=True)
        parts = [self._engine.run(routes, dict(zip(given, p, strict=True))) for p in portions]
        return [torch.cat(tops)[:rows] for tops in zip(*parts, strict=True)]

    def support(self, layer: str, mask: Mask) -> Mask:
        """The pixels from which gradients come, over random images and weights of the units.

        A lower estimate: Caffe does not tell kernels, strides and pads. `load_caffe` gives it
        exactly.
        """
        random = torch.Generator().manual_seed(0)
        wanted = torch.from_numpy(np.broadcast_to(mask, self.layer_shape(layer)).copy())
        reached = np.zeros(self.input_shape[1:], bool)
        for _ in range(_PROBES):
            x = self._noise(random).requires_grad_()
            units = self.activations(x, layer)
            if units.requires_grad:
                weights = torch.randn(units.shape, generator=random)
                (gradient,) = torch.autograd.grad((units * weights)[:, wanted].sum(), x)
                reached |= (gradient[0] != 0).any(0).numpy()
        return reached

    def _noise(self, random: torch.Generator) -> Tensor:
        """A batch of one: an image of the whole range, or anything else within 0..1."""
        x = torch.rand(1, *self.input_shape, generator=random)
        if self.input_shape[:1] != (3,):
            return x
        low, high = (torch.from_numpy(bound)[:, None, None] for bound in self.space.bounds())
        return low + (high - low) * x


def _space(live: LiveNet, mean: Mean) -> InputSpace:
    """How a Classifier's transformer encodes: `x = (rgb[swap] * raw_scale - mean) * input_scale`.

    It takes RGB in 0..1. Without a raw_scale the mean is taken to be on the 0..255 scale, on which
    the original gives its images.
    """

    def setting(name: str) -> Any:
        return getattr(getattr(live, "transformer", None), name, {}).get(live.inputs[0])

    raw, scale, swap = setting("raw_scale"), setting("input_scale"), setting("channel_swap")
    raw = 255 if raw is None else raw
    if mean is None and setting("mean") is not None:
        mean = setting("mean") * (255 / raw)
    factor = (1 if scale is None else scale) * raw / 255
    order = (2, 1, 0) if swap is None else tuple(int(channel) for channel in swap)
    return InputSpace(order, read_mean(mean), (factor,) * 3)
