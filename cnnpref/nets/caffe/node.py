"""One step of a graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cnnpref.errors import UserError
from cnnpref.geometry import Shape
from cnnpref.nets.caffe.layers.base import Layer, Patch


@dataclass(frozen=True)
class Node:
    """One step: the `tops` of a layer from its `bottoms`, both indices of values.

    With `rectified` a ReLU follows it at once.
    """

    layer: Layer
    bottoms: list[int]
    tops: list[int]
    rectified: bool = False

    def run(
        self, bottoms: Sequence[Tensor], patch: Patch | None = None, overwrite: bool = False
    ) -> tuple[Tensor, ...]:
        """The tops' tensors, or a patch of them; over the bottom's memory if that is allowed.

        Raises:
            UserError: the bottoms do not fit the layer; names the layer and their shapes.
        """
        result: Tensor | tuple[Tensor, ...]
        try:
            if overwrite and self.layer.overwrite:
                result = self.layer.overwrite(bottoms[0])
            elif patch is None:
                result = self.layer.forward(*bottoms)
            else:
                result = self.layer.forward_patch(patch, *bottoms)
        except (RuntimeError, ValueError, TypeError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            raise layer_error(self.layer, error, [tuple(b.shape) for b in bottoms]) from None
        tops = result if isinstance(result, tuple) else (result,)
        return tuple(map(F.relu_, tops)) if self.rectified else tops


def layer_error(layer: Layer, error: Exception, bottoms: Sequence[Shape]) -> UserError:
    """The error of a layer, said with its name, type and bottoms."""
    return UserError(f"layer {layer.name!r} ({layer.kind}) {explained(error, bottoms)}")


def explained(error: Exception, bottoms: Sequence[Shape]) -> str:
    """What an error says, in one line, with the bottoms."""
    shapes = " ".join(str(list(s)) for s in bottoms)
    return f"on {shapes}: {str(error).splitlines()[0]}"
