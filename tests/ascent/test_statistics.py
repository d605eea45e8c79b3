"""What images are like, and pictures in the colours and the spectrum of the user's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from basics import refusal
from calling import succeed
from PIL import Image
from small import random_net

import cnnpref
from cnnpref.ascent.spectrum import multiplicity
from cnnpref.ascent.statistics import NaturalStatistics
from cnnpref.jobs.job import run_batch
from cnnpref.jobs.nets import Nets
from cnnpref.nets import describe
from cnnpref.nets.kernels import find_device
from cnnpref.planning.batches import batches
from cnnpref.planning.config import Config, resolve_config
from cnnpref.planning.plan import make_plan
from cnnpref.results.unit_file import read_unit


def pictures(channels: int = 3, size: tuple[int, int] = (12, 12)) -> np.ndarray:
    """Soft ones of few colours: mostly of the last channel, with stripes from left to right."""
    random = np.random.RandomState(0)
    columns = np.arange(size[1])
    waves = np.sin(
        columns[None] * random.uniform(0.3, 0.9, (40, 1)) + random.uniform(0, 6, (40, 1))
    )
    base = 128 + 60 * waves[:, None, :, None] * np.linspace(0.1, 1, channels)
    return (base + random.normal(0, 6, (40, *size, channels))).clip(0, 255)


@pytest.mark.parametrize("size", [(12, 12), (13, 12), (12, 15), (7, 9), (16, 17), (40, 31)])
def test_a_coefficient_of_one_makes_deviation_one_at_any_size(size: tuple[int, int]) -> None:
    statistics = NaturalStatistics.of_images(pictures(size=(12, 15)))
    amplitude = statistics.amplitude(size)
    assert amplitude.shape == (3, size[0], size[1] // 2 + 1)
    power = amplitude**2 * multiplicity(*size)
    power[:, 0, 0] = 0
    np.testing.assert_allclose(power.sum((1, 2)) / np.prod(size), 1)
    assert (amplitude > 0).all()


def test_at_their_own_size_the_amplitudes_are_the_images_own() -> None:
    statistics = NaturalStatistics.of_images(pictures())
    ratio = statistics.amplitude((12, 12)) / statistics.magnitude
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:, :1, 1:2], ratio.shape), rtol=1e-6)


def test_stripes_are_stripes_at_another_size() -> None:
    """Power lies along the columns' frequencies, whatever the canvas."""
    first = NaturalStatistics.of_images(pictures()).amplitude((20, 18))[0]
    assert (first[0, 1:4] > 3 * first[1:4, 0]).all()


def test_components_give_back_the_images_covariance() -> None:
    images = pictures()
    statistics = NaturalStatistics.of_images(images)
    share = (images / 255).clip(1 / 64, 63 / 64)
    logits = np.log(share / (1 - share)).reshape(-1, 3)
    np.testing.assert_allclose(
        statistics.components @ statistics.components.T, np.cov(logits.T, bias=True), rtol=1e-6
    )
    np.testing.assert_allclose(statistics.mean, logits.mean(0))


@pytest.mark.parametrize("method", ["spectral", "maco"])
def test_pictures_have_the_colours_of_the_images(tmp_path: Path, method: str) -> None:
    """The channels vary as they do in the images; those that are built in are alike."""
    net = random_net(tmp_path)
    images = pictures(size=(20, 20))
    objective = cnnpref.Objective.units(net, "fc", [0, 5])
    options = cnnpref.resolve(method, "higher", {"steps": 12})
    own, built_in = (
        cnnpref.maximise(net, objective, method, options, statistics=statistics).images
        for statistics in (NaturalStatistics.of_images(images), None)
    )
    spread, other = (each.std((0, 1, 2)) for each in (own, built_in))
    assert (spread / spread.max())[0] < 0.3
    assert (other / other.max())[0] > 0.6


def test_statistics_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    net = random_net(tmp_path)
    objective = cnnpref.Objective.units(net, "fc", [0])
    grey = NaturalStatistics.of_images(pictures(1))

    def maximise(method: str, statistics: NaturalStatistics) -> None:
        cnnpref.maximise(net, objective, method, statistics=statistics)

    assert "uses no natural statistics" in refusal(maximise, "gd", grey)
    assert "of 1 channels for the net 'small', whose images have 3" in refusal(
        maximise, "maco", grey
    )
    assert "do not fit" in refusal(replace, grey, width=17)
    assert "need images (N, H, W, C)" in refusal(NaturalStatistics.of_images, np.zeros((2, 3)))


def with_references(config: dict[str, Any], folder: Path, images: Sequence[int]) -> Config:
    """A config whose reference images are some of `pictures()`."""
    folder.mkdir()
    for number in images:
        Image.fromarray(pictures(size=(20, 20))[number].astype(np.uint8)).save(
            folder / f"{number}.png"
        )
    return resolve_config({**config, "references": str(folder)}, "tiny")


def test_a_run_with_references_uses_their_statistics_and_says_so(
    tiny_config: dict[str, Any], tmp_path: Path
) -> None:
    config = {
        **tiny_config,
        "results": str(tmp_path / "results"),
        "methods": ["spectral", "gd"],
        "layers": {"fc": {"units": "0-1"}},
        "options": {"spectral": {"steps": 4}, "gd": {"iter_n": 2}},
    }
    mine = with_references(config, tmp_path / "mine", range(4))
    other = with_references(config, tmp_path / "other", range(3))
    own, built_in = (make_plan(each, describe) for each in (mine, resolve_config(config, "tiny")))
    (spectral, gd), (plain, same) = own.series, built_in.series
    assert gd.digest == same.digest
    assert spectral.digest != plain.digest
    assert own.references
    batch, cpu = batches(own)[0], find_device("cpu")
    assert "nature.h5: missing" in refusal(run_batch, batch, Nets(mine, cpu))
    succeed("nature", other)
    assert "is of other images" in refusal(run_batch, batch, Nets(mine, cpu))
    succeed("nature", mine)
    nets = Nets(mine, cpu)
    for each in (*batches(own), *batches(built_in)):
        assert run_batch(each, nets) == []
    found = read_unit(spectral.path(1))
    assert found.attributes["statistics"] == own.references.digest
    assert read_unit(plain.path(1)).attributes["statistics"] == "built-in"
    assert "statistics" not in read_unit(gd.path(1)).attributes
    statistics = nets.statistics(spectral)
    assert statistics
    objective = cnnpref.Objective.units(nets.net, "fc", [0, 1])
    wanted = cnnpref.maximise(
        nets.net, objective, "spectral", spectral.options, statistics=statistics
    )
    assert np.array_equal(found.image, wanted.images[1])
