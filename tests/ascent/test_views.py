"""Random views of images, noise on weights, and targets among their layer's channels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp
from small import random_net
from torch import Tensor

import cnnpref
from cnnpref.ascent.contrast import Channels
from cnnpref.ascent.views import Look, Views, sights
from cnnpref.ascent.weight_noise import WeightNoise
from cnnpref.geometry import Box
from cnnpref.nets.caffe import CaffeNet

IMAGES = torch.rand(2, 3, 24, 30, generator=torch.Generator().manual_seed(0))
SEEN = (6, 7, 18, 23)
STILL = np.zeros((2, 5))


@pytest.fixture
def net(tmp_path: Path) -> CaffeNet:
    return random_net(tmp_path)


def see(look: Look, images: Tensor, seen: Box, chance: NDArray[np.float64]) -> Tensor:
    """One view of each image."""
    size = images.shape[-2], images.shape[-1]
    return sights([look], chance[None], seen, size, images.device)[0].see(images)


def test_a_view_that_does_not_move_is_the_part_itself() -> None:
    view = see(Views(1.0, 1.0, 10.0, 3.0, 0.0), IMAGES, SEEN, STILL)
    torch.testing.assert_close(view, IMAGES[:, :, 6:18, 7:23], rtol=0, atol=1e-5)


def test_shifts_are_of_pixels_and_rows_have_their_own() -> None:
    chance = STILL.copy()
    chance[0, 2:4] = 1.0, -1.0  # to the right, up
    view = see(Views(1.0, 1.0, 0.0, 3.0, 0.0), IMAGES, SEEN, chance)
    torch.testing.assert_close(view[0], IMAGES[0, :, 3:15, 10:26], rtol=0, atol=1e-5)
    torch.testing.assert_close(view[1], IMAGES[1, :, 6:18, 7:23], rtol=0, atol=1e-5)


def test_beyond_the_edge_images_go_on_mirrored() -> None:
    chance = STILL.copy()
    chance[:, 2] = -1.0
    view = see(Views(1.0, 1.0, 0.0, 9.0, 0.0), IMAGES, SEEN, chance)  # from column -2 on
    torch.testing.assert_close(view[..., 0], IMAGES[:, :, 6:18, 1], rtol=0, atol=1e-5)
    torch.testing.assert_close(view[..., 1], IMAGES[:, :, 6:18, 0], rtol=0, atol=1e-5)


def test_a_quarter_turn_and_half_the_size() -> None:
    square = IMAGES[:, :, :24, :24]
    chance = STILL.copy()
    chance[:, 1] = 1.0
    turned = see(Views(1.0, 1.0, 90.0, 0.0, 0.0), square, (4, 4, 20, 20), chance)
    wanted = torch.rot90(square[:, :, 4:20, 4:20], 1, (2, 3))
    torch.testing.assert_close(turned, wanted, rtol=0, atol=1e-4)
    ramp = torch.arange(24.0).expand(1, 1, 24, 24).contiguous()
    small = see(Views(2.0, 2.0, 0.0, 0.0, 0.0), ramp, (6, 6, 18, 18), STILL[:1])
    steps = small[0, 0, 0].diff()
    torch.testing.assert_close(steps, torch.full((11,), 2.0), rtol=0, atol=1e-4)


def test_noise_has_its_size_and_is_the_rows_own() -> None:
    chance = STILL.copy()
    chance[1, 4] = 0.5
    views = Views(1.0, 1.0, 0.0, 0.0, 0.2)
    noise = see(views, torch.zeros(2, 3, 64, 64), (0, 0, 64, 64), chance)
    assert float(noise.std()) == pytest.approx(0.2, rel=0.02)
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.03


def test_images_of_any_size_have_noise() -> None:
    """Longer ones than a stretch of the table hold, too: of the first row beyond its end."""
    chance = np.zeros((1, 5))
    chance[0, 4] = 1.0
    side = 1320  # 5.2 million numbers
    noise = see(
        Views(1.0, 1.0, 0.0, 0.0, 0.2), torch.zeros(1, 3, side, side), (0, 0, side, side), chance
    )
    assert float(noise[0, 2].std()) == pytest.approx(0.2, rel=0.01)
    assert abs(np.corrcoef(noise[0, 0].ravel(), noise[0, 2].ravel())[0, 1]) < 0.01


def test_weights_have_the_same_noise_however_they_lie_in_memory() -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 2, 3)
    )
    found = []
    for layout in (torch.contiguous_format, torch.channels_last):
        net = cnnpref.load_torch(module.to(memory_format=layout), (3, 9, 9))
        before = [weight.clone() for weight in net.parameters()]
        with WeightNoise(net, "2", 4, dropout=0.5).at(3, 0.1):
            found.append([weight.clone().contiguous() for weight in net.parameters()])
        assert all(map(torch.equal, before, net.parameters()))
    assert all(map(torch.equal, *found))


def test_weights_are_noisy_inside_and_their_own_again_after(net: CaffeNet) -> None:
    before = [weight.clone() for weight in net.parameters()]
    noise = WeightNoise(net, "fc", 2)
    found = []
    for step in (0, 1, 0):
        with noise.at(step, 0.1):
            found.append([weight.clone() for weight in net.parameters()])
        assert all(map(torch.equal, before, net.parameters()))
    assert all(map(torch.equal, found[0], found[2]))
    for weight, noisy, other in zip(before, found[0], found[1], strict=True):
        if weight.ndim == 1:
            assert torch.equal(weight, noisy)  # a bias
        else:
            assert not torch.equal(noisy, other)
            assert float((noisy / weight - 1).std()) == pytest.approx(0.1, rel=0.2)


def test_noise_leaves_later_layers_alone_and_ends_with_an_error(net: CaffeNet) -> None:
    first, *_, last, _bias = net.parameters()
    before = first.clone(), last.clone()
    noise = WeightNoise(net, "conv1", 1)

    def fail() -> None:
        with noise.at(0, 0.5):
            assert torch.equal(last, before[1])
            assert not torch.equal(first, before[0])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert torch.equal(first, before[0])


def test_dropout_leaves_out_input_channels_of_the_last_layer(net: CaffeNet) -> None:
    (weight, _bias) = net.layer_weights("fc")
    before = weight.clone()
    with WeightNoise(net, "fc", 4, dropout=0.5).at(3, 0.0):
        columns = (weight == 0).all(0)
        assert 0.3 < float(columns.float().mean()) < 0.7
        torch.testing.assert_close(weight[:, ~columns], 2 * before[:, ~columns])


@pytest.mark.parametrize(("layer", "where"), [("conv2", "center"), ("conv2", "all"), ("fc", "all")])
def test_lead_and_margin(net: CaffeNet, layer: str, where: str) -> None:
    objective = cnnpref.Objective.units(net, layer, [3, 0], where)
    channels = Channels.of(net, objective)
    assert channels
    x = torch.randn(2, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    top, left, bottom, right = net.readout(layer, objective.index).box
    means = channels(x[:, :, top:bottom, left:right]).double()
    values = net.activations(x, layer).double()
    if layer == "conv2":
        values = values[:, :, 2, 2] if where == "center" else values.mean((2, 3))
    np.testing.assert_allclose(means, values, rtol=1e-4, atol=1e-4)
    m = values.numpy()
    own = m[[0, 1], [3, 0]]
    np.testing.assert_allclose(channels.lead(means), own - m.mean(1), rtol=1e-3, atol=1e-4)
    others = np.stack([np.delete(m[0], 3), np.delete(m[1], 0)])
    heat = 0.5 * m.std(1, ddof=1)
    soft = heat * logsumexp(others / heat[:, None], axis=1)
    np.testing.assert_allclose(channels.margin(means), own - soft, rtol=1e-3, atol=1e-4)


def test_targets_that_are_not_one_channel_have_no_mates(net: CaffeNet) -> None:
    masks = np.zeros((1, *net.layers["conv2"]))
    masks[0, [1, 2], 2, 2] = 1
    assert Channels.of(net, cnnpref.Objective.masks(net, "conv2", masks)) is None
