"""A live pycaffe net of which only public members are there, as of a fork or of a remote proxy."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

FLAVOURS = {
    "bare": [],
    "named": ["_layer_names"],
    "linked": ["_layer_names", "layers", "top_names", "bottom_names", "reshape"],
    "linked 1.0": ["layers", "top_names", "bottom_names"],
}


class PublicBlob:
    """A blob without a shape or a memory of its own."""

    __slots__ = ("_blob",)

    def __init__(self, blob: Any) -> None:
        self._blob = blob

    @property
    def data(self) -> np.ndarray:
        return self._blob.data

    @property
    def diff(self) -> np.ndarray:
        return self._blob.diff

    def reshape(self, *shape: int) -> None:
        self._blob.reshape(*shape)


def public(live: Any, flavour: str) -> SimpleNamespace:
    """What a flavour shows of a live net; anything else is an AttributeError.

    Where there is `reshape()`, no pass may come between another shape of an input and a call of it.
    """
    shown = SimpleNamespace(
        inputs=live.inputs,
        params=live.params,
        blobs={name: PublicBlob(blob) for name, blob in live.blobs.items()},
        backward=live.backward,
    )
    more = FLAVOURS[flavour]
    known = []

    def shapes() -> list[tuple[int, ...]]:
        return [live.blobs[name].shape for name in live.inputs]

    def reshape() -> None:
        known[:] = shapes()

    def forward(**arguments: str) -> dict[str, np.ndarray]:
        assert "reshape" not in more or known == shapes()
        return live.forward(**arguments)

    def bottom_names(place: int) -> list[str]:
        return [live._blob_names[i] for i in live._bottom_ids(place)]

    reshape()
    names = list(live._layer_names)
    links = {name: bottom_names(place) for place, name in enumerate(names)}
    extras = {"reshape": reshape, "bottom_names": links}
    for name in more:
        setattr(shown, name, extras[name] if name in extras else getattr(live, name))
    shown.forward = forward
    if hasattr(live, "transformer"):
        shown.transformer = SimpleNamespace(mean=live.transformer.mean)
    return shown
