"""Running a graph, or only the part of it that a part of a blob depends on.

A unit of a convolution layer sees a box of the image: then every layer before it is evaluated on
the region that reaches the unit. Where a region ends inside the map its neighbours are real values,
so the layers before it give some more; where it ends with the map there is padding, as always.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from cnnpref.geometry import Box, around, crop, full_box, grown, relative, spans
from cnnpref.nets.caffe.graph import Graph
from cnnpref.nets.caffe.layers.base import Edges, Layer, Patch
from cnnpref.nets.caffe.node import Node
from cnnpref.nets.caffe.rewrite.concat import with_parts
from cnnpref.nets.caffe.rewrite.late_relu import with_late_relu
from cnnpref.nets.kernels import faithful_kernels


@dataclass(frozen=True)
class _Step:
    """A node, which parts of its bottoms it takes, and which patch of its tops it makes."""

    node: Node
    cuts: Sequence[Box | None]  # relative to the part of the bottom that there is; None: all
    patch: Patch | None  # None: the whole maps
    overwrite: bool  # nothing else reads the bottom


class Execution:
    """The steps from given values to wanted ones.

    Args:
        graph: the net.
        wanted: values, each with the part of its map that is wanted; None is all of it.
        given: values that need no computing.
        sum_parts: whether convolutions may sum over the parts of a concatenation, which is not
            made then: faster, but differs in the last bits.

    Attributes:
        boxes: for each value on the way the part of its map that is computed, or must be given;
            None is all of it.
    """

    def __init__(
        self,
        graph: Graph,
        wanted: Mapping[int, Box | None],
        given: Container[int],
        sum_parts: bool = False,
    ) -> None:
        self.wanted = dict(wanted)
        self.boxes: dict[int, Box | None] = dict(wanted)
        nodes, self._shapes = graph.ancestors(wanted, given), graph.shapes
        if sum_parts:
            nodes, self._shapes = with_parts(nodes, wanted, graph.shapes)
        nodes = with_late_relu(nodes, wanted)
        patches = [self._patch(node) for node in reversed(nodes)][::-1]
        self._uses = Counter(bottom for node in nodes for bottom in node.bottoms)
        self._free = {top for node in nodes if not node.layer.keeps_top for top in node.tops}
        self.steps = [self._step(*each) for each in zip(nodes, patches, strict=True)]
        held = {value: x for value, x in graph.constants.items() if value not in given}
        self._held = {value: held[value] for value in self.read & held.keys()}

    @property
    def read(self) -> set[int]:
        """The values that are read, or wanted as they are."""
        return {*self.wanted, *self._uses}

    def __call__(self, given: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """The wanted parts of the wanted values, (N, ...), from the given values' `boxes`."""
        return dict(self.stream(given))

    def stream(self, given: Mapping[int, Tensor]) -> Iterator[tuple[int, Tensor]]:
        """The same one by one, as they are computed; what is needed no more is not kept here."""
        values, uses = dict(given), Counter(self._uses)
        number = len(next(iter(given.values()))) if given else 1
        for value, x in self._held.items():
            part = cut(x, self.boxes[value])
            values[value] = part.expand(number, *part.shape[1:]) if len(part) == 1 else part
        yield from self._wanted_of(values)
        with faithful_kernels():
            for step in self.steps:
                node = step.node
                pairs = zip(node.bottoms, step.cuts, strict=True)
                bottoms = [cut(values[bottom], place) for bottom, place in pairs]
                made = node.run(bottoms, step.patch, step.overwrite)
                tops = dict(zip(node.tops, made, strict=False))
                values.update({top: x for top, x in tops.items() if self._uses[top]})
                uses.subtract(node.bottoms)
                for done in {b for b in node.bottoms if not uses[b]}:
                    del values[done]  # its memory is free, unless a gradient or its reader needs it
                del bottoms, made
                yield from self._wanted_of(tops)
                del tops

    def _wanted_of(self, values: Mapping[int, Tensor]) -> Iterator[tuple[int, Tensor]]:
        """The wanted parts of the wanted ones among some values."""
        for value in (value for value in values if value in self.wanted):
            box = self.wanted[value]
            yield value, cut(values[value], box and self._place(box, value))

    def _patch(self, node: Node) -> Patch | None:
        """What of its tops a node makes; the boxes of its bottoms grow to what that takes."""
        patch = self._local_patch(node)
        self.boxes.update(dict.fromkeys(node.tops, patch.box if patch else None))
        for j, bottom in enumerate(node.bottoms):
            box = patch.needs[j] if patch else None
            self.boxes[bottom] = _union([box, self.boxes.get(bottom, box)])
        return patch

    def _local_patch(self, node: Node) -> Patch | None:
        box = _union([self.boxes[top] for top in node.tops if top in self.boxes])
        return None if box is None else local_patch(node.layer, box)

    def _step(self, node: Node, patch: Patch | None) -> _Step:
        cuts: list[Box | None] = [None] * len(node.bottoms)
        if patch is not None:
            pairs = zip(patch.needs, node.bottoms, strict=True)
            cuts = [self._place(need, bottom) for need, bottom in pairs]
        complete = not any(cuts) and all(map(self._whole, (*node.bottoms, *node.tops)))
        free = [b in self._free and self._uses[b] == 1 for b in node.bottoms]
        overwrite = all(free) and not any(cuts) and self.wanted.keys().isdisjoint(node.bottoms)
        return _Step(node, cuts, None if complete else patch, overwrite)

    def _whole(self, value: int) -> bool:
        box = self.boxes[value]
        return box is None or box == full_box(self._shapes[value])

    def _place(self, box: Box, value: int) -> Box | None:
        """A box of a value, relative to the part of it that is computed; None: that is all."""
        have = self.boxes[value] or full_box(self._shapes[value])
        return None if box == have else relative(box, have)


def local_patch(layer: Layer, box: Box) -> Patch | None:
    """What a box of a layer's tops takes; None if whole maps, or nothing but padding."""
    if not layer.local:
        return None
    asked = [layer.needs(bottom, box) for bottom in range(len(layer.bottom_shapes))]
    pairs = zip(asked, layer.bottom_shapes, strict=True)
    needs = [grown(box, 0, (shape[2], shape[3])) for box, shape in pairs]
    if any(a >= b for need in needs for a, b in spans(need)):
        return None
    edges = [_edges(*each) for each in zip(asked, needs, strict=True)]
    return Patch(box, needs, edges)


def _union(boxes: Sequence[Box | None]) -> Box | None:
    """Around all boxes, of which None is the whole map."""
    found = [box for box in boxes if box is not None]
    return around(found) if found and len(found) == len(boxes) else None


def _edges(asked: Box, inside: Box) -> Edges:
    """How far what is asked for reaches past the map: before and after, rows and columns."""
    rows, columns = (
        (c - a, b - d) for (a, b), (c, d) in zip(spans(asked), spans(inside), strict=True)
    )
    return rows, columns


def cut(x: Tensor, box: Box | None) -> Tensor:
    """A box of a map; all of it if None."""
    part: Tensor = x if box is None else crop(x, box)
    return part
