"""A network that lives in pycaffe, a `caffe.Net` or `caffe.Classifier`, as a Net.

Nothing of Caffe is imported: the object itself brings all that is used. Pycaffe's private members,
where it has them, tell and do more than its public ones, which are enough.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cnnpref.errors import UserError
from cnnpref.geometry import Box, Mask, Shape
from cnnpref.input_space import InputSpace
from cnnpref.nets.caffe.files.mean import Mean, read_mean
from cnnpref.nets.net import FullReadout, Net
from cnnpref.nets.pycaffe.autograd import Engine
from cnnpref.nets.pycaffe.layers import (
    NAME,
    Layers,
    Linked,
    Unlinked,
    fixes_batch,
    layer_kinds,
    layer_names,
    read_steps,
)
from cnnpref.nets.pycaffe.readout import FieldReadout, field_of
from cnnpref.nets.pycaffe.runs import (
    PRIVATE,
    PUBLIC,
    ByName,
    ByPlace,
    LiveNet,
    PlacedNet,
    Route,
    Runner,
)
from cnnpref.nets.readout import Readout

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
        net: a `caffe.Net` or `caffe.Classifier` of Caffe 1.0.0-rc3 or later, or anything with
            their public interface: `inputs`, `blobs`, `params`, `forward(end=layer)` and
            `backward(start=layer)`. For gradients its prototxt must say `force_backward: true`. It
            may be used for other things in between.
        mean: what was subtracted from the images, as for `load_caffe`; None is what the
            transformer of a Classifier says, averaged over its pixels, or else 0.

    Raises:
        UserError: it is no such net, it has no input, or the mean is not one.
    """
    absent = next((name for name in PUBLIC if not hasattr(net, name)), None)
    if absent and not _has_private(net):
        raise UserError(
            f"a net of cnnpref or of pycaffe wanted, got {type(net).__name__!r}, which has no "
            f"{absent!r}; load_caffe reads Caffe's files"
        )
    if not net.inputs:
        raise UserError(
            "the pycaffe net has no input; make it of the deploy prototxt, which has `input:` or a "
            "layer of type Input"
        )
    return PycaffeNet(net, mean)


def _has_private(net: object) -> bool:
    return all(hasattr(net, name) for name in (*PUBLIC[:3], *PRIVATE))


def _read(live: LiveNet) -> tuple[Layers, Runner, bool]:
    """What the net tells of its layers, how they are run, and whether it keeps its batch."""
    names, kinds = layer_names(live), layer_kinds(live)
    steps = None if names is None else read_steps(live, names, kinds)
    fixed = fixes_batch(live, steps)
    if steps is not None and _has_private(live):
        return Linked(steps, live.inputs), ByPlace(cast(PlacedNet, live)), fixed
    runner = ByName(live, names, kinds)
    if steps is not None:
        return Linked(steps, live.inputs), runner, fixed
    return Unlinked(live, names, runner), runner, fixed


class PycaffeNet(Net):
    """A live pycaffe net as a Net; made by `load_pycaffe`.

    The live net is left as the last pass leaves it: its input blob has the batch of the images, if
    all its layers are known to work with any batch. Otherwise it keeps its own, and the images go
    through it in portions.

    With the public interface alone, all passes start at the inputs; and where the net does not tell
    what its layers read and write (`top_names`, `bottom_names`), its `layers` are those that have a
    blob of their name, and all inputs have to be given. Of the others those that it names
    (`_layer_names`) can be asked for, if they change anything.
    """

    def __init__(self, live: LiveNet, mean: Mean = None) -> None:
        self.name, self.device = NAME, torch.device("cpu")  # of the tensors, in and out
        self._live, self._inputs = live, list(live.inputs)
        self._layers, self._runner, fixed = _read(live)
        self._engine = Engine(self._runner, dict(live.blobs))
        shapes = {name: blob.data.shape for name, blob in live.blobs.items()}
        hidden = self._layers.hidden
        self.blobs = {name: shape[1:] for name, shape in shapes.items() if name not in hidden}
        self.layers = {name: self.blobs[top] for name, top in self._layers.tops.items()}
        self.input_shape = self.blobs[self._inputs[0]]
        self.space = _space(live, mean, self.input_shape)
        self._fields: dict[tuple[str, frozenset[int]], Box | None] = {}  # of layers' positions
        self._batch = shapes[self._inputs[0]][0] if fixed else None

    def parameters(self) -> Iterator[Tensor]:
        arrays = [blob.data for blobs in self._live.params.values() for blob in blobs]
        shared = {array.ctypes.data: array for array in arrays}  # shared weights once
        return (torch.from_numpy(array) for array in shared.values())

    def layer_weights(self, layer: str) -> list[Tensor]:
        params = self._live.params
        return [torch.from_numpy(b.data) for b in params[layer]] if layer in params else []

    @property
    def needs_company(self) -> bool:
        return False

    def activations(self, images: Tensor, layer: str) -> Tensor:
        self.layer_shape(layer)
        top, image = cast(str, self._layers.top(layer)), self._inputs[0]
        return self._run([self._layers.route(top, [image], layer)], {image: images})[0]

    def layer_shape(self, layer: str) -> Shape:
        """The shape of a layer, also of one that is not in `layers` but seen from passes."""
        top = self._layers.top(layer)
        return super().layer_shape(layer) if top is None else self.blobs[top]

    def forward(self, inputs: Mapping[str, Tensor], blobs: Sequence[str]) -> dict[str, Tensor]:
        self.check_blobs([*inputs, *blobs])
        inner = next((name for name in inputs if name not in self._inputs), None)
        if inner and self._runner.from_inputs:
            raise UserError(
                f"the pycaffe net runs from its inputs alone, {', '.join(map(repr, self._inputs))},"
                f" not from blob {inner!r}; give an input, or read its files with load_caffe"
            )
        routes = [self._layers.route(blob, inputs) for blob in blobs]
        return dict(zip(blobs, self._run(routes, inputs), strict=True))

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

    def readout(self, layer: str, index: npt.ArrayLike) -> Readout:
        full = FullReadout.of(self, layer, index)
        positions = np.unique(np.asarray(index) % prod(self.layer_shape(layer)[1:]))
        key = layer, frozenset(positions.tolist())
        if key not in self._fields:
            self._fields[key] = field_of(self, layer, full.index)
        box = self._fields[key]
        return FieldReadout(full, box) if box else full

    def support(self, layer: str, mask: Mask) -> Mask:
        """The pixels from which gradients come, over random images and weights of the units.

        A lower estimate: Caffe does not tell kernels, strides and pads. `load_caffe` gives it
        exactly.
        """
        random = torch.Generator().manual_seed(0)
        wanted = torch.from_numpy(np.broadcast_to(mask, self.layer_shape(layer)).copy())
        reached = np.zeros(self.input_shape[1:], bool)
        for seed in range(_PROBES):
            x = self.noise(1, seed).requires_grad_()
            units = self.activations(x, layer)
            if units.requires_grad:
                weights = torch.randn(units.shape, generator=random)
                (gradient,) = torch.autograd.grad((units * weights)[:, wanted].sum(), x)
                reached |= (gradient[0] != 0).any(0).numpy()
        return reached


def _space(live: LiveNet, mean: Mean, shape: Shape) -> InputSpace:
    """How a Classifier's transformer encodes: `x = (rgb[swap] * raw_scale - mean) * input_scale`.

    It takes RGB in 0..1. Without a raw_scale the mean is taken to be on the 0..255 scale, on which
    the original gives its images; without a channel_swap its 3 channels are BGR.
    """
    channels = shape[0] if len(shape) == 3 else 3

    def setting(name: str) -> Any:
        return getattr(getattr(live, "transformer", None), name, {}).get(live.inputs[0])

    raw, scale, swap = setting("raw_scale"), setting("input_scale"), setting("channel_swap")
    raw = 255 if raw is None else raw
    if mean is None and setting("mean") is not None:
        mean = setting("mean") * (255 / raw)
    factor = (1 if scale is None else scale) * raw / 255
    usual = (2, 1, 0) if channels == 3 else range(channels)
    order = tuple(int(channel) for channel in (usual if swap is None else swap))
    return InputSpace(order, read_mean(mean, channels), (factor,) * channels)
