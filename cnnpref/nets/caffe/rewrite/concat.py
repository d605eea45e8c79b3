"""Concatenations that only a convolution reads: it takes the parts as they are.

A convolution of channels one after another is the sum of the convolutions of each part with its
part of the kernel. What is joined need not be copied then, nor its gradient cut up again. Layers in
between that treat every channel alike, such as poolings, treat each part.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import replace
from functools import reduce
from itertools import accumulate, pairwise
from operator import iadd

from torch import Tensor

from cnnpref.geometry import Reach, Same, Shape
from cnnpref.nets.caffe.layers.base import Layer, Patch
from cnnpref.nets.caffe.layers.convolution import Convolution
from cnnpref.nets.caffe.layers.rearrange import Concat
from cnnpref.nets.caffe.node import Node


def with_parts(
    nodes: Sequence[Node], wanted: Container[int], shapes: Sequence[Shape]
) -> tuple[list[Node], list[Shape]]:
    """The same steps without the concatenations that need not be made.

    Args:
        nodes: steps in execution order.
        wanted: values that must come out as they are.
        shapes: of every value.

    Returns:
        The steps, and the shapes of old and new values.
    """
    steps: list[Node] = []
    shapes = list(shapes)
    parts: dict[int, list[int]] = {}  # {value that is not made: those that it consists of}
    readers = Counter(bottom for node in nodes for bottom in node.bottoms)
    reader = {bottom: node for node in nodes for bottom in node.bottoms}

    def dissolves(value: int) -> bool:
        """Whether all that reads a value can do with its parts."""
        if readers[value] != 1 or value in wanted:
            return False
        node = reader[value]
        return _sums(node) or (_treats_alike(node) and dissolves(node.tops[0]))

    def of_part(node: Node, part: int) -> Node:
        """A step of each channel by itself, on a part of them."""
        shapes.append((*shapes[part][:2], *shapes[node.tops[0]][2:]))
        return replace(node, bottoms=[part], tops=[len(shapes) - 1])

    for node in nodes:
        pieces = parts.get(node.bottoms[0]) if node.bottoms else None
        if isinstance(node.layer, Concat) and node.layer.axis == 1 and dissolves(node.tops[0]):
            parts[node.tops[0]] = node.bottoms
        elif pieces is None:
            steps.append(node)
        elif isinstance(node.layer, Convolution):
            layer = SummedConvolution(node.layer, [shapes[piece] for piece in pieces])
            steps.append(replace(node, layer=layer, bottoms=pieces))
        else:
            made = [of_part(node, piece) for piece in pieces]
            parts[node.tops[0]] = [step.tops[0] for step in made]
            steps += made
    return steps, shapes


def _sums(node: Node) -> bool:
    """Whether it is a convolution of all channels of its one bottom, on a CPU (measured)."""
    layer = node.layer
    single = isinstance(layer, Convolution) and layer.group == 1 and len(node.bottoms) == 1
    return single and layer.over_maps and layer.weights[0].is_cpu


def _treats_alike(node: Node) -> bool:
    """Whether it makes each channel of its top of that of its bottom, and all in the same way."""
    layer = node.layer
    single = len(node.bottoms) == len(node.tops) == 1 and not layer.weights
    return single and layer.local and layer.reach(1, 0, 0) == Same()


class SummedConvolution(Layer):
    """A convolution of its bottoms' channels, one after another.

    Args:
        whole: the convolution of the concatenation.
        bottoms: shapes of the parts.
    """

    keeps_top = False

    def __init__(self, whole: Convolution, bottoms: Sequence[Shape]) -> None:
        super().__init__(whole.message)
        self.bottom_shapes, self.top_shapes = list(bottoms), whole.top_shapes
        edges = accumulate((shape[1] for shape in bottoms), initial=0)
        self._parts = [whole.of_channels(a, b) for a, b in pairwise(edges)]

    def forward(self, *bottoms: Tensor) -> Tensor:
        tops = [part.forward(x)[0] for part, x in zip(self._parts, bottoms, strict=True)]
        return reduce(iadd, tops)

    def forward_patch(self, patch: Patch, *bottoms: Tensor) -> Tensor:
        needs = zip(patch.needs, patch.edges, strict=True)
        patches = [Patch(patch.box, [need], [edges]) for need, edges in needs]
        each = zip(self._parts, patches, bottoms, strict=True)
        return reduce(iadd, [part.forward_patch(patch, x)[0] for part, patch, x in each])

    def reach(self, axis: int, top: int, bottom: int) -> Reach:
        return self._parts[0].reach(axis, 0, 0)

    @property
    def local(self) -> bool:
        return True
