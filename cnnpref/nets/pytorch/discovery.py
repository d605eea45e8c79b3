"""Which layers a module has: from a pass over one black image, and one over two."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cnnpref.errors import UserError, first_line
from cnnpref.geometry import Shape
from cnnpref.nets.pytorch.flow import Constants, ImageFlow
from cnnpref.nets.pytorch.passes import Done, Pass
from cnnpref.unit_map import UnitMap

_MOST = 4  # axes of a layer that has units
_KEPT_OFF = (
    "it is computed without a gradient, under `no_grad` or from a detached tensor; take that out of"
    " the module's code, or choose a layer before it"
)
_NO_BATCH = "it gives {one} for one image and {two} for two, which has no entry for each image"
_NO_GRADIENT = "no gradient can be taken through it: {error}; choose a layer before it"
_NOT_REACHED = "the module cannot go on to it; choose a layer before that. {error}"

Run = Callable[[Pass, Tensor], None]
"""Runs a module on images; raises UserError where it fails."""


class Source(NamedTuple):
    """What layers are looked for in.

    Attributes:
        module: what runs.
        input_name: of its input.
        input_shape: of an image, or of a generator's features.
        device: where it computes.
        run: runs it.
    """

    module: nn.Module
    input_name: str
    input_shape: Shape
    device: torch.device
    run: Run

    def images(self, count: int) -> Tensor:
        """Black ones, to which gradients go."""
        return torch.zeros(count, *self.input_shape, device=self.device).requires_grad_()


@dataclass
class Layers:
    """What a module has.

    Attributes:
        blobs: {name: shape without the batch}, the input first.
        batch_axes: {name: axis of the images in what the module gives}, where it is not the first.
        maps: {layer: where its units are}.
        changed: blobs that a full pass changes in place.
        random: blobs into which random numbers went.
        refused: {layer: why its units cannot be had}.
        unlisted: {name: why it is no layer}, of further names.
        failure: why a full pass does not come to the module's end, if it does not.
    """

    blobs: dict[str, Shape] = field(default_factory=dict)
    batch_axes: dict[str, int] = field(default_factory=dict)
    maps: dict[str, UnitMap] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)
    random: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    unlisted: dict[str, str] = field(default_factory=dict)
    failure: UserError | None = None


def discover(source: Source) -> Layers:
    """The layers of a module.

    Raises:
        UserError: it fails before its first layer, or anywhere on the device "meta".
    """
    one, two = _Look(source, 1), _Look(source, 2)
    failure = one.failure or two.failure
    found = Layers(refused=one.refused, unlisted=one.unlisted, failure=failure)
    for name, value in one.values.items():
        if name in two.values:
            _add(found, name, value.shape, two.values[name].shape)
    without_values = source.device.type == "meta"  # it may fail for want of them
    if failure and (without_values or not found.blobs.keys() - {source.input_name}):
        raise failure
    _tell_of_modules(found, source, one)
    _refuse_without_gradient(found, source, one)
    found.changed = {name for name, value in one.values.items() if value.is_changed}
    found.random = [name for name in found.blobs if name in one.random]
    found.maps = {
        name: _unit_map(found, name, one)
        for name, shape in found.blobs.items()
        if name != source.input_name and 1 <= len(shape) <= _MOST
    }
    return found


class _Value(NamedTuple):
    """What a layer gives, its version when it was new, and the axis of its channels."""

    tensor: Tensor
    version: int
    shape: Shape
    channels: int | None

    @property
    def is_changed(self) -> bool:
        return self.tensor._version != self.version


class _Look:
    """One pass over so many black images.

    Attributes:
        values: of the layers, in their order.
        refused, unlisted: what has none, as in `Layers`.
        random: names of values into which random numbers went.
        several: {name of a module's call: its layers}.
        failure: why it ended early, if it did.
        flow: what comes of the images.
    """

    def __init__(self, source: Source, count: int) -> None:
        self.values: dict[str, _Value] = {}
        self.refused: dict[str, str] = {}
        self.unlisted: dict[str, str] = {}
        self.random: set[str] = set()
        self.failure: UserError | None = None
        self.images = source.images(count)
        running = Pass(source.module, source.input_name, self._visit)
        with torch.enable_grad():
            x = self.images.clone()
            self.flow = ImageFlow(x)
            try:
                with self.flow:
                    source.run(running, x)
            except UserError as error:
                self.failure = error
        self.several = running.several

    def _visit(self, name: str, value: Tensor) -> Tensor:
        if not self.flow.comes_from_image(value):
            return value  # it says nothing of the image
        if self.flow.is_random(value):
            self.random.add(name)
        if value.is_complex() or not value.is_floating_point():
            self.unlisted[name] = f"its values are of {value.dtype}, and have no gradient"
        elif value.layout is not torch.strided:
            self.unlisted[name] = f"its values are stored as {value.layout}"
        elif not value.requires_grad:
            self.refused[name] = _KEPT_OFF
        else:
            channels = self.flow.channels(value)
            self.values[name] = _Value(value, value._version, tuple(value.shape), channels)
        return value


def _add(found: Layers, name: str, one: Shape, two: Shape) -> None:
    """A blob of these shapes for one image and for two."""
    grown = [axis for axis, sizes in enumerate(zip(one, two, strict=False)) if sizes == (1, 2)]
    others = [shape[:axis] + shape[axis + 1 :] for shape in (one, two) for axis in grown[:1]]
    if len(grown) != 1 or others[0] != others[1]:
        found.refused[name] = _NO_BATCH.format(one=list(one), two=list(two))
        return
    found.blobs[name] = others[0]
    if grown[0]:
        found.batch_axes[name] = grown[0]


def _tell_of_modules(found: Layers, source: Source, look: _Look) -> None:
    """Why modules are no layers that one may take for such."""
    for name, layers in look.several.items():
        if layers != [name]:
            listed = ", ".join(repr(layer) for layer in layers if layer in found.blobs)
            found.unlisted[name] = f"it gives several values: the layers {listed or 'none'}"
    known = {*found.blobs, *found.refused, *found.unlisted}
    for path, part in source.module.named_modules():
        if not path or path in known or type(part).forward is nn.Module.forward:
            continue
        if found.failure:
            found.refused[path] = _NOT_REACHED.format(error=found.failure)
        else:
            found.unlisted[path] = "in eval mode it does not run, or does not look at the image"


def _refuse_without_gradient(found: Layers, source: Source, look: _Look) -> None:
    """Take out layers from which the way back fails; one way back from all tells whether any does.

    Raises:
        UserError: some do, and there are no values to find out which.
    """
    tensors = [look.values[name].tensor for name in found.blobs]
    if _gradient_fault(tensors, look.images) is None:
        return
    for name in list(found.blobs):
        images, reached = source.images(1), list[Tensor]()

        def visit(
            at: str, value: Tensor, name: str = name, reached: list[Tensor] = reached
        ) -> Tensor:
            if at == name:
                reached.append(value)
                raise Done
            return value

        with torch.enable_grad():
            source.run(Pass(source.module, source.input_name, visit, [name]), images.clone())
        fault = _gradient_fault(reached, images)
        if fault and source.device.type == "meta":
            raise UserError(f"{name}: {fault}")
        if fault:
            del found.blobs[name]
            found.refused[name] = _NO_GRADIENT.format(error=fault)


def _gradient_fault(values: Sequence[Tensor], images: Tensor) -> str | None:
    """Why there is no way back from values to images, or None."""
    try:
        with torch.enable_grad():
            total = torch.stack([value.sum().float() for value in values]).sum()
            torch.autograd.grad(total, images, allow_unused=True)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever the way back of a user's function may raise
        return first_line(error)
    return None


def _unit_map(found: Layers, name: str, look: _Look) -> UnitMap:
    """Where the units of a layer are.

    Along the axis of its channels, where that is known; else along the last one of two, as in
    (T, D), and along the first one of others, as in (C, H, W).
    """
    shape, batch = found.blobs[name], found.batch_axes.get(name, 0)
    channels = look.values[name].channels
    axis = 1 if len(shape) == 2 else 0
    if channels is not None and channels != batch:
        axis = channels - (channels > batch)
    if len(shape) != 2:
        return UnitMap(shape, axis)
    tokens = shape[1 - axis]
    constants = look.flow.constants.get(tokens, Constants(0, 0))
    first = 0 if constants.first else tokens - constants.last if constants.last else None
    size = look.images.shape[-2:] if look.images.ndim == 4 else (1, 1)
    return UnitMap(shape, axis, _middle(tokens, constants, size[0] / size[1]), first)


def _middle(tokens: int, constants: Constants, aspect: float) -> int:
    """The token at the centre of the image, if tokens are a grid of its shape, row by row."""
    first, count = constants.first, tokens - sum(constants)
    rows = max(1, round(sqrt(count * aspect)))
    if count % rows:
        return first + count // 2
    columns = count // rows
    return first + rows // 2 * columns + columns // 2
