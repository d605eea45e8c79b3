"""Any PyTorch module as a Net."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from functools import cached_property
from math import isfinite

import numpy as np
import torch
from torch import Tensor, nn

from cnnpref.errors import UserError, first_line
from cnnpref.geometry import Mask, Shape
from cnnpref.input_space import InputSpace
from cnnpref.nets.kernels import find_device
from cnnpref.nets.net import Net
from cnnpref.nets.pytorch.dependence import RecordedPass, Recorder, Trace
from cnnpref.nets.pytorch.discovery import Source, discover
from cnnpref.nets.pytorch.passes import AbsentError, Done, PartialPass, Pass
from cnnpref.nets.pytorch.readout import smallest_readout
from cnnpref.nets.readout import Readout

_MOST = 4  # channels of images; of more, they are a generator's features


class TorchNet(Net):
    """A module as a Net; made by `load_torch`."""

    def __init__(
        self,
        module: nn.Module,
        input_shape: Shape,
        space: InputSpace,
        device: torch.device,
        name: str,
    ) -> None:
        self.module, self.input_shape, self.space = module, input_shape, space
        self.device, self.name = device, name
        self._input = "image" if len(input_shape) == 3 and input_shape[0] == 3 else "input"
        source = Source(module, self._input, input_shape, device, self._run)
        self._found = found = discover(source)
        self.blobs, self.refused, self.unlisted = found.blobs, found.refused, found.unlisted
        self.layers = {name: shape for name, shape in self.blobs.items() if name != self._input}
        self.maps, self.random = found.maps, found.random
        if not self.layers:
            raise UserError(
                f"{name}: no layer of it gives one tensor (N, ...) that depends on its input, with "
                f"a gradient{_first(found.refused)}; give an nn.Module whose `forward` is Python, "
                "without `no_grad`"
            )

    def parameters(self) -> Iterator[Tensor]:
        return (parameter.detach() for parameter in self.module.parameters())

    def weight_counts(self) -> Mapping[str, int]:
        counts, seen = dict[str, int](), set[nn.Parameter]()
        for path, module in self.module.named_modules():
            own = set(module.parameters(recurse=False)) - seen
            seen |= own
            if own and path in self.layers:
                counts[path] = sum(weight.numel() for weight in own)
        return counts

    def activations(self, images: Tensor, layer: str) -> Tensor:
        self.layer_shape(layer)
        values: dict[str, Tensor] = {}

        def visit(name: str, value: Tensor) -> Tensor:
            if name == layer:
                values[name] = value
                raise Done
            return value

        self._run(Pass(self.module, self._input, visit, [layer]), images.clone())
        self._require_reached([layer], values)
        return self._images_first(layer, values[layer])

    def forward(self, inputs: Mapping[str, Tensor], blobs: Sequence[str]) -> dict[str, Tensor]:
        self.check_blobs([*inputs, *blobs])
        given = {  # copies: safe from layers in place
            name: value.clone().movedim(0, self._batch_axis(name)) for name, value in inputs.items()
        }
        values = {name: given[name] for name in blobs if name in given and name != self._input}
        wanted = set(blobs)
        if values.keys() == wanted:
            return {name: inputs[name].clone() for name in blobs}

        def visit(name: str, value: Tensor) -> Tensor:
            value = given.get(name, value)
            if name in wanted:
                values[name] = value
                if values.keys() >= wanted and not self._found.changed & wanted:
                    raise Done
            return value

        images = given.pop(self._input, None)
        if images is None:
            batch = len(next(iter(inputs.values()))) if given else 1
            images = torch.empty(batch, *self.input_shape, device="meta")
        watched = self.module, self._input, visit, {*inputs, *blobs}
        running = PartialPass(*watched, list(given.values())) if given else Pass(*watched)
        try:
            self._run(running, images)
        except UserError:
            if not (self._found.failure and values.keys() >= wanted):
                raise  # else it went on only for what changes later in place
        self._require_reached(blobs, values)
        if any(value.is_meta for value in values.values()):
            raise self._absent()
        return {name: self._images_first(name, values[name]) for name in blobs}

    def _batch_axis(self, blob: str) -> int:
        return self._found.batch_axes.get(blob, 0)

    def _images_first(self, blob: str, value: Tensor) -> Tensor:
        return value.movedim(self._batch_axis(blob), 0)

    def _run(self, running: Pass, images: Tensor) -> None:
        try:
            running.run(images)
        except AbsentError:
            raise self._absent() from None
        except (UserError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # whatever a user's module may raise
            if images.is_meta and self.device.type != "meta":
                raise self._absent() from error
            raise UserError(
                f"{self.name}{running.place and f', in {running.place!r}'}, on "
                f"{list(images.shape)}: {first_line(error)}; check the shape of its input"
            ) from error

    def _absent(self) -> UserError:
        return UserError(f"net {self.name!r}: give its input {self._input!r} too")

    def _require_reached(self, wanted: Sequence[str], values: Mapping[str, Tensor]) -> None:
        missing = [repr(name) for name in wanted if name not in values]
        if missing:
            raise UserError(
                f"{self.name}: {', '.join(missing)}: not reached with this input, as it was with a "
                "black one: the code of the module decides by its values; choose another layer"
            )

    def readout(self, layer: str, index: Tensor) -> Readout:
        return smallest_readout(self, layer, index)

    def support(self, layer: str, mask: Mask) -> Mask:
        units = np.broadcast_to(mask, self.layer_shape(layer))
        recorder, traces = self._recorded
        return recorder.support(traces[layer], np.expand_dims(units, self._batch_axis(layer)))

    @cached_property
    def _recorded(self) -> tuple[Recorder, dict[str, Trace]]:
        """How every layer depends on the image, from one pass over a black one."""
        images = torch.zeros(1, *self.input_shape, device=self.device)
        recorder, traces = Recorder(images), dict[str, Trace]()

        def visit(name: str, value: Tensor) -> Tensor:
            if name in self.layers:
                traces[name] = recorder.trace(value)
            return value

        ends_early = suppress(UserError) if self._found.failure else nullcontext()
        with ends_early, torch.no_grad(), recorder:
            self._run(RecordedPass(self.module, self._input, visit, recorder), images)
        return recorder, traces


def load_torch(
    module: nn.Module,
    input_shape: Sequence[int],
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    device: str | torch.device | None = None,
    name: str | None = None,
    space: InputSpace | None = None,
) -> TorchNet:
    """Any PyTorch module as a net.

    Its layers are its modules, by path, a module's further calls `path_1` ..., and each tensor of a
    module that gives several: `path.0`, `path.key`; and the functions and operators in the code of
    one's own modules, under the names of `torch.fx` and torchvision's feature extraction
    (`layer1.0.add`; in place or not). Layers are values for which a gradient with respect to the
    input exists, with an entry for each image along one axis, whichever that is; it is moved to the
    front. `refused` says why others are none. Units are along the axis of the channels, which is
    the last one of tokens (T, D) and of maps (H, W, C); see `maps`.

    If the module fails on images of that shape, the layers before are there nevertheless.

    The module is not changed: each pass puts it in eval mode with parameters that need no gradient,
    watches it by forward hooks, and restores what was. Where a batch normalisation takes the
    statistics of a batch, each image has its own; other code must give each image of a batch its
    own result, whatever the batch. (On a CPU, PyTorch computes attention, and convolutions on maps
    of a pixel, in another order for few images: their values then differ by 1e-7 of the largest.)

    Args:
        module: its `forward` takes the images (N, *input_shape), float32, and gives anything.
        input_shape: (C, H, W) of the images, RGB for C = 3; (n,) or (C, H, W) for a generator.
        mean: what is subtracted from the images, a number for each channel, on the scale 0..1; of
            a generator, from those that it makes.
        std: what they are divided by then. By default the module takes images in 0..1.
        device: where it computes, and where the module must be: "cpu", "cuda:1"; None is wherever
            its parameters are.
        name: what to call it; None is its class.
        space: how it wants its images, in place of `mean` and `std`: for a module that takes BGR.

    Raises:
        UserError: no module, or a compiled one; its parameters are elsewhere or not float32; it
            fails on images of that shape before its first layer; no layer depends on them.
    """
    if not isinstance(module, nn.Module):
        raise UserError(f"load_torch: an nn.Module wanted, got {_kind(module)}")
    title = name or type(module).__name__
    _require_python(title, module)
    shape = _checked_shape(title, input_shape)
    place = _place(title, module, device)
    return TorchNet(module, shape, space or input_space(shape, mean, std), place, title)


def input_space(
    shape: Shape, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
) -> InputSpace:
    """The space of images `(rgb / 255 - mean) / std`.

    Args:
        shape: of the images; or of features, from which images of 3 channels are made.
        mean: of each channel; None is 0.
        std: of each channel; None is 1.

    Raises:
        UserError: not a finite number for each channel; a standard deviation is not above 0.
    """
    channels = shape[0] if len(shape) == 3 else 3
    if channels > _MOST and 3 in (len(mean or ()), len(std or ())):
        channels = 3
    means = _numbers("mean", (0.0,) * channels if mean is None else mean, channels)
    stds = _numbers("std", (1.0,) * channels if std is None else std, channels)
    order = tuple(range(channels))
    return InputSpace(order, tuple(255 * m for m in means), tuple(1 / (255 * s) for s in stds))


def _numbers(what: str, values: Sequence[float], channels: int) -> Sequence[float]:
    numbers = all(isinstance(v, int | float) and isfinite(v) for v in values)
    positive = what == "std"
    if len(values) == channels and numbers and not (positive and min(values) <= 0):
        return values
    above = " above 0" if positive else ""
    wanted = f"three numbers{above} (red, green, blue)"
    if channels != 3:
        wanted = f"{channels} numbers{above}, one for each channel"
    raise UserError(f"{what}: got {list(values)}; allowed: {wanted}, on the scale 0..1")


def _require_python(name: str, module: nn.Module) -> None:
    for path, part in module.named_modules():
        if isinstance(part, torch.jit.ScriptModule) or hasattr(part, "_orig_mod"):
            raise UserError(
                f"{name}: {repr(path) if path else 'it'} is compiled, by torch.jit or "
                "torch.compile: nobody can watch it; give the module that it was made of"
            )


def _checked_shape(name: str, shape: Sequence[int]) -> Shape:
    sizes = tuple(shape) if isinstance(shape, Sequence) else ()
    if not sizes or any(not isinstance(size, int) or size < 1 for size in sizes):
        raise UserError(
            f"{name}: input_shape: got {shape!r}; allowed: (C, H, W) for images or features, (n,) "
            "for a generator's features, without the batch"
        )
    return sizes


def _place(name: str, module: nn.Module, device: str | torch.device | None) -> torch.device:
    """The device of all parameters and buffers, which must be float32 where they are floats."""
    tensors = dict(module.named_parameters()) | dict(module.named_buffers())
    given = None if device is None else find_device(device)
    place = given or next((t.device for t in tensors.values()), torch.device("cpu"))
    for key, tensor in tensors.items():
        if tensor.device != place:
            raise UserError(
                f"{name}: {key!r} is on {tensor.device}, not on {place}; move the module there "
                f"with .to({str(place)!r}), or give another device"
            )
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            raise UserError(f"{name}: {key!r} is {tensor.dtype}; make the module .float()")
    return place


def _first(refused: Mapping[str, str]) -> str:
    """Of the first layer that cannot be had, if any."""
    return next((f" ({name!r}: {why})" for name, why in refused.items()), "")


def _kind(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
