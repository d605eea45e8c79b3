"""The benchmark: it runs, its contestants do the same work, and the limit counts right."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import OrderedDict
from dataclasses import replace

import contest
import limit
import projection
import pytest
import torch
from cases import Case, cases, nets
from places import ROOT
from plain_nets import Stack
from torch import nn

BENCHMARKS = ROOT / "tests" / "benchmarks"
CONV1 = Case("gd", "squeezenet", "conv1", "center", "cpu", iterations=3)


@pytest.mark.slow
def test_prints_a_row_for_each_case() -> None:
    options = ["--only", "(gd|lbfgs|spectral)/conv1@squeezenet", "--repeat", "1", "--batch", "2"]
    command = [sys.executable, BENCHMARKS / "speed.py", *options, "--threads", "1"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    head, _, *rows = [line.strip("| ").split(" | ") for line in text.splitlines() if "|" in line]
    assert [row[:3] for row in rows] == [
        ["gd", "squeezenet conv1", "2"],
        ["lbfgs", "squeezenet conv1", "2"],
        ["spectral", "squeezenet conv1", "2"],
    ]
    times, beside, images = map(head.index, ("ours / plain", "ours / gd", "images a minute"))
    assert all(float(row[images]) > 0 for row in rows)
    assert all(float(row[times]) > 0 for row in rows[:2])
    assert float(rows[2][beside]) > 0


def test_every_method_is_measured_on_every_layer() -> None:
    names = [case.name for case in cases("cpu")]
    assert len(set(names)) == len(names) == 8 * 7
    assert {"gd/fc8@alexnet", "dgn_lbfgs/conv10@squeezenet"} < set(names)


@pytest.mark.parametrize("method", ["gd", "lbfgs", "dgn_gd", "dgn_lbfgs"])
@pytest.mark.parametrize("layer", ["conv1", "fire5/expand3x3"])
def test_ours_and_the_plain_way_do_the_same(method: str, layer: str) -> None:
    assert contest.disagreement(replace(CONV1, method=method, layer=layer)) < 1e-3


@pytest.mark.parametrize("name", ["squeezenet", "alexnet", "generator"])
def test_the_plain_modules_are_the_nets(name: str) -> None:
    given, random = nets(name), torch.Generator().manual_seed(1)
    x = 50 * torch.randn(1, *given.ours.input_shape, generator=random)
    layers = [layer for layer, _ in given.plain.named_children() if layer in given.ours.layers]
    for layer in (layers[0], layers[-1]):
        wanted = given.plain(x, layer)
        found = given.ours.activations(x, layer)
        assert (found - wanted).norm() < 1e-4 * wanted.norm()


def stack(**layers: nn.Module) -> Stack:
    return Stack(OrderedDict(layers)).requires_grad_(False)


def test_counts_a_convolution_of_all_channels_and_positions() -> None:
    net = stack(conv=nn.Conv2d(3, 10, 5, stride=2))
    flops, seen = limit.passed(net, torch.zeros(1, 3, 21, 21), "all")
    assert (flops, seen) == (2 * 10 * 9 * 9 * 3 * 5 * 5, (0, 21))


def test_counts_what_one_unit_sees() -> None:
    net = stack(
        one=nn.Conv2d(3, 8, 3, padding=1),
        relu=nn.ReLU(),
        pool=nn.MaxPool2d(2, 2),
        two=nn.Conv2d(8, 6, 3, groups=2),
    )
    flops, seen = limit.passed(net, torch.zeros(1, 3, 20, 20), "center", "two")
    last = 2 * 4 * 3 * 3  # of one channel, which looks at half of the 8
    assert flops == last + 2 * 8 * 6 * 6 * 3 * 3 * 3  # unit 4 of two: 4..6 of pool, 8..13 of one
    assert seen == (7, 15)


def test_counts_inner_products_and_deconvolutions() -> None:
    net = stack(
        fc=nn.Linear(7, 32), map=nn.Unflatten(1, (2, 4, 4)), grow=nn.ConvTranspose2d(2, 3, 4, 2, 1)
    )
    flops, seen = limit.passed(net, torch.zeros(1, 7), (3, 5))
    assert flops == 2 * 7 * 32 + 2 * (2 * 2) * (2 * 3 * 4 * 4) / 4
    assert seen == (0, 1)


def test_projects_the_time_of_all_iterations() -> None:
    case = replace(CONV1, method="gd", iterations=3, batch=2)
    assert projection.seconds(case, repeat=1) > 0
    assert re.search(
        r"conv1@squeezenet in float32 reaches .* of bf16's", projection.of_rates(case, 1)
    )
