"""The layers of a live pycaffe net, and two ways to run some of them: by place and by name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from cnnpref.errors import UserError
from cnnpref.input_space import Array


class LiveBlob(Protocol):
    """A blob of pycaffe; its arrays are views of Caffe's memory, which a reshape may move."""

    @property
    def data(self) -> Array: ...
    @property
    def diff(self) -> Array: ...
    def reshape(self, *shape: int) -> object: ...


class LiveNet(Protocol):
    """What every `caffe.Net` has: its public interface."""

    inputs: Sequence[str]
    blobs: Mapping[str, LiveBlob]
    params: Mapping[str, Iterable[LiveBlob]]

    def forward(self, *, end: str = ...) -> Mapping[str, Array]: ...
    def backward(self, *, start: str = ...) -> object: ...


class PlacedNet(LiveNet, Protocol):
    """Pycaffe's private members: the same from Caffe 1.0.0-rc3 (deepsim) to BVLC's last."""

    _layer_names: Iterable[str]
    _blob_names: Iterable[str]

    def _top_ids(self, layer: int) -> Iterable[int]: ...
    def _bottom_ids(self, layer: int) -> Iterable[int]: ...
    def _forward(self, first: int, last: int) -> object: ...
    def _backward(self, last: int, first: int) -> object: ...


PUBLIC = ("inputs", "blobs", "params", "forward", "backward")
PRIVATE = ("_layer_names", "_blob_names", "_top_ids", "_bottom_ids", "_forward", "_backward")

WHOLE_NET = ""  # in place of the name of a layer to run to
# Caffe has no gradient of these: asked for one, it ends the process.
_NO_GRADIENT = {"Accuracy", "ArgMax", "Threshold"}
_SPLIT = re.compile(r".*_\d+_split")


@dataclass(frozen=True)
class Step:
    """A layer: its place in the net, and the blobs that it reads and writes; its kind, if known."""

    place: int
    name: str
    kind: str
    bottoms: Sequence[str]
    tops: Sequence[str]

    @property
    def is_split(self) -> bool:
        """Whether Caffe put it in, as it does where several layers read a blob."""
        return self.kind in ("Split", "") and bool(_SPLIT.fullmatch(self.name))


@dataclass(frozen=True)
class Route:
    """How a blob comes about: the layers that lead to it, in execution order."""

    blob: str
    steps: Sequence[Step]

    @property
    def read(self) -> set[str]:
        """The blob itself, and all that the layers read."""
        return {self.blob, *(bottom for step in self.steps for bottom in step.bottoms)}


class Runner(Protocol):
    """A way to run the layers of a live net.

    Attributes:
        from_inputs: whether every pass starts at the inputs of the net.
    """

    from_inputs: bool

    def follow(self) -> None:
        """Let the net know that an input has another shape."""

    def forward(self, routes: Sequence[Route]) -> None:
        """Run the layers of all routes."""

    def backward(self, route: Route) -> None:
        """Run the layers of a route backward, from the diff of its blob.

        Raises:
            UserError: it is not known where to start.
        """

    def diffs(self, route: Route) -> Iterable[str]:
        """The blobs whose diffs count in that: what earlier calls left there has to go first."""

    def has_gradient(self, route: Route) -> bool:
        """Whether Caffe can go it backward, as far as is known."""


class ByPlace:
    """With pycaffe's private members: the layers of the routes alone are run, from anywhere."""

    from_inputs = False

    def __init__(self, net: PlacedNet) -> None:
        self._net = net

    def follow(self) -> None:
        """Nothing is to be done: Caffe's layers look at their bottoms' shapes as they run."""

    def forward(self, routes: Sequence[Route]) -> None:
        for first, last in _ranges(step for route in routes for step in route.steps):
            self._net._forward(first, last)

    def backward(self, route: Route) -> None:
        for first, last in reversed(_ranges(route.steps)):
            self._net._backward(last, first)

    def diffs(self, route: Route) -> Iterable[str]:
        return {top for step in route.steps for top in step.tops}

    def has_gradient(self, route: Route) -> bool:
        return _NO_GRADIENT.isdisjoint(step.kind for step in route.steps)


def _ranges(steps: Iterable[Step]) -> list[tuple[int, int]]:
    """The places of layers as runs of consecutive ones, (first, last) each."""
    runs: list[tuple[int, int]] = []
    for place in sorted({step.place for step in steps}):
        first = runs.pop()[0] if runs and runs[-1][1] == place - 1 else place
        runs.append((first, place))
    return runs


class ByName:
    """With pycaffe's public functions: all layers are run, from the first to the last of a route.

    Args:
        net: the live net.
        names: of its layers in execution order; None if it does not tell them.
        kinds: the types of its layers; None if it does not tell them.
    """

    from_inputs = True

    def __init__(
        self, net: LiveNet, names: Sequence[str] | None, kinds: Sequence[str] | None
    ) -> None:
        self._net, self._blobs, self._named = net, list(net.blobs), names is not None
        self._kinds = kinds if names is not None and kinds is not None else ()
        self._outputs: set[str] = set()  # as far as a full pass has told them

    def follow(self) -> None:
        """Some forks look at the shapes of blobs only when they are told to."""
        if hasattr(self._net, "reshape"):
            self._net.reshape()

    def run_to(self, layer: str) -> None:
        """Run all layers up to one, inclusive.

        Raises:
            UserError: the net, which does not tell its layers, has none of that name.
        """
        if layer == WHOLE_NET:
            self._outputs.update(self._net.forward() or ())
            return
        try:
            self._net.forward(end=layer)
        except (KeyError, ValueError) as error:
            if self._has_run(layer, error):
                return
            if self._named:
                raise
            raise UserError(
                f"the pycaffe net, which does not tell the names of its layers, cannot run to one "
                f"called {layer!r}, as its blob is; name another layer, or read the net's files "
                "with load_caffe"
            ) from error

    def _has_run(self, layer: str, error: Exception) -> bool:
        """Whether it failed only after the pass: before 2017, it returns the blob of that name."""
        missed = isinstance(error, KeyError) and error.args == (layer,)
        return self._named and missed and layer not in self._blobs

    def forward(self, routes: Sequence[Route]) -> None:
        steps = [step for route in routes for step in route.steps]
        if steps:
            self.run_to(max(steps, key=lambda step: step.place).name)

    def backward(self, route: Route) -> None:
        if not route.steps:
            return
        start = route.steps[-1].name
        if start != WHOLE_NET:
            self._net.backward(start=start)
        elif route.blob in self._outputs:  # no layer reads it
            self._net.backward()
        else:
            raise UserError(
                f"the pycaffe net does not tell which layer writes its blob {route.blob!r} last: "
                "no gradient can be had; ask for a layer's, or read the net's files with load_caffe"
            )

    def diffs(self, route: Route) -> Iterable[str]:
        return self._blobs

    def has_gradient(self, route: Route) -> bool:
        last = max((step.place for step in route.steps), default=-1)
        return _NO_GRADIENT.isdisjoint(self._kinds[: last + 1])
