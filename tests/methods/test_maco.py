"""`maco`: images whose spectrum keeps its magnitudes, seen in crops of a canvas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from calling import call, succeed
from small import random_net
from torch import nn

import cnnpref
from cnnpref.ascent.phase import PhaseImages, maco_colours
from cnnpref.ascent.solution import Solution
from cnnpref.ascent.spectrum import Spectrum
from cnnpref.ascent.views import Crops, sights
from cnnpref.nets.caffe import CaffeNet
from cnnpref.results.unit_file import read_unit

CANVAS = (-4, -4, 24, 24)
BOX = (0, 0, 20, 20)


@pytest.fixture
def net(tmp_path: Path) -> CaffeNet:
    return random_net(tmp_path)


@pytest.fixture
def images(net: CaffeNet) -> PhaseImages:
    """Of a canvas of 28 x 28 around images of 20 x 20."""
    return PhaseImages(net, CANVAS, BOX, Spectrum((28, 28), 1.6, net.device), maco_colours(3))


def run(net: CaffeNet, layer: str = "fc", preset: str = "higher", **options: Any) -> Solution:
    chosen = cnnpref.resolve("maco", preset, {"steps": 12, **options})
    objective = cnnpref.Objective.units(net, layer, [0, 5], weight=chosen.feature_weight)
    return cnnpref.maximise(net, objective, "maco", chosen)


def test_the_magnitudes_stay_in_their_ratios_whatever_the_phases(images: PhaseImages) -> None:
    """Whatever the scale and the offset of phases, too: each row's are standardised."""
    x = images.start([np.random.RandomState(row) for row in range(3)])
    components = images.components(x)
    deviation = components.flatten(1).std(1)
    torch.testing.assert_close(deviation, torch.ones(3), rtol=1e-3, atol=0)
    size = torch.fft.rfft2(components).abs()[:, :, 1:14, 1:14]  # off frequency 0 and the highest
    ratio = size / images.spectrum.amplitude[1:14, 1:14]
    one = ratio[:, :1, :1, :1].expand_as(ratio)
    torch.testing.assert_close(ratio, one, rtol=1e-3, atol=0)
    torch.testing.assert_close(images.components(3 * x + 1), components, rtol=0, atol=2e-3)


def test_the_picture_is_the_middle_of_the_canvas(images: PhaseImages) -> None:
    x = images.start([np.random.RandomState(1)])
    found = images.images(x)
    assert found.shape == (1, 20, 20, 3)
    middle = 255 * images.canvas_images(x)[0, :, 4:24, 4:24].permute(1, 2, 0)
    np.testing.assert_allclose(found[0], middle, atol=1e-2)


def test_colours_are_the_authors_for_three_channels_and_none_for_others() -> None:
    for channels in (1, 2, 5):
        np.testing.assert_array_equal(maco_colours(channels).axes, np.eye(channels))
    axes = np.array(maco_colours(3).axes)
    np.testing.assert_array_equal(axes[:, 0], [0.563, 0.584, 0.584])  # brightness


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_images_of_any_number_of_channels(channels: int) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(channels, 4, 5), nn.ReLU(), nn.Conv2d(4, 6, 5))
    net = cnnpref.load_torch(module, (channels, 15, 18))
    options = cnnpref.resolve("maco", "higher", {"steps": 60})
    objective = cnnpref.Objective.units(net, "2", [0, 5], "all")
    solution = cnnpref.maximise(net, objective, "maco", options)
    assert solution.images.shape == (2, 15, 18, channels)
    assert solution.importance is not None
    assert solution.importance.shape == (2, 15, 18)
    assert (solution.scores > [trace[0] for trace in solution.activations]).all()


def test_a_crop_is_a_part_of_the_canvas_as_large_as_the_box() -> None:
    images = torch.rand(2, 3, 40, 60, generator=torch.Generator().manual_seed(0))
    seen, chance = (10, 15, 30, 45), np.zeros((2, 4))
    still = Crops(extent=0.5, spread=0.0, wander=0.1, noise=0.0)
    (sight,) = sights([still], chance[None], seen, (40, 60), images.device)
    view = sight.see(images)
    torch.testing.assert_close(view, images[:, :, 10:30, 15:45], rtol=0, atol=1e-5)
    chance[0, 2:] = 1.0, -1.0  # to the right by a tenth of the width, up by one of the height
    (sight,) = sights([still], chance[None], seen, (40, 60), images.device)
    view = sight.see(images)
    torch.testing.assert_close(view[0], images[0, :, 6:26, 21:51], rtol=0, atol=1e-4)
    torch.testing.assert_close(view[1], images[1, :, 10:30, 15:45], rtol=0, atol=1e-4)


def test_the_size_of_crops_is_within_its_spread() -> None:
    """How much a ramp rises from pixel to pixel of a crop is how much smaller it is shown."""
    ramp = torch.arange(40.0).expand(1, 1, 40, 40).contiguous()
    crops = Crops(extent=0.5, spread=0.1, wander=0.0, noise=0.0)
    for number, extent in ((-1.0, 0.4), (0.0, 0.5), (1.0, 0.6)):
        chance = np.array([[[number, 0.0, 0.0, 0.0]]])
        (sight,) = sights([crops], chance, (10, 10, 30, 30), (40, 40), ramp.device)
        steps = sight.see(ramp)[0, 0, 0].diff()
        torch.testing.assert_close(steps, torch.full((19,), 2 * extent), rtol=0, atol=1e-4)


def test_several_crops_are_steadier_than_one(net: CaffeNet) -> None:
    one, many = (run(net, crops=n, lr=0).activations[0] for n in (1, 16))
    assert len(one) == len(many) == 12
    assert many.std() < 0.6 * one.std()


def test_rows_with_several_crops_do_not_depend_on_the_batch(net: CaffeNet) -> None:
    options = cnnpref.resolve("maco", "reference", {"steps": 4, "crops": 3})
    batch, alone = (
        cnnpref.maximise(net, cnnpref.Objective.units(net, "fc", units), "maco", options)
        for units in ([4, 0, 7], [0])
    )
    assert np.array_equal(batch.images[1], alone.images[0])
    assert np.array_equal(batch.activations[1], alone.activations[0])


def test_it_starts_from_noise_alone(net: CaffeNet) -> None:
    objective = cnnpref.Objective.units(net, "fc", [0])
    with pytest.raises(cnnpref.UserError, match="cannot start from another image"):
        cnnpref.maximise(net, objective, "maco", initial=[np.zeros((20, 20, 3))])


@pytest.mark.usefixtures("in_tmp_path")
def test_it_goes_through_everything(tiny_config: dict[str, Any]) -> None:
    config = {**tiny_config, "methods": ["spectral", "maco"]}
    config["options"] = {name: {"steps": 4} for name in config["methods"]}
    config["layers"] = {"conv1": {}, "fc": {}}
    assert "maco" in call("plan", config).stdout
    for command in ("generate", "collect", "scores", "sheet", "pages", "gallery", "share", "check"):
        succeed(command, config)
    for method in config["methods"]:
        unit = read_unit(next(Path("results").rglob(f"fc/{method}-*/0.h5")))
        assert unit.importance is not None
        assert unit.importance.shape == unit.image.shape[:2]
        assert len(unit.activation) == 4
        assert Path(f"results/tiny/sheets/fc/{method}.png").is_file()
