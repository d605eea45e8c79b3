"""Images through a net: once for all layers, and what their units answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from os import PathLike, fspath
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cnnpref.errors import UserError
from cnnpref.images.index import Image, Index, digest_of, find_images, read_images
from cnnpref.images.pictures import Bytes, Content, Frame, UnreadableError
from cnnpref.nets.kernels import fast_kernels
from cnnpref.nets.net import Net
from cnnpref.statistics.crops import by_image, cut, with_boxes, with_crops
from cnnpref.statistics.exact import LARGEST
from cnnpref.statistics.layer import Known, LayerReferences, merge
from cnnpref.statistics.nature import MOST, Nature, Size
from cnnpref.statistics.nature import nature as of_pictures
from cnnpref.statistics.tally import Part, Tally

# Images of a pass. Always so many, if need be with copies: kernels sum in an order that depends on
# their number, but not on an image's place or company.
BATCH = 16

Places = str | PathLike[str] | Sequence[str | PathLike[str]]
Read = Callable[[Sequence[Image]], Iterable[tuple[Image, Content]]]


def references(
    net: Net,
    images: Places | npt.NDArray[Any],
    layers: Iterable[str] | None = None,
    *,
    top: int = 9,
    resize: int | tuple[int, int] | None = None,
) -> dict[str, LayerReferences]:
    """What reference images do to the units of some layers: {layer: statistics and best images}.

    The order of the images changes nothing, nor does their place on a disk, but for their names.

    Args:
        net: the network.
        images: as `references.images` in a config: a folder, an archive, a stack ..., or several;
            or an array (N, H, W, C) or (N, H, W), 0..255.
        layers: names; None is all that have units.
        top: how many of the best images to name, and to cut out what the unit sees of them.
        resize: of images: to this length of the shorter side, or to this (height, width), before
            the middle is taken; None: as the net's weights want it, if that is known, else just so
            that they cover the net's image.

    Raises:
        UserError: no image can be read; an unknown layer; activations that are not finite.
    """
    shapes = {name: net.unit_map(name).units_first for name in layers or net.maps}
    frame = Frame(net.image_size, net.input_shape[0], resize or net.resize)
    index, read = _index(images)
    shown, skipped, parts = tally_images(net, shapes, frame, index.images, top, read)
    names = tuple(image.name for image in shown)
    digests = tuple(image.sha256 for image in shown)
    known = Known(names, digests, {**index.skipped, **skipped})
    if not shown:
        raise UserError(none_readable(known))
    found = {
        layer: merge(layer, shapes[layer], [part], known, top) for layer, part in parts.items()
    }
    return _with_crops(net, frame, found, shown, read)


def nature(
    net: Net,
    images: Places | npt.NDArray[Any],
    layers: Iterable[str] | None = None,
    *,
    resize: int | tuple[int, int] | None = None,
) -> Nature:
    """What the pixels of reference images are like, as the net is shown them.

    Args:
        net: the network.
        images: as for `references`; no more than 1,000 are looked at, a choice by their digests.
        layers: whose units see parts of the image of sizes that count; None is all that have units.
        resize: as for `references`.

    Raises:
        UserError: fewer than two images can be read.
    """
    frame = Frame(net.image_size, net.input_shape[0], resize or net.resize)
    index, read = _index(images)
    pictures = first_pictures(frame, index.images, read)
    return of_pictures(pictures, seen_sizes(net, layers or net.maps))


def first_pictures(
    frame: Frame, images: Sequence[Image], read: Read = read_images
) -> Iterator[tuple[str, Bytes]]:
    """Digests and pictures of the first images by digest, up to 1,000, that can be read."""
    return islice(_in_order(frame, images, read), MOST)


def _in_order(frame: Frame, images: Sequence[Image], read: Read) -> Iterator[tuple[str, Bytes]]:
    for first in range(0, len(images), MOST):
        several = images[first : first + MOST]
        shown = dict(show_images(frame, read(several), {}))
        yield from ((image.sha256, shown[image]) for image in several if image in shown)


def seen_sizes(net: Net, layers: Iterable[str]) -> set[Size]:
    """(h, w) of what the units in the middle of layers see, and of the whole image."""
    boxes = (net.receptive_field(layer) for layer in layers)
    seen = {(bottom - top, right - left) for top, left, bottom, right in boxes}
    return (seen - {(0, 0)}) | {net.image_size}


def none_readable(known: Known) -> str:
    """What to say where no image could be read."""
    name, reason = next(iter(known.skipped.items()))
    return f"references: none of {len(known.skipped)} images can be read; {name}: {reason}"


def _index(images: Places | npt.NDArray[Any]) -> tuple[Index, Read]:
    if not isinstance(images, np.ndarray):
        several = [images] if isinstance(images, str | PathLike) else images
        return find_images([fspath(each) for each in several]), read_images
    first = {digest_of(row): place for place, row in reversed(list(enumerate(images)))}
    found = tuple(Image(digest, "images", str(first[digest])) for digest in sorted(first))
    return Index(found, {}), lambda some: ((image, images[int(image.member)]) for image in some)


def tally_images(
    net: Net,
    layers: dict[str, tuple[int, ...]],
    frame: Frame,
    images: Sequence[Image],
    top: int,
    read: Read = read_images,
) -> tuple[list[Image], dict[str, str], dict[str, Part]]:
    """What some images do to the units of some layers, in one pass for all layers.

    Args:
        net: the network.
        layers: names and shapes, units first.
        frame: how images become the net's.
        images: to be read.
        top: how many of the lowest minima to keep.
        read: gives what they hold.

    Returns:
        The images that could be read, by digest; {name of another one: why not}; and for each layer
        what there is to merge, its rows in the order of these images.

    Raises:
        UserError: activations are not finite.
    """
    tallies = {name: Tally(shape, len(images)) for name, shape in layers.items()}
    shown: list[Image] = []
    skipped: dict[str, str] = {}
    for several in _batches(show_images(frame, read(images), skipped)):
        _run(net, tallies, [picture for _, picture in several], [i.name for i, _ in several])
        shown += [image for image, _ in several]
    order = np.argsort([image.sha256 for image in shown]) if shown else np.zeros(0, np.int64)
    parts = {name: tally.part(top, order) for name, tally in tallies.items()}
    return [shown[place] for place in order], skipped, parts


def show_images(
    frame: Frame, contents: Iterable[tuple[Image, Content]], skipped: dict[str, str]
) -> Iterator[tuple[Image, Bytes]]:
    """The pictures (H, W, C) of those that can be read; the others go into `skipped`."""
    for image, content in contents:
        try:
            yield image, frame.show(content)
        except UnreadableError as error:
            skipped[image.name] = str(error)


def _batches(
    pictures: Iterator[tuple[Image, Bytes]],
) -> Iterator[list[tuple[Image, Bytes]]]:
    batch: list[tuple[Image, Bytes]] = []
    for each in pictures:
        batch.append(each)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _run(
    net: Net, tallies: dict[str, Tally], pictures: Sequence[Bytes], names: Sequence[str]
) -> None:
    count = len(pictures)
    filled = np.stack([*pictures, *[pictures[-1]] * (BATCH - count)])

    def visit(layer: str, values: Tensor) -> None:
        units_first = values[:count].movedim(1 + net.maps[layer].axis, 1)
        found = units_first.detach().float().contiguous().cpu().numpy()
        if not tallies[layer].add(found):
            raise UserError(
                f"references: layer {layer!r} of {net.name!r} gives values that are not finite, or "
                f"beyond {np.sqrt(LARGEST):.0g}, for {names[0]} or the {count - 1} images after it;"
                " leave the layer or these images out"
            )

    with torch.no_grad(), fast_kernels():
        net.visit(torch.from_numpy(net.space.encode(filled)).to(net.device), list(tallies), visit)


def _with_crops(
    net: Net,
    frame: Frame,
    found: dict[str, LayerReferences],
    shown: Sequence[Image],
    read: Read,
) -> dict[str, LayerReferences]:
    pairs = {layer: with_crops(with_boxes(each, net)) for layer, each in found.items()}
    wanted = by_image({layer: places for layer, (_, places) in pairs.items()})
    crops = {layer: [b""] * len(places) for layer, (_, places) in pairs.items()}
    places = {shown[number]: number for number in wanted}
    for image, picture in show_images(frame, read(list(places)), {}):
        for layer, number, place in wanted[places[image]]:
            crops[layer][number] = cut(picture, place)
    return {layer: replace(each, crops=crops[layer]) for layer, (each, _) in pairs.items()}
