"""Which units have similar weights, against plain formulas."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from prototxts import INPUT, layer, load
from small import random_net
from torch import Tensor, nn

import cnnpref
from cnnpref.scoring.likeness import most_alike

TRANSPOSED = "inner_product_param { num_output: 5 transpose: true }"
GROUPS = {"conv1": [(10, 75)], "conv2": [(6, 45), (6, 45)], "fc": [(9, 12 * 4 * 4)], "norm1": []}


def shapes(weights: list[Tensor]) -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in weights]


def test_weights_of_caffe_layers_are_those_of_their_groups(tmp_path: Path) -> None:
    net = random_net(tmp_path)
    assert {name: shapes(net.unit_weights(name)) for name in GROUPS} == GROUPS
    assert net.unit_weights("relu1") == []


def test_transposed_weights_are_of_units_too() -> None:
    net = load(INPUT + layer("ip", "InnerProduct", "data", TRANSPOSED))
    x = torch.randn(2, *net.input_shape)
    (weight,) = net.unit_weights("ip")
    weight.normal_()
    (bias,) = (p for p in net.parameters() if p.ndim == 1)
    assert torch.allclose(net.activations(x, "ip"), x.flatten(1) @ weight.T + bias, atol=1e-4)


class Small(nn.Module):
    """Two groups, a linear layer that is called twice, a residual sum."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 6, 3, groups=2)
        self.relu = nn.ReLU()
        self.linear = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.conv(x)).mean((2, 3))
        return self.linear(self.linear(x)) + x


def test_weights_of_torch_layers() -> None:
    net = cnnpref.load_torch(Small().eval(), input_shape=(4, 9, 9))
    found = {name: shapes(net.unit_weights(name)) for name in net.layers}
    assert found["conv"] == [(3, 18), (3, 18)]
    assert found["linear"] == [(6, 6)]
    assert [name for name, weights in found.items() if weights] == ["conv", "linear"]


def test_cosines_are_those_of_the_plain_formula() -> None:
    vectors = np.random.default_rng(0).normal(size=(300, 7)).astype(np.float32)
    vectors[5] = 0
    vectors[7] = 3 * vectors[11]
    found: Mapping[int, list[tuple[int, float]]] = {row: [] for row in range(300)}
    for row, other, cosine in most_alike(vectors, 4):
        found[row].append((other, cosine))
    for row, pairs in found.items():
        lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(vectors[row])
        cosines = vectors @ vectors[row] / lengths.clip(1e-9)
        cosines[row] = 0
        wanted = np.argsort(-cosines)[:4] if row != 5 else []
        assert [other for other, _ in pairs] == list(wanted)
        assert [cosine for _, cosine in pairs] == pytest.approx(cosines[wanted], abs=1e-6)
    assert found[7][0] == (11, pytest.approx(1))
