"""Noise on a net's weights: what a net answers to only by the accident of its weights goes away."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cnnpref.ascent.noise import LENGTH, noise_table
from cnnpref.nets.net import Net


class WeightNoise:
    """Multiplies each weight by 1 + sigma * N(0, 1), and drops inputs of the units' layer.

    The noise of a step is the same for all rows and in every batch, so rows stay independent.

    Args:
        net: weights of several axes get noise; those of one axis are biases, which stay. Where the
            net tells which layer has which, those of later layers are left alone.
        layer: the units' layer.
        steps: how many.
        dropout: which share of its input channels is dropped in each step.
    """

    def __init__(self, net: Net, layer: str, steps: int, dropout: float = 0.0) -> None:
        self._weights, self._table = _weights_up_to(net, layer), noise_table(net.device)
        self._kept = [w.clone(memory_format=torch.contiguous_format) for w in self._weights]
        last = [weight for weight in net.layer_weights(layer) if weight.ndim > 1] if dropout else []
        drawn = [_draw(step, self._weights, last, dropout) for step in range(steps)]
        self._places = [places for places, _ in drawn]
        # on the device before the first step: whatever is sent to a GPU meanwhile stalls it
        keeps = zip(*(channels for _, channels in drawn), strict=True)
        self._last = [
            (weight, torch.from_numpy(np.stack(each)).to(weight))
            for weight, each in zip(last, keeps, strict=True)
        ]

    @contextmanager
    def at(self, step: int, sigma: float) -> Iterator[None]:
        """Inside, the net has the noise of a step; then its own weights again, to the bit."""
        parts = zip(self._weights, self._kept, self._places[step], strict=True)
        for weight, kept, places in parts:
            # in the order of its axes, however it lies in memory (channels_last)
            noisy = weight if weight.is_contiguous() else torch.empty_like(kept)
            _multiply(noisy.view(-1), kept.view(-1), sigma, self._table, places)
            if noisy is not weight:
                weight.copy_(noisy)
        for weight, keeps in self._last:
            weight.mul_(keeps[step].reshape(-1, *(1,) * (weight.ndim - 2)))
        try:
            yield
        finally:
            for weight, kept in zip(self._weights, self._kept, strict=True):
                weight.copy_(kept)


def _weights_up_to(net: Net, layer: str) -> list[Tensor]:
    """Each weight once."""
    names = list(net.layers)
    names = names[: names.index(layer) + 1]
    found = [weight for name in names for weight in net.layer_weights(name)]
    once = {weight.data_ptr(): weight for weight in found or net.parameters()}
    return [weight for weight in once.values() if weight.ndim > 1]


def _draw(
    step: int, weights: Sequence[Tensor], last: Sequence[Tensor], dropout: float
) -> tuple[list[list[int]], list[npt.NDArray[np.float64]]]:
    """The numbers of a step: where each weight's stretches of noise start, and what is kept."""
    random = np.random.RandomState(step)
    places = [_stretches(weight.numel(), random) for weight in weights]
    draws = (random.uniform(size=weight.shape[1]) for weight in last)
    return places, [(draw >= dropout) / (1 - dropout) for draw in draws]


def _stretches(count: int, random: np.random.RandomState) -> list[int]:
    """Where stretches start that hold so many numbers together."""
    places: list[int] = []
    while count > 0:
        places.append(int(random.randint(0, LENGTH // 2)))
        count -= LENGTH - places[-1]
    return places


def _multiply(
    weight: Tensor, kept: Tensor, sigma: float, table: Tensor, places: Sequence[int]
) -> None:
    """Write `kept * (1 + sigma * noise)` into `weight`, both flat, stretch by stretch."""
    start = 0
    for place in places:
        count = min(LENGTH - place, len(weight) - start)
        noise = table[place : place + count] * sigma + 1
        torch.mul(kept[start : start + count], noise, out=weight[start : start + count])
        start += count
