"""Scores of pictures of units, all on the saved 8-bit picture, beside those of natural images.

A picture is uint8 (H, W, 3), RGB; a function `activations` takes a batch of whole pictures and
gives the layer's map, (N, C, h, w). Nothing here knows what made the pictures or the network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from picture_nature import Bytes, Colours, Natural, Spectrum, batches
from PIL import Image
from torch import Tensor

Box = tuple[int, int, int, int]
Activations = Callable[[Bytes], Tensor]
Floats = npt.NDArray[np.float64]

GREY = 117  # around the part that a unit sees: it does not matter
REACH = 8  # pixels within which a disturbed picture's unit may answer


@dataclass(frozen=True)
class Layer:
    """A layer with what natural images do to it.

    Attributes:
        activations: of whole pictures.
        size: (H, W) of a whole picture.
        box: the part of it that the unit in the middle of the map sees.
        jump: pixels from one unit of the map to the next.
        summed: a target is the sum over the map (a class), not the unit in its middle.
        natural, spectrum, colours: of the references, the last two cut to the box.
    """

    activations: Activations
    size: tuple[int, int]
    box: Box
    jump: int
    summed: bool
    natural: Natural
    spectrum: Spectrum
    colours: Colours

    def whole(self, pictures: Bytes) -> Bytes:
        """Pictures of any size as whole ones: their middle is the box's middle."""
        if pictures.shape[1:3] == self.size:
            return pictures
        height, width = self.size
        canvas = np.full((len(pictures), height, width, 3), GREY, np.uint8)
        top, left, bottom, right = self.box
        part = _middle(pictures, (bottom - top, right - left))
        y, x = ((top + bottom - part.shape[1]) // 2, (left + right - part.shape[2]) // 2)
        canvas[:, y : y + part.shape[1], x : x + part.shape[2]] = part
        return canvas

    def seen(self, pictures: Bytes) -> Bytes:
        """The part of the pictures that the unit sees."""
        top, left, bottom, right = self.box
        return self.whole(pictures)[:, top:bottom, left:right]

    def values(self, pictures: Bytes, units: Sequence[int] | None = None, reach: int = 0) -> Floats:
        """Targets' activations: of each picture's own unit, (N,), or of all units, (N, C).

        Args:
            pictures: whole ones.
            units: one for each picture.
            reach: the largest within so many positions of the middle counts.
        """
        parts = []
        for start, batch in batches(pictures):
            a = self.activations(batch)
            if units is not None:
                own = torch.as_tensor(list(units[start : start + len(batch)]), device=a.device)
                a = a[torch.arange(len(a), device=a.device), own][:, None]
            parts.append(self._targets(a, reach).double().cpu().numpy())
        found = np.concatenate(parts)
        return found if units is None else found[:, 0]

    def _targets(self, a: Tensor, reach: int) -> Tensor:
        if self.summed:
            return a.flatten(2).sum(2)
        y, x = a.shape[2] // 2, a.shape[3] // 2
        near = a[:, :, max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
        return near.flatten(2).amax(2)


def scores(layer: Layer, pictures: Bytes, units: Sequence[int]) -> dict[str, Floats]:
    """G, keep, spectrum, colour and selectivity (rank, z) of each picture."""
    whole, seen, own = layer.whole(pictures), layer.seen(pictures), np.asarray(units)
    every = layer.values(whole)
    value = every[np.arange(len(own)), own]
    z = (every - layer.natural.mean) / layer.natural.sd
    lead = z[np.arange(len(own)), own]
    return {
        "gain": layer.natural.gain(value, own),
        "keep": keep(layer, whole, own, value),
        "spectrum": layer.spectrum.score(seen),
        "colour": layer.colours.score(seen),
        "rank": 1.0 + (z > lead[:, None]).sum(1),
        "z": lead,
    }


def keep(layer: Layer, whole: Bytes, units: npt.NDArray[np.int64], value: Floats) -> Floats:
    """What is left of the activation after small changes: the mean over their kinds."""
    median = layer.natural.median[units]
    reach = 0 if layer.summed else REACH // layer.jump
    kinds: dict[str, list[Floats]] = {}
    for kind, changed in disturbed(whole):
        left = layer.values(changed, units.tolist(), reach) - median
        kinds.setdefault(kind, []).append(left / (value - median))
    return np.mean([np.mean(parts, axis=0) for parts in kinds.values()], axis=0)


def disturbed(pictures: Bytes) -> Iterator[tuple[str, Bytes]]:
    """Pictures shifted, scaled, turned, with noise, as JPEG; mirrored where they have no pixels."""
    for shift in ((6.0, -4.0), (-5.0, 8.0)):
        yield "shift", moved(pictures, shift=shift)
    for scale in (0.95, 1.05):
        yield "scale", moved(pictures, scale=scale)
    for angle in (-5.0, 5.0):
        yield "rotation", moved(pictures, angle=angle)
    noise = np.random.default_rng(0).standard_normal(pictures.shape[1:])
    yield "noise", (pictures + 10 * noise).round().clip(0, 255).astype(np.uint8)
    yield "jpeg", np.stack([_jpeg(picture) for picture in pictures])


def moved(
    pictures: Bytes,
    shift: tuple[float, float] = (0.0, 0.0),
    scale: float = 1.0,
    angle: float = 0.0,
) -> Bytes:
    """Pictures shifted by pixels (x, y), enlarged and turned by degrees."""
    height, width = pictures.shape[1:3]
    cos, sin = np.cos(np.radians(angle)) / scale, np.sin(np.radians(angle)) / scale
    theta = torch.tensor(
        [
            [cos, -sin * height / width, -2 * shift[0] / width],
            [sin * width / height, cos, -2 * shift[1] / height],
        ],
        dtype=torch.float32,
    )
    x = torch.from_numpy(np.ascontiguousarray(np.moveaxis(pictures, 3, 1))).float()
    grid = F.affine_grid(theta.expand(len(x), 2, 3), list(x.shape), align_corners=False)
    x = F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
    return np.moveaxis(x.round().clamp(0, 255).byte().numpy(), 1, 3)


def _jpeg(picture: Bytes) -> Bytes:
    file = BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=75)
    return np.asarray(Image.open(file))


def _middle(pictures: Bytes, size: tuple[int, int]) -> Bytes:
    """The middle of pictures, at most of that size."""
    height, width = (min(a, b) for a, b in zip(pictures.shape[1:3], size, strict=True))
    y, x = (pictures.shape[1] - height) // 2, (pictures.shape[2] - width) // 2
    return pictures[:, y : y + height, x : x + width]


def verdicts(
    judge: Callable[[Tensor], Tensor],
    pictures: Bytes,
    classes: Sequence[int],
    device: str | torch.device = "cpu",
) -> dict[str, Floats]:
    """What a second network thinks: probability and rank of the class in each whole picture."""
    p, rank = [], []
    for start, batch in batches(pictures):
        x = torch.from_numpy(np.ascontiguousarray(np.moveaxis(batch, 3, 1))).to(device).float()
        x = F.interpolate(x, (224, 224), mode="bilinear", antialias=True)
        with torch.no_grad():
            logits = judge((x - 127) / 128).float()
        wanted = torch.as_tensor(list(classes[start : start + len(batch)]), device=logits.device)
        own = logits.gather(1, wanted[:, None])
        p.append(logits.softmax(1).gather(1, wanted[:, None])[:, 0].double().cpu().numpy())
        rank.append(1.0 + (logits > own).sum(1).double().cpu().numpy())
    return {"p": np.concatenate(p), "rank": np.concatenate(rank)}


def diversity(pictures: Bytes) -> float:
    """Of one unit's pictures from several seeds: 1 less the mean correlation of their pixels."""
    x = pictures.reshape(len(pictures), -1).astype(np.float64)
    x -= x.mean(1, keepdims=True)
    x /= np.linalg.norm(x, axis=1, keepdims=True).clip(1e-9)  # a blank picture is like no other
    pairs = np.triu_indices(len(x), 1)
    return float(1 - (x @ x.T)[pairs].mean())
