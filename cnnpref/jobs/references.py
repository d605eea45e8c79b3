"""Jobs about reference images: the list of them, a shard, their pixels, the files of all layers."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from cnnpref.atomic import replacing
from cnnpref.errors import UserError, printable
from cnnpref.images.index import Image, read_images
from cnnpref.nets import Net
from cnnpref.planning.files import IMAGES, NATURE, REFERENCE, SHARD
from cnnpref.planning.plan import Plan
from cnnpref.planning.references import References, Shard
from cnnpref.results.reference_file import (
    SHARD_FORMAT,
    ShardData,
    create_references,
    open_shard,
    reference_fault,
    write_nature,
    write_shard,
)
from cnnpref.statistics.collect import (
    first_pictures,
    none_readable,
    seen_sizes,
    show_images,
    tally_images,
)
from cnnpref.statistics.crops import Place, by_image, cut, with_boxes, with_crops
from cnnpref.statistics.layer import Known, LayerReferences, merge
from cnnpref.statistics.nature import nature

log = logging.getLogger("cnnpref")


def list_images(plan: Plan, wanted: References) -> None:
    """Write the names and digests of all images, tab-separated, and why others do not count."""
    (path,) = plan.paths([IMAGES])
    rows = [(image.sha256, image.name) for image in wanted.index.images]
    rows += [(f"# {reason}", name) for name, reason in wanted.index.skipped.items()]
    lines = ["\t".join(map(printable, row)).encode() for row in rows]
    with replacing(path) as temporary:
        temporary.write_bytes(b"\n".join([*lines, b""]))


def is_missing(plan: Plan, shard: Shard) -> bool:
    """Whether there is no valid file of a shard."""
    path = shard_path(plan, shard)
    fault = reference_fault(path, SHARD_FORMAT, shard.digest)
    if fault and path.exists():
        log.warning("warning: %s is not valid (%s): computing it again", path, fault)
    return fault is not None


def shard_path(plan: Plan, shard: Shard) -> Path:
    """The file of a shard."""
    return plan.folder / SHARD.path.format(shard=shard.name)


def run_shard(plan: Plan, wanted: References, shard: Shard, net: Net) -> None:
    """Show the images of a shard to the net, and write what they do to all layers.

    Raises:
        UserError: activations are not finite, or the operating system refused to write.
    """
    log.info("references: shard %d: %d images", shard.number, len(shard.images))
    layers = dict(wanted.layers)
    shown, skipped, parts = tally_images(net, layers, wanted.frame, shard.images, wanted.top)
    for name, reason in skipped.items():
        log.warning("warning: %s: skipped: %s", name, reason)
    known = Known(tuple(i.name for i in shown), tuple(i.sha256 for i in shown), skipped)
    write_shard(shard_path(plan, shard), shard.digest, known, parts)


def measure_nature(plan: Plan, wanted: References, net: Net) -> None:
    """Write what the pixels of the images are like.

    Raises:
        UserError: fewer than 2 can be read, or the operating system refused to write.
    """
    found = nature(
        first_pictures(wanted.frame, wanted.index.images), seen_sizes(net, wanted.layers)
    )
    write_nature(plan.path(NATURE), wanted.images_key, wanted.digest, found)


def merge_shards(plan: Plan, wanted: References, net: Net) -> None:
    """Write the files of all layers from those of the shards.

    Raises:
        UserError: a shard is missing, no image can be read, or the operating system refused to
            write.
    """
    layers = list(wanted.layers)
    with ExitStack() as stack:
        shards = [
            stack.enter_context(open_shard(shard_path(plan, shard), shard.digest, layers))
            for shard in wanted.shards
        ]
        known = _known(wanted, shards)
        writers, crops = {}, {}
        for layer in layers:
            found, crops[layer] = _merged(wanted, shards, known, layer, net)
            number = len(crops[layer]) if wanted.stores_crops else None
            path = plan.path(REFERENCE, layer)
            writers[layer] = stack.enter_context(create_references(path, wanted.key, found, number))
            log.info("references: %s: %d images", layer, len(known.images))
        if wanted.stores_crops:
            for layer, number, crop in _cut(wanted, known, crops):
                writers[layer](number, crop)


def _known(wanted: References, shards: Sequence[ShardData]) -> Known:
    every = [shard.known for shard in shards]
    skipped = dict(wanted.index.skipped)
    for each in every:
        skipped.update(each.skipped)
    known = Known(
        tuple(name for each in every for name in each.images),
        tuple(digest for each in every for digest in each.sha256),
        dict(sorted(skipped.items())),
    )
    if not known.images:
        raise UserError(none_readable(known))
    if others := set(known.sha256).difference(image.sha256 for image in wanted.index.images):
        raise UserError(
            f"references: a shard has an image {min(others)!r}, which is none of those given;"
            " delete references/shards and run it again"
        )
    return known


def _merged(
    wanted: References, shards: Sequence[ShardData], known: Known, layer: str, net: Net
) -> tuple[LayerReferences, list[Place]]:
    parts = [shard.part(layer) for shard in shards if shard.known.images]
    found = with_boxes(merge(layer, wanted.layers[layer], parts, known, wanted.top), net)
    return with_crops(found) if wanted.stores_crops else (found, [])


def _cut(
    wanted: References, known: Known, crops: Mapping[str, Sequence[Place]]
) -> Iterator[tuple[str, int, bytes]]:
    """The crops of all layers: each image is read once."""
    needed = by_image(crops)
    by_digest: dict[str, Image] = {image.sha256: image for image in wanted.index.images}
    numbers = {by_digest[known.sha256[number]]: number for number in needed}
    for image, picture in show_images(wanted.frame, read_images(list(numbers)), {}):
        for layer, number, place in needed[numbers[image]]:
            yield layer, number, cut(picture, place)
