"""Whether an image's values are its own: the same beside other images, alone, and once more.

A net may mix the images of a batch (the statistics of a batch, layers over axis 0), draw at random
(dropout that is always on) or keep a state. Its units would have other images in other batches.

Two batches of two are compared that differ in the second image alone. The same kernels compute
both: what they make of the first image, and its gradient, is the same to the bit on a CPU (all
layers of SqueezeNet, some of GoogLeNet's and ResNet-50's). GPUs may sum gradients in any order, and
Fourier transforms of theirs may round two images together: by 1e-5 of the largest and more.
An image alone goes through other kernels: its values differ by up to 4e-5 of the largest, and its
gradient by 4 %, where a maximum flips, so that it is not compared. What mixes images or draws at
random is far above the limits below.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from cnnpref.errors import UserError
from cnnpref.geometry import crop
from cnnpref.nets.kernels import fast, fast_kernels
from cnnpref.nets.net import Net
from cnnpref.nets.readout import Part, Readout

SAME, SAME_ON_GPU = 1e-5, 1e-3  # of the largest value or gradient, in batches of one size
RESIZED = 0.1  # in batches of different sizes
_TRIED = 8  # rows, until one has a gradient
_SWITCH = "for dropout in a module's code give `training=self.training`, which is off here; "
_checked: WeakKeyDictionary[Net, set[object]] = WeakKeyDictionary()

Values = Callable[[Tensor, Sequence[int]], Tensor]
"""(N, ...), what a net makes of some images (N, ...) for so many rows of units."""


def check_readout(net: Net, layer: str, readout: Readout, rows: int) -> None:
    """Let a net pass whose units have an image's own values; asks once for each part of a layer.

    It takes two passes of two images and one of one, of the part that the units see.

    Args:
        net: the net of the readout.
        layer: the layer of the units.
        readout: the units of some images.
        rows: how many images.

    Raises:
        UserError: they depend on other images, or on chance; names the first layer that does.
    """

    def values(images: Tensor, chosen: Sequence[int]) -> Tensor:
        return readout.rows(chosen)(crop(images, readout.box))

    _check(net, None, layer, values, (layer, readout.box), rows)


def check_part(net: Net, source: str, blob: str, part: Part) -> None:
    """The same of a generator's image.

    Args:
        net: the generator.
        source: the blob of the features.
        blob: the blob of the image.
        part: of the image, from features.

    Raises:
        UserError: images depend on each other, or on chance; names the first layer that does.
    """
    _check(net, source, blob, lambda features, _: part(features), (source, blob))


class _Found(NamedTuple):
    """What a net makes of the first image of a batch, and the gradient of that of all."""

    value: Tensor
    gradient: Tensor

    @property
    def alive(self) -> bool:
        return bool(self.gradient.norm() > torch.finfo(torch.float32).tiny)

    def agrees(self, other: _Found) -> bool:
        limit = SAME if self.value.is_cpu else SAME_ON_GPU
        return all(_close(a, b, limit) for a, b in zip(self, other, strict=True))


def _check(
    net: Net, source: str | None, name: str, values: Values, part: tuple[object, ...], rows: int = 1
) -> None:
    known = _checked.setdefault(net, set())
    if part in known:
        return
    x, y = _noise(net, source)
    with fast_kernels() if fast() else nullcontext():  # in single precision, whatever is asked for
        repeats = name not in net.random or _repeats(net, source, name, x)
        if not (repeats and _are_own(values, x, y, rows)):
            raise UserError(_told(net, source, name, x, y))
    known.add(part)


def _are_own(values: Values, x: Tensor, y: Tensor, rows: int) -> bool:
    """Whether the first image of two batches has the same values in both, and alone."""
    for row in range(min(rows, _TRIED)):
        one, other = (_found(values, batch, [row, row]) for batch in (x, y))
        alone = _found(values, x[:1], [row])
        if not (one.agrees(other) and _close(one.value, alone.value, RESIZED)):
            return False
        if one.alive:
            break
    return True


def _noise(net: Net, source: str | None) -> tuple[Tensor, Tensor]:
    """Two batches of two, with the same first image."""
    if source in (None, net.input_blob):
        three = net.noise(3)
    else:
        random = torch.Generator().manual_seed(0)
        three = torch.rand(3, *net.blobs[source], generator=random).to(net.device)
    return three[:2], three[[0, 2]]


def _found(values: Values, images: Tensor, rows: Sequence[int]) -> _Found:
    x = images.clone().requires_grad_()
    value, gradient = values(x, rows), None
    if value.requires_grad:
        (gradient,) = torch.autograd.grad(value.sum(), x, allow_unused=True)
    return _Found(value[0].detach(), torch.zeros_like(x[0]) if gradient is None else gradient[0])


def _close(a: Tensor, b: Tensor, limit: float) -> bool:
    """Whether two results are the same, within a share of the largest; so are those of NaN."""
    scale, apart = torch.maximum(a.abs().max(), b.abs().max()), (a - b).abs().max()
    return bool((apart <= limit * scale) | apart.isnan())


def _repeats(net: Net, source: str | None, name: str, x: Tensor) -> bool:
    """Whether all of a layer is the same once more; a unit may by chance."""
    once, again = (_found(_values_of(net, source, name), x, ()) for _ in range(2))
    return once.agrees(again)


def _told(net: Net, source: str | None, name: str, x: Tensor, y: Tensor) -> str:
    """What is wrong with a net, and from which layer on."""
    for layer in _way(net, source, name):
        values = _values_of(net, source, layer)
        first, again, other = (_found(values, images, ()) for images in (x, x, y))
        if not first.agrees(again):
            return _advice(
                net,
                layer,
                "other values each time: it draws at random, or has a state",
                _SWITCH,
            )
        if not first.agrees(other):
            return _advice(net, layer, "other values beside another one: it mixes images")
        if not _close(first.value, values(x[:1], ())[0], RESIZED):
            return _advice(net, layer, "other values alone: it depends on their number")
    return _advice(net, name, "other values beside others, or each time")


def _way(net: Net, source: str | None, name: str) -> list[str]:
    """The layers up to one; or the blobs from the source to another one."""
    names = list(net.layers if source is None else net.blobs)
    first = 0 if source is None else names.index(source) + 1
    return names[first : names.index(name) + 1] if name in names else [name]


def _values_of(net: Net, source: str | None, name: str) -> Values:
    if source is None:
        return lambda images, _: net.activations(images, name)
    return lambda features, _: net.forward({source: features}, [name])[name]


def _advice(net: Net, layer: str, fault: str, remedy: str = "") -> str:
    return (
        f"layer {layer!r} of the net {net.name!r} gives an image {fault}; from there on no unit "
        f"has an image of its own: {remedy}choose a layer before it, or a net that sees each image "
        "by itself"
    )
