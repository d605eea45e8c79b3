"""Noise on a net's weights: what a net answers to only by the accident of its weights goes away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from cnnpref.ascent.noise import noise_table
from cnnpref.nets.net import Net


class WeightNoise:
    """Multiplies each weight by 1 + sigma * N(0, 1), and drops inputs of the units' layer.

    The noise of a step is the same for all rows and in every batch, so rows stay independent.

    Args:
        net: weights of several axes get noise; those of one axis are biases, which stay. Where the
            net tells which layer has which, those of later layers are left alone.
        layer: the units' layer.
        dropout: which share of its input channels is dropped in each step.
    """

    def __init__(self, net: Net, layer: str, dropout: float = 0.0) -> None:
        self._weights = _weights_up_to(net, layer)
        self._kept = [w.clone(memory_format=torch.contiguous_format) for w in self._weights]
        self._last = [weight for weight in net.layer_weights(layer) if weight.ndim > 1]
        self._dropout = dropout

    @contextmanager
    def at(self, step: int, sigma: float) -> Iterator[None]:
        """Inside, the net has the noise of a step; then its own weights again, to the bit."""
        random = np.random.RandomState(step)
        for weight, kept in zip(self._weights, self._kept, strict=True):
            # in the order of its axes, however it lies in memory (channels_last)
            noisy = weight if weight.is_contiguous() else torch.empty_like(kept)
            _multiply(noisy.view(-1), kept.view(-1), sigma, random)
            if noisy is not weight:
                weight.copy_(noisy)
        for weight in self._last if self._dropout else ():
            keeps = (random.uniform(size=weight.shape[1]) >= self._dropout) / (1 - self._dropout)
            channels = torch.from_numpy(keeps).to(weight)
            weight.mul_(channels.reshape(-1, *(1,) * (weight.ndim - 2)))
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


def _multiply(weight: Tensor, kept: Tensor, sigma: float, random: np.random.RandomState) -> None:
    """Write `kept * (1 + sigma * noise)` into `weight`, both flat, stretch by stretch."""
    table, start = noise_table(weight.device), 0
    while start < len(weight):
        place = int(random.randint(0, len(table) // 2))
        count = min(len(table) - place, len(weight) - start)
        noise = table[place : place + count] * sigma + 1
        torch.mul(kept[start : start + count], noise, out=weight[start : start + count])
        start += count
