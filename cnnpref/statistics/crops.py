"""What units saw in the images that were picked: where it is, and as a file of an image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from cnnpref.display import three_channels
from cnnpref.geometry import Box, crop, spans
from cnnpref.images.pictures import Bytes
from cnnpref.statistics.layer import Ints, LayerReferences, Picks

if TYPE_CHECKING:  # crops are read without PyTorch
    from cnnpref.nets import Net

_SMALL = 32 * 32  # pixels: up to here without loss
_QUALITY = 90

Place = tuple[int, int, int, int, int]
"""An image, and the box of what is seen of it: top, left, bottom, right."""


def with_boxes(found: LayerReferences, net: Net) -> LayerReferences:
    """The same, with what each unit sees of each picked image."""
    field = cache(lambda where: net.receptive_field(found.layer, where))
    boxes = {name: _boxes(field, found, picks) for name, picks in found.picks().items()}
    picks = {name: replace(each, box=boxes[name]) for name, each in found.picks().items()}
    return found.with_picks(picks)


def _boxes(field: Callable[[Any], Box], found: LayerReferences, picks: Picks) -> Ints:
    """(U, k, 4); rows of a map see the same rows of the image in all columns, and so do columns."""
    if len(found.shape) != 3:
        places, which = np.unique(
            picks.position.reshape(-1, picks.position.shape[-1]), axis=0, return_inverse=True
        )
        axes = len(found.shape) - 1
        wheres = [tuple(place[-axes:]) if axes else "center" for place in places.tolist()]
        seen = [field(where) for where in wheres]
        return np.array(seen, np.int32)[which].reshape(*picks.image.shape, 4)
    middle = found.shape[1] // 2, found.shape[2] // 2
    boxes = np.empty((*picks.image.shape, 4), np.int32)
    for axis in (0, 1):
        table = np.zeros((found.shape[1 + axis], 2), np.int32)
        for at in np.unique(picks.position[..., axis]).tolist():
            where = (at, middle[1]) if axis == 0 else (middle[0], at)
            table[at] = spans(field(where))[axis]
        boxes[..., axis::2] = table[picks.position[..., axis]]
    return boxes


def with_crops(found: LayerReferences) -> tuple[LayerReferences, list[Place]]:
    """The same, which has boxes, with numbers of crops; and these crops, each once, ascending."""
    tables = {name: _places(picks) for name, picks in found.picks().items()}
    every = np.unique(np.concatenate([t.reshape(-1, 5) for t in tables.values()]), axis=0)
    places = every[(every[:, 0] >= 0) & (every[:, 3] > every[:, 1]) & (every[:, 4] > every[:, 2])]
    number = {place: index for index, place in enumerate(map(tuple, places.tolist()))}
    crops = {
        name: np.array(
            [[number.get(tuple(p), -1) for p in row] for row in table.tolist()], np.int32
        )
        for name, table in tables.items()
    }
    picks = {name: replace(each, crop=crops[name]) for name, each in found.picks().items()}
    return found.with_picks(picks), list(number)


def _places(picks: Picks) -> npt.NDArray[np.int32]:
    """(U, k, 5)."""
    assert picks.box is not None
    return np.concatenate([picks.image[..., None], picks.box], axis=-1)


def by_image(wanted: Mapping[str, Iterable[Place]]) -> dict[int, list[tuple[str, int, Place]]]:
    """For each image the layers, numbers and places of its crops, of all layers."""
    found: dict[int, list[tuple[str, int, Place]]] = {}
    for layer, places in wanted.items():
        for number, place in enumerate(places):
            found.setdefault(place[0], []).append((layer, number, place))
    return found


def cut(picture: Bytes, place: Place) -> bytes:
    """A crop of an image (H, W, C) as a file: PNG where it is small, else JPEG."""
    part = np.moveaxis(crop(np.moveaxis(picture, -1, 0), place[1:]), 0, -1)
    if part.shape[2] == 2 or part.shape[2] > 3:
        part = three_channels(part).astype(np.uint8)
    image = Image.fromarray(np.ascontiguousarray(part[..., 0] if part.shape[2] == 1 else part))
    file = BytesIO()
    if part.shape[0] * part.shape[1] <= _SMALL:
        image.save(file, "PNG")
    else:
        image.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()
