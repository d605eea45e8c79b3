"""Scores of pictures of units, all on the saved 8-bit picture, beside those of natural images.

A picture is uint8 (H, W, 3), RGB; a function `activations` takes a batch of whole pictures and
gives the layer's map, (N, C, h, w). Nothing here knows what made the pictures or the network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from picture_nature import Bytes, Colours, Natural, Spectrum, batches
from torch import Tensor

from cnnpref.scoring.disturb import REACH, disturbed

Box = tuple[int, int, int, int]
Activations = Callable[[Bytes], Tensor]
Floats = npt.NDArray[np.float64]

GREY = 117  # around the part that a unit sees: it does not matter


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


def _middle(pictures: Bytes, size: tuple[int, int]) -> Bytes:
    """The middle of pictures, at most of that size."""
    height, width = (min(a, b) for a, b in zip(pictures.shape[1:3], size, strict=True))
    y, x = (pictures.shape[1] - height) // 2, (pictures.shape[2] - width) // 2
    return pictures[:, y : y + height, x : x + width]


def verdict_cell(verdict: dict[str, Floats]) -> str:
    """What `verdicts` found of all pictures: mean probability, median rank, share of the top 5."""
    top = (verdict["rank"] <= 5).mean()
    return f"{verdict['p'].mean():.3f} / {np.median(verdict['rank']):.1f} / {top:.0%}"


def drawn(channels: int, count: int, seed: int) -> list[int]:
    """So many channels of a layer, or all if it has fewer, at random and ascending."""
    draw = np.random.default_rng(seed)
    return sorted(draw.choice(channels, min(count, channels), replace=False).tolist())


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
