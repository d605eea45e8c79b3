"""A second net as a judge of pictures of classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from drawings import Bytes, drawings, shapes_net
from torch import nn

import cnnpref


@pytest.fixture(scope="module")
def pictures() -> Bytes:
    return drawings(18)


@pytest.fixture(scope="module")
def net() -> cnnpref.Net:
    return shapes_net()


def test_p_and_rank_are_those_of_the_softmax(net: cnnpref.Net, pictures: Bytes) -> None:
    classes = {unit: 15 - unit for unit in range(10)}
    units = [unit % 12 for unit in range(18)]
    judge = cnnpref.Judge(net, "fc8", classes)
    table = cnnpref.score(net, pictures, "fc8", units, judge=judge)
    logits = net.activations(torch.from_numpy(net.space.encode(pictures)), "fc8").double()
    p = logits.softmax(1)
    for row, unit in enumerate(units):
        if unit not in classes:
            assert table["judge_p"][row] is table["judge_rank"][row] is None
            continue
        own = classes[unit]
        rank = 1 + int((logits[row] > logits[row, own]).sum())
        assert table["judge_p"][row] == pytest.approx(float(p[row, own]), rel=1e-3)
        assert table["judge_rank"][row] == rank
        assert table["judge_top5"][row] == (rank <= 5)


def test_probabilities_are_taken_as_they_are(net: cnnpref.Net, pictures: Bytes) -> None:
    units = [0] * 18
    classes = {0: 3}
    first, second = (
        cnnpref.score(net, pictures, "fc8", units, judge=cnnpref.Judge(net, layer, classes))
        for layer in ("fc8", "prob")
    )
    assert np.allclose(first["judge_p"], second["judge_p"], rtol=1e-4, atol=1e-7)


def test_a_judge_has_its_own_size_channels_and_preprocessing(
    net: cnnpref.Net, pictures: Bytes
) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 4, 5), nn.ReLU())
    grey = cnnpref.load_torch(module.eval(), (1, 24, 30), mean=[0.4], std=[0.2])
    judge = cnnpref.Judge(grey, "0", {0: 2})
    table = cnnpref.score(net, pictures[:2], "fc8", [0, 0], judge=judge)
    x = torch.from_numpy(pictures[:2]).permute(0, 3, 1, 2).float()
    x = nn.functional.interpolate(x, (24, 30), mode="bilinear", antialias=True)
    x = (x * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    with torch.no_grad():
        p = module[0]((x / 255 - 0.4) / 0.2).mean((2, 3)).softmax(1)[:, 2]
    assert np.allclose(table["judge_p"], p.numpy(), rtol=1e-3)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_judge_that_gives_no_number_gives_no_score(
    net: cnnpref.Net, pictures: Bytes, bad: float
) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 6, 5)).eval().requires_grad_(False)
    broken = cnnpref.load_torch(module, (3, 24, 30), mean=[0.4] * 3, std=[0.2] * 3)
    module[0].bias[5] = bad
    judge = cnnpref.Judge(broken, "0", {0: 2, 1: 5})
    table = cnnpref.score(net, pictures[:2], "fc8", [0, 1], judge=judge)
    assert all(table[f"judge_{name}"].to_list() == [None, None] for name in ("p", "rank", "top5"))
