"""What comes of the image, and of random numbers, in one pass; and where channels are.

Followed through ATen operations, which see what autograd does not: values that are computed under
`no_grad`, detached, complex or whole numbers. A convolution's channels are axis 1, those of a
linear layer and of a normalisation over one axis the last; what else is done to a tensor moves
them, by the same rules as its rows and columns, or loses them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cnnpref.nets.pytorch.memory import Key, key_of, storage_of
from cnnpref.nets.pytorch.rules import Call, dims_of

_PRODUCTS = ("mm", "addmm", "bmm", "baddbmm")


class Constants(NamedTuple):
    """How many tokens of a sequence do not depend on the image: at its start and at its end."""

    first: int
    last: int


class ImageFlow(TorchDispatchMode):
    """Listens to operations, inside `with`.

    Args:
        images: what everything comes of, (N, C, ...).

    Attributes:
        constants: of sequences that were put together of tokens of the image and others, by their
            length.
    """

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self._axes: dict[Key, int | None] = {}
        self._storages: set[int] = set()
        self._random: set[int] = set()
        self._alive: list[Tensor] = []  # so that no storage is used twice
        self.constants: dict[int, Constants] = {}
        self._keep(images, 1)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        call = Call(func, args, kwargs or {})
        known = [self.comes_from_image(t) for t in call.tensors]
        axes = [self.channels(t) for t in call.tensors]
        chance = _is_drawn(call) or any(map(self.is_random, call.tensors))
        result = func(*args, **(kwargs or {}))
        made = [t for t in (*call.written, *tree_leaves(result)) if isinstance(t, Tensor)]
        if chance:
            self._alive += made
            self._random |= {storage_of(t) for t in made}
        if any(known) and not call.name.startswith("new_") and not call.name.endswith("_like"):
            self._note_tokens(call, known)
            for tensor in made:
                self._keep(tensor, _channels_of(call, known, axes, tensor))
        return result

    def comes_from_image(self, tensor: Tensor) -> bool:
        """Whether its values depend on the image."""
        return storage_of(tensor) in self._storages

    def is_random(self, tensor: Tensor) -> bool:
        """Whether random numbers went into its values."""
        return storage_of(tensor) in self._random

    def channels(self, tensor: Tensor) -> int | None:
        """The axis of its channels, if it is known."""
        return self._axes.get(key_of(tensor))

    def _keep(self, tensor: Tensor, axis: int | None) -> None:
        self._alive.append(tensor)
        self._storages.add(storage_of(tensor))
        self._axes[key_of(tensor)] = axis

    def _note_tokens(self, call: Call, known: Sequence[bool]) -> None:
        """A sequence (N, T, D), or (T, N, D), that begins or ends with tokens of another origin."""
        if call.name != "cat" or len(call.shape) != 3 or all(known):
            return
        (axis,) = call.axes()
        sizes = [shape[axis] for shape in call.shapes if len(shape) == 3]
        if axis < 2 and len(sizes) == len(known):
            ahead, behind = known.index(True), known[::-1].index(True)
            ends = sum(sizes[:ahead]), sum(sizes[len(sizes) - behind :])
            self.constants.setdefault(sum(sizes), Constants(*ends))


def _is_drawn(call: Call) -> bool:
    """Whether a call draws random numbers; attention and dropout may be told not to."""
    off = (call.values.get(name) for name in ("dropout_p", "p", "training", "train"))
    drawn = torch.Tag.nondeterministic_seeded in call.func.tags
    return drawn and not any(isinstance(value, bool | float) and not value for value in off)


def _channels_of(
    call: Call, known: Sequence[bool], axes: Sequence[int | None], output: Tensor
) -> int | None:
    """Where the channels of an output are, from where they are in the call's tensors."""
    if call.name == "convolution":
        return 1
    if call.name in _PRODUCTS:
        left, right = known[-2:]
        return None if left and right else output.ndim - (1 if left else 2)
    if call.name == "native_layer_norm" and len(call.values["normalized_shape"]) == 1:
        return output.ndim - 1 if output.shape == call.shape else None
    for axis, dims in zip(axes, dims_of(call, output), strict=False):
        for to, (of, _) in dims.items() if axis is not None else ():
            if of == axis:
                return to
    same = (axis for axis, shape in zip(axes, call.shapes, strict=True) if shape == output.shape)
    return next((axis for axis in same if axis is not None), None)
