"""What a live pycaffe net tells of its layers: which blobs they read and write, or only names."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

import numpy as np

from cnnpref.errors import UserError
from cnnpref.geometry import Shape
from cnnpref.input_space import Array
from cnnpref.nets.pycaffe.runs import WHOLE_NET, ByName, LiveNet, Route, Step

NAME = "pycaffe"  # of a live net: pycaffe does not tell that of the prototxt
_SPLIT_BLOB = re.compile(r".*_\d+_split_\d+")


class Layers(Protocol):
    """The layers of a live net.

    Attributes:
        tops: {layer: the blob that it makes}, in execution order.
        hidden: blobs that Caffe put in.
    """

    tops: Mapping[str, str]
    hidden: Collection[str]

    def top(self, layer: str) -> str | None:
        """The blob that a layer makes, also of one that `tops` lacks; None if unknown."""

    def route(self, blob: str, given: Collection[str], layer: str | None = None) -> Route:
        """The layers that make a blob, as it is after `layer` or a full pass, of those given.

        Raises:
            UserError: an input that is needed is not given.
        """


def layer_names(net: Any) -> list[str] | None:
    """In execution order; None if the net does not tell them."""
    if hasattr(net, "_layer_names"):
        return list(net._layer_names)
    tops: Any = getattr(net, "top_names", None)
    return list(tops) if isinstance(tops, Mapping) else None


def layer_kinds(net: Any) -> list[str] | None:
    """In execution order; None if the net does not tell them."""
    return [layer.type for layer in net.layers] if hasattr(net, "layers") else None


def read_steps(net: Any, names: Sequence[str], kinds: Sequence[str] | None) -> list[Step] | None:
    """The layers in execution order, without those that only stand for an input.

    None if the net does not tell which blobs they read and write.
    """
    links, inputs = _links(net, names), set(net.inputs)
    if links is None:
        return None
    rows = enumerate(zip(names, kinds or [""] * len(names), links, strict=True))
    steps = [Step(place, name, kind, *link) for place, (name, kind, link) in rows]
    return [step for step in steps if step.bottoms or not inputs.issuperset(step.tops)]


def _links(net: Any, names: Sequence[str]) -> list[tuple[list[str], list[str]]] | None:
    """The bottoms and the tops of the layers."""
    if all(hasattr(net, name) for name in ("_blob_names", "_bottom_ids", "_top_ids")):
        blobs = list(net._blob_names)
        ids = [(net._bottom_ids(place), net._top_ids(place)) for place in range(len(names))]
        return [([blobs[i] for i in bottoms], [blobs[i] for i in tops]) for bottoms, tops in ids]
    if all(hasattr(net, name) for name in ("bottom_names", "top_names")):
        return [(list(net.bottom_names[name]), list(net.top_names[name])) for name in names]
    return None


# Of these the batch may have any size, if none of their weights lies along it.
_ANY_BATCH = {
    *("AbsVal", "ArgMax", "BNLL", "Concat", "Convolution", "Deconvolution", "Dropout", "ELU"),
    *("Eltwise", "Exp", "Flatten", "InnerProduct", "Input", "LRN", "Log", "MVN", "PReLU"),
    *("Pooling", "Power", "ReLU", "Reduction", "SPP", "Sigmoid", "Silence", "Slice", "Softmax"),
    *("Split", "Swish", "TanH", "Threshold", "Tile", "Bias", "Scale"),
}


def fixes_batch(net: LiveNet, steps: Sequence[Step] | None) -> bool:
    """Whether the net may need its own batch: with another one Caffe might end the process.

    So it is with the dimensions of a Reshape, a DummyData beside the image, weights along axis 0,
    types of forks. Of BatchNorm it is not told whether it takes the statistics of the batch.

    Args:
        net: the live net.
        steps: its layers, with their kinds; None if it does not tell them.
    """
    if steps is None or len(net.inputs) > 1:
        return True
    shapes = {name: blob.data.shape for name, blob in net.blobs.items()}
    batch = shapes[net.inputs[0]][:1]
    return any(
        step.kind not in _ANY_BATCH
        or any(shapes[blob][:1] != batch for blob in (*step.bottoms, *step.tops))
        or (step.kind in ("Bias", "Scale") and _along_batch(net, step, shapes))
        for step in steps
    )


def _along_batch(net: LiveNet, step: Step, shapes: Mapping[str, Shape]) -> bool:
    """Whether the weights of a layer may be along the batch, as far as their shape tells."""
    weights = [blob.data.shape for blob in net.params[step.name]] if step.name in net.params else []
    size = max(map(len, weights), default=0)
    return size > 0 and shapes[step.bottoms[0]][:size] in weights


def _require(absent: Sequence[str]) -> None:
    if absent:
        raise UserError(f"net {NAME!r}: give its input {', '.join(map(repr, absent))} too")


class Linked:
    """The layers of a net that tells which blobs they read and write."""

    def __init__(self, steps: Sequence[Step], inputs: Sequence[str]) -> None:
        self._steps, self._inputs = steps, inputs
        self.hidden: Collection[str] = {t for step in steps if step.is_split for t in step.tops}
        self._layers: dict[str, Step] = {}
        for step in steps:
            if step.tops and not step.is_split:
                self._layers.setdefault(step.name, step)  # of layers with one name the first
        self.tops: Mapping[str, str] = {n: step.tops[0] for n, step in self._layers.items()}

    def top(self, layer: str) -> str | None:
        return self.tops.get(layer)

    def route(self, blob: str, given: Collection[str], layer: str | None = None) -> Route:
        """The layers, up to `layer`, that make a blob of those that are given.

        An input is given as it is before a layer changes it in place, any other blob as it is
        after a full pass: no layer may write to it again.
        """
        final = {name for name in given if name not in self._inputs}
        needed, steps = {blob} - final, []
        for step in reversed(self._until(layer)):
            if needed.intersection(step.tops):
                needed.update(bottom for bottom in step.bottoms if bottom not in final)
                steps.append(step)
        absent = [name for name in self._inputs if name in needed and name not in given]
        beside = [step for step in steps if final.intersection(step.tops)]
        _require(absent + [top for step in beside for top in step.tops if top in needed])
        return Route(blob, steps[::-1])

    def _until(self, layer: str | None) -> list[Step]:
        last = self._layers[layer].place if layer else self._steps[-1].place
        return [step for step in self._steps if step.place <= last]


class Unlinked:
    """The layers of a net that tells no more than names.

    A layer's blob is the one of its own name. What else is asked for is seen from passes on noise:
    the blob of another layer, as most of those in place, and the last layer to write a blob. All
    inputs have to be given.

    Args:
        net: the live net.
        names: of all its layers, in execution order; None if it does not tell them: then each blob
            is taken to have a layer of its name.
        runner: runs it.
    """

    def __init__(self, net: LiveNet, names: Sequence[str] | None, runner: ByName) -> None:
        self._inputs, self._blobs, self._runner = list(net.inputs), dict(net.blobs), runner
        self._named, self._names = names is not None, list(self._blobs if names is None else names)
        self.hidden: Collection[str] = {n for n in self._blobs if _SPLIT_BLOB.fullmatch(n)}
        own = [n for n in self._names if n in self._blobs and n not in self._inputs]
        self.tops: Mapping[str, str] = {name: name for name in own if name not in self.hidden}
        self._others: dict[str, str | None] = {}
        self._final: dict[str, Route] = {}

    def top(self, layer: str) -> str | None:
        if layer in self.tops or layer not in self._names or layer in self._blobs:
            return self.tops.get(layer)
        if layer not in self._others:
            self._others[layer] = self._written(layer)
        return self._others[layer]

    def route(self, blob: str, given: Collection[str], layer: str | None = None) -> Route:
        """All layers up to `layer`, or up to the last that writes the blob, as one."""
        _require([name for name in self._inputs if name not in given])
        if layer:
            return self._route(blob, layer)
        if blob not in self._final:
            self._final[blob] = self._whole(blob)
        return self._final[blob]

    def _route(self, blob: str, end: str) -> Route:
        place = self._names.index(end) if end != WHOLE_NET else len(self._names)
        return Route(blob, [Step(place, end, "", self._inputs, [blob])])

    def _written(self, layer: str) -> str | None:
        """The first blob that a layer makes or changes; None if it changes nothing."""
        place = self._names.index(layer)
        before = self._snapshot(self._names[place - 1] if place else None)
        after = self._snapshot(layer)
        return next((name for name in after if not _alike(before[name], after[name])), None)

    def _whole(self, blob: str) -> Route:
        """The way to the last layer that writes a blob: from it on, it is as a full pass leaves it.

        Where that is not seen, the way through the whole net.
        """
        final = self._after(blob, WHOLE_NET)
        if blob in self._inputs and np.array_equal(final, self._noise(blob)):
            return Route(blob, [])
        for name in self._writers(blob):
            with suppress(UserError):  # there is no layer of that name
                if _alike(self._after(blob, name), final):
                    return self._route(blob, name)
        return self._route(blob, WHOLE_NET)

    def _writers(self, blob: str) -> list[str]:
        """The layers of which the first that leaves the blob as it stays is the last to write it.

        Where only some are known, a later one would be taken for it: so only its own is.
        """
        if not self._named:
            return [blob]
        return self._names[self._names.index(blob) if blob in self._names else 0 :]

    def _snapshot(self, end: str | None) -> dict[str, Array]:
        """What a pass on noise leaves in all blobs, but those of Caffe's splits."""
        self._pass(end)
        names = [name for name in self._blobs if name not in self.hidden]
        return {name: np.array(self._blobs[name].data) for name in names}

    def _after(self, blob: str, end: str) -> Array:
        """What a pass on noise leaves in a blob."""
        self._pass(end)
        return np.array(self._blobs[blob].data)

    def _pass(self, end: str | None) -> None:
        """Run up to a layer on noise, always the same; for None, to none.

        A blob of no layer's name holds NaN unless one has written to it: not what was there before.
        """
        for name in self._blobs.keys() - {*self._names, *self.hidden}:
            self._blobs[name].data[...] = np.nan
        for name in self._inputs:
            self._blobs[name].data[...] = self._noise(name)
        if end is not None:
            self._runner.run_to(end)

    def _noise(self, name: str) -> Array:
        """Of about the range of images."""
        shape = self._blobs[name].data.shape
        return 100 * np.random.default_rng(0).standard_normal(shape, np.float32)


def _alike(a: Array, b: Array) -> bool:
    return np.allclose(a, b, equal_nan=True)
