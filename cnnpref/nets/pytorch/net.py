"""A PyTorch module as a Net."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from cnnpref.errors import UserError, first_line
from cnnpref.geometry import Mask, Shape
from cnnpref.input_space import InputSpace
from cnnpref.nets.net import Net, Visit
from cnnpref.nets.pytorch.dependence import RecordedPass, Recorder, Trace
from cnnpref.nets.pytorch.discovery import Source, discover
from cnnpref.nets.pytorch.passes import AbsentError, Done, PartialPass, Pass
from cnnpref.nets.pytorch.readout import smallest_readout
from cnnpref.nets.readout import Readout


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

    def unit_weights(self, layer: str) -> list[Tensor]:
        try:
            module = self.module.get_submodule(layer)
        except AttributeError:  # the second call of a module, or no module at all
            return []
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            return list(module.weight.detach().flatten(1).chunk(module.groups))
        return [module.weight.detach()] if isinstance(module, nn.Linear) else []

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

    def visit(self, images: Tensor, layers: Sequence[str], visit: Visit) -> None:
        for layer in layers:
            self.layer_shape(layer)
        left = set(layers)

        def observe(name: str, value: Tensor) -> Tensor:
            if name in left:
                visit(name, self._images_first(name, value))
                left.remove(name)
                if not left:
                    raise Done
            return value

        self._run(Pass(self.module, self._input, observe, layers), images.clone())
        self._require_reached(list(left), {})

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
                f"{list(images.shape)}: {first_line(error)}; check the shape of its input: it is"
                " called with that one tensor; if it wants more, wrap it in a module that gives it"
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

    def readout(self, layer: str, index: npt.ArrayLike) -> Readout:
        return smallest_readout(self, layer, np.asarray(index))

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


def _first(refused: Mapping[str, str]) -> str:
    """Of the first layer that cannot be had, if any."""
    return next((f" ({name!r}: {why})" for name, why in refused.items()), "")
