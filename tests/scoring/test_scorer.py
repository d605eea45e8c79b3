"""Scores of pictures of the embedded net's units, against plain formulas."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from basics import refusal
from drawings import Bytes, drawings, shapes_net
from PIL import Image
from small import random_net

import cnnpref
from cnnpref.scoring.disturb import disturbed, moved
from cnnpref.scoring.likeness import diversity, iterations_95
from cnnpref.statistics.nature import log_power

LAYERS = {"conv3": "center", "conv5": "all", "fc8": "center"}
Values = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def net() -> cnnpref.Net:
    return shapes_net()


@pytest.fixture(scope="module")
def photos() -> Bytes:
    return drawings(120)


@pytest.fixture(scope="module")
def references(net: cnnpref.Net, photos: Bytes) -> dict[str, cnnpref.LayerReferences]:
    return cnnpref.references(net, photos, LAYERS)


@pytest.fixture(scope="module")
def nature(net: cnnpref.Net, photos: Bytes) -> cnnpref.Nature:
    return cnnpref.nature(net, photos, LAYERS)


@pytest.fixture(scope="module")
def pictures() -> Bytes:
    return drawings(20, seed=3)


def targets_of(net: cnnpref.Net, pictures: Bytes, layer: str, position: str) -> Values:
    """Activations (N, C) of all targets, by a pass of the whole net, 4 pictures at a time."""
    with torch.no_grad():
        parts = [
            net.activations(torch.from_numpy(net.space.encode(pictures[i : i + 4])), layer)
            for i in range(0, len(pictures), 4)
        ]
    a = torch.cat(parts).double().numpy()
    if a.ndim == 2:
        return a
    return a.sum((2, 3)) if position == "all" else a[:, :, a.shape[2] // 2, a.shape[3] // 2]


@pytest.mark.parametrize("layer", LAYERS)
def test_gain_and_selectivity_are_those_of_the_formulas(
    net: cnnpref.Net,
    references: dict[str, cnnpref.LayerReferences],
    photos: Bytes,
    pictures: Bytes,
    layer: str,
) -> None:
    position, units = LAYERS[layer], list(range(10)) * 2
    table = cnnpref.score(net, pictures, layer, units, position, references=references[layer])
    with torch.no_grad():
        a = net.activations(torch.from_numpy(net.space.encode(photos)), layer).double().numpy()
    every = a[..., None] if a.ndim == 2 else a.reshape(*a.shape[:2], -1)
    every = every.sum(2, keepdims=True) if position == "all" else every
    natural = every.swapaxes(0, 1).reshape(a.shape[1], -1)  # (C, values)
    found = targets_of(net, pictures, layer, position)
    own = found[np.arange(20), units]
    assert np.allclose(table["activation_8bit"], own, rtol=1e-4, atol=1e-4)
    told = references[layer].sums if position == "all" else references[layer].values
    gain = (own - told.median[units]) / (natural.max(1) - told.median)[units]
    assert np.allclose(table["gain"], gain, rtol=1e-4, atol=1e-4)
    z = (found - natural.mean(1)) / natural.std(1)
    lead = z[np.arange(20), units]
    assert np.allclose(table["selectivity_z"], lead, rtol=1e-3, atol=1e-3)
    assert table["selectivity_rank"].to_list() == (1 + (z > lead[:, None]).sum(1)).tolist()


@pytest.mark.parametrize("layer", LAYERS)
def test_keep_is_what_small_changes_leave(
    net: cnnpref.Net,
    references: dict[str, cnnpref.LayerReferences],
    pictures: Bytes,
    layer: str,
) -> None:
    position, some = LAYERS[layer], pictures[:6]
    units = targets_of(net, some, layer, position).argmax(1).tolist()  # they rise above the median
    table = cnnpref.score(net, some, layer, units, position, references=references[layer])
    told = references[layer].sums if position == "all" else references[layer].values
    rows = np.arange(6), units
    base = targets_of(net, some, layer, position)[rows] - told.median[units]
    base[(table["gain"] < 0.1).to_numpy()] = np.nan
    shares: dict[str, list[Values]] = {}
    for kind, changed in disturbed(some):
        if layer == "conv3":  # 8 x 8 positions of 64 x 64 pixels: 8 pixels are one position
            with torch.no_grad():
                a = net.activations(torch.from_numpy(net.space.encode(changed)), layer)
            left = a[:, :, 3:6, 3:6].amax((2, 3)).double().numpy()[rows]
        else:
            left = targets_of(net, changed, layer, position)[rows]
        shares.setdefault(kind, []).append((left - told.median[units]) / base)
    means = {kind: np.mean(parts, axis=0) for kind, parts in shares.items()}
    assert list(means) == ["shift", "scale", "rotation", "noise", "jpeg"]
    for kind, mean in means.items():
        assert np.allclose(table[f"keep_{kind}"], mean, 1e-3, 1e-3, equal_nan=True)
    every = np.mean(list(means.values()), axis=0)
    assert np.isfinite(every).any()
    assert np.allclose(table["keep"], every, 1e-3, 1e-3, equal_nan=True)


def test_spectrum_and_colour_are_those_of_what_the_unit_sees(
    net: cnnpref.Net, photos: Bytes, nature: cnnpref.Nature, pictures: Bytes
) -> None:
    table = cnnpref.score(net, pictures, "conv3", [0] * 20, nature=nature)
    top, left, bottom, right = net.receptive_field("conv3")
    mean, sd = nature.spectra[bottom - top, right - left]
    seen = pictures[:, top:bottom, left:right]
    wanted = [np.sqrt((((log_power(each) - mean) / sd) ** 2).mean()) for each in seen]
    assert np.allclose(table["spectrum"], wanted)
    m = photos.reshape(-1, 3).astype(float).mean(0)
    c = np.cov(photos.reshape(-1, 3).T.astype(float), bias=True)
    for row, each in enumerate(seen):
        x = each.reshape(-1, 3).astype(float)
        own = np.cov(x.T, bias=True)
        roots = np.linalg.eigvals(c @ own).astype(complex) ** 0.5
        squared = ((x.mean(0) - m) ** 2).sum() + np.trace(c + own) - 2 * roots.real.sum()
        wanted_colour = np.sqrt(squared) / nature.distance_median
        assert table["colour"][row] == pytest.approx(wanted_colour, rel=1e-6)


def test_scores_do_not_depend_on_the_batch_or_the_order(
    net: cnnpref.Net,
    references: dict[str, cnnpref.LayerReferences],
    nature: cnnpref.Nature,
    pictures: Bytes,
) -> None:
    told = {"references": references["conv3"], "nature": nature}
    units = list(range(20))
    whole = cnnpref.score(net, pictures, "conv3", units, **told).rows()
    order = np.random.default_rng(0).permutation(20)
    mixed = cnnpref.score(net, pictures[order], "conv3", order.tolist(), **told).rows()
    assert [mixed[place] for place in np.argsort(order)] == whole
    for row in (0, 17):
        alone = cnnpref.score(net, pictures[row : row + 1], "conv3", [row], **told).rows()
        assert alone == [whole[row]]


def test_what_cannot_be_computed_is_null(
    net: cnnpref.Net,
    references: dict[str, cnnpref.LayerReferences],
    photos: Bytes,
    pictures: Bytes,
) -> None:
    (row,) = cnnpref.score(net, pictures[:1], "fc8", [3]).to_dicts()
    known = {name for name, value in row.items() if value is not None}
    assert known == {"unit", "activation", "activation_8bit"}
    lowest = int(targets_of(net, photos, "fc8", "center")[:, 3].argmin())
    dull = photos[lowest : lowest + 1]
    (row,) = cnnpref.score(net, dull, "fc8", [3], references=references["fc8"]).to_dicts()
    assert row["gain"] < 0  # under the median: there is nothing to keep
    assert row["keep"] is row["keep_jpeg"] is None
    assert row["selectivity_rank"] > 8


def test_what_hardly_excites_a_unit_has_nothing_to_keep(
    net: cnnpref.Net, references: dict[str, cnnpref.LayerReferences], photos: Bytes
) -> None:
    several = photos[:40]
    table = cnnpref.score(net, several, "fc8", [3] * 40, references=references["fc8"])
    dull = (table["gain"] < 0.1).to_list()
    assert table["keep"].is_null().to_list() == table["keep_jpeg"].is_null().to_list() == dull
    assert ((table["gain"] > 0) & (table["gain"] < 0.1)).any()
    assert not all(dull)


def test_references_that_are_all_alike_are_no_measure(
    net: cnnpref.Net, photos: Bytes, pictures: Bytes, tmp_path: Path
) -> None:
    told = refusal(cnnpref.nature, net, photos[[0, 0]], ["fc8"])
    assert "at least 2 images that can be read are needed, got 1; those with the sa" in told
    for level in (1, 9):  # of compression: other files, the same pixels
        Image.fromarray(photos[0]).save(tmp_path / f"{level}.png", compress_level=level)
    alike = cnnpref.nature(net, tmp_path, ["fc8"])
    (row,) = cnnpref.score(net, pictures[:1], "fc8", [3], nature=alike).to_dicts()
    assert row["colour"] is row["spectrum"] is None


def test_a_picture_is_scored_as_it_is_saved(net: cnnpref.Net, pictures: Bytes) -> None:
    outside = pictures[:2].astype(np.float32) * 1.7 - 40.3
    saved = outside.round().clip(0, 255)
    table = cnnpref.score(net, outside, "fc8", [1, 2])
    other = cnnpref.score(net, saved, "fc8", [1, 2])
    assert table["activation_8bit"].to_list() == other["activation"].to_list()
    assert table["activation"].to_list() != table["activation_8bit"].to_list()


def test_several_pictures_of_a_unit_have_a_diversity(net: cnnpref.Net, pictures: Bytes) -> None:
    units = [4, 4, 5, 4]
    table = cnnpref.score(net, pictures[:4], "fc8", units)
    flat = pictures[[0, 1, 3]].reshape(3, -1).astype(float)
    wanted = 1 - np.corrcoef(flat)[np.triu_indices(3, 1)].mean()
    assert table["diversity"].to_list() == [pytest.approx(wanted)] * 2 + [
        None,
        pytest.approx(wanted),
    ]
    assert diversity(pictures[[0, 0]]) == pytest.approx(0)


def test_units_that_are_to_be_low_are_scored_the_other_way_round(
    net: cnnpref.Net, references: dict[str, cnnpref.LayerReferences], photos: Bytes
) -> None:
    from cnnpref.scoring.natural import Natural
    from cnnpref.scoring.scorer import Scorer
    from cnnpref.scoring.targets import Targets

    told = references["fc8"]
    scorer = Scorer(Targets(net, "fc8", sign=-1), Natural.of(told, sign=-1))
    lowest = int(targets_of(net, photos, "fc8", "center")[:, 2].argmin())
    found = scorer(photos[lowest : lowest + 1], [2])
    assert found["gain"] == pytest.approx([1], abs=1e-4)
    assert found["activation_8bit"] == pytest.approx([told.bottom.activation[2, 0]], abs=1e-3)
    assert found["keep"][0] < 1.5


@pytest.mark.parametrize(
    ("trace", "wanted"),
    [
        ([0, 1, 2, 19, 20], 4),
        ([0, 20, 3, 4], 2),
        ([5, 4, 3], None),
        ([2], None),
        ([0, np.nan, 10], 3),
    ],
)
def test_iterations_to_95_percent_of_the_rise(trace: list[float], wanted: int | None) -> None:
    assert iterations_95(np.array(trace, np.float32)) == wanted


def test_a_shift_moves_to_the_right_and_down() -> None:
    picture = np.zeros((1, 20, 30, 3), np.uint8)
    picture[0, 5, 7] = 255
    (y, x) = np.argwhere(moved(picture, shift=(6, 4))[0, :, :, 0] > 100)[0]
    assert (y, x) == (9, 13)


def test_jpeg_is_that_of_the_whole_picture(pictures: Bytes) -> None:
    file = BytesIO()
    Image.fromarray(pictures[0]).save(file, "JPEG", quality=75)
    *_, (kind, changed) = disturbed(pictures[:2])
    assert kind == "jpeg"
    assert np.array_equal(changed[0], np.asarray(Image.open(file)))


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_pictures_of_any_channels_are_changed(channels: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (1, 12, 14, channels)).astype(np.uint8)
    assert {changed.shape for _, changed in disturbed(picture)} == {(1, 12, 14, channels)}


def test_images_of_another_size_and_units_that_are_not_there_are_refused(
    net: cnnpref.Net, pictures: Bytes
) -> None:
    assert "(2, 64, 64, 3) is allowed" in refusal(cnnpref.score, net, pictures[:1], "fc8", [0, 1])
    assert "16 units, from 0; got 16" in refusal(cnnpref.score, net, pictures[:1], "fc8", [16])


def test_a_net_held_out_sees_the_picture_in_its_own_size(
    tmp_path: Path, net: cnnpref.Net, pictures: Bytes
) -> None:
    other = random_net(tmp_path)  # 20 x 20, has conv1 of 10 units
    table = cnnpref.score(net, pictures[:3], "conv1", [0, 3, 9], held_out=[other, net])
    assert table["eval_1"].to_list() == table["activation_8bit"].to_list()
    x = torch.from_numpy(pictures[:3]).permute(0, 3, 1, 2).float()
    small = torch.nn.functional.interpolate(x, (20, 20), mode="bilinear", antialias=True)
    images = small.permute(0, 2, 3, 1).numpy()
    wanted = other.activations(torch.from_numpy(other.space.encode(images)), "conv1")[:, :, 4, 4]
    own = wanted[range(3), [0, 3, 9]]
    assert np.allclose(table["eval_0"], own.detach().numpy(), rtol=1e-3, atol=1e-3)
    ranks = (1 + (wanted > own[:, None]).sum(1)).tolist()
    assert table["eval_0_rank"].to_list() == ranks
