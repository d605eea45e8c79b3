"""Statistics of every layer of the embedded net are those that NumPy has of all activations."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from calling import succeed
from drawings import MEAN, Bytes, drawings, shapes_net
from drawings import NET as FILES

import cnnpref
from cnnpref.images.index import digest_of
from cnnpref.nets import describe
from cnnpref.nets.kernels import fast_kernels
from cnnpref.planning.config import resolve_config
from cnnpref.planning.files import REFERENCE
from cnnpref.planning.plan import make_plan
from cnnpref.results.reference_file import read_references
from cnnpref.statistics.layer import LayerReferences, Picks
from cnnpref.statistics.sketch import ERROR

Floats = npt.NDArray[np.float32]

TOP = 9
RECORDS = ("top", "bottom", "quantile", "values", "maxima", "sums")
NET = shapes_net()
QUICK, WHOLE = 150, 2000


@cache
def pictures(count: int) -> Bytes:
    return drawings(count)


@cache
def found(count: int) -> dict[str, LayerReferences]:
    return cnnpref.references(NET, pictures(count), top=TOP)


def activations(count: int, layer: str, batch: int = 16) -> Floats:
    """Of all drawings, ordered by their digests: (N, U, positions)."""
    ordered = sorted(pictures(count), key=digest_of)
    wholes = [ordered[i : i + batch] for i in range(0, count, batch)]
    parts = []
    with torch.no_grad(), fast_kernels():
        for whole in wholes:
            filled = np.stack([*whole, *[whole[0]] * (batch - len(whole))])
            values = NET.activations(torch.from_numpy(NET.space.encode(filled)), layer)
            parts.append(values[: len(whole)].numpy())
    a = np.concatenate(parts)
    return a.reshape(count, a.shape[1], -1)


@pytest.fixture(
    params=[pytest.param(QUICK), pytest.param(WHOLE, marks=pytest.mark.slow)], scope="module"
)
def count(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.mark.parametrize("layer", NET.layers)
def test_every_number_of_a_layer(layer: str, count: int) -> None:
    a, told = activations(count, layer), found(count)[layer]
    maxima, minima = a.max(2), a.min(2)
    check_picks(told.top, a, maxima, a.argmax(2), np.argsort(-maxima, axis=0, kind="stable")[:TOP])
    check_picks(
        told.bottom, a, minima, a.argmin(2), np.argsort(minima, axis=0, kind="stable")[:TOP]
    )
    check_quantiles(told, maxima)
    flat = a.swapaxes(0, 1).reshape(a.shape[1], -1)
    sums = a.astype(np.float64).sum(2).astype(np.float32)
    for moments, values in ((told.values, flat), (told.maxima, maxima.T), (told.sums, sums.T)):
        x = values.astype(np.float64)
        assert (moments.n == x.shape[1]).all()
        np.testing.assert_allclose(moments.mean, x.mean(1), rtol=1e-9, atol=1e-12 * np.abs(x).max())
        np.testing.assert_allclose(moments.sd, x.std(1), rtol=1e-7, atol=1e-9 * np.abs(x).max())
        np.testing.assert_array_equal(moments.max, x.max(1))
    check_quantiles_of_values(told, flat)
    check_histograms(told, flat, maxima.T)
    check_correlation(told, maxima)


def check_picks(
    picks: Picks, a: Floats, values: Floats, at: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]
) -> None:
    np.testing.assert_array_equal(picks.image, rows.T)
    np.testing.assert_array_equal(picks.activation, np.take_along_axis(values, rows, 0).T)
    places = np.take_along_axis(at, rows, 0).T
    width = int(np.sqrt(a.shape[2]))  # this net's maps are squares
    np.testing.assert_array_equal(picks.position, np.stack(np.divmod(places, width), -1))


def check_quantiles(told: LayerReferences, maxima: Floats) -> None:
    ranks = [int(q * (len(maxima) - 1) + 0.5) for q in (0.5, 0.75, 0.9, 0.99)]
    np.testing.assert_array_equal(np.sort(maxima, axis=0)[ranks].T, told.quantile.activation)
    own = np.take_along_axis(maxima, told.quantile.image.T, 0).T
    np.testing.assert_array_equal(own, told.quantile.activation)
    wanted = np.quantile(maxima.astype(np.float64), (0.5, 0.99), axis=0)
    np.testing.assert_allclose([told.maxima.median, told.maxima.p99], wanted, rtol=1e-12)


def check_quantiles_of_values(told: LayerReferences, flat: Floats) -> None:
    """Within the bound that is stated."""
    wanted = np.quantile(flat, (0.5, 0.99), axis=1, method="lower")
    for one, other in zip(wanted, (told.values.median, told.values.p99), strict=True):
        assert (np.abs(one - other) <= np.abs(one) * ERROR + 2.0**-31).all()


def check_histograms(told: LayerReferences, flat: Floats, maxima: Floats) -> None:
    tables = ((told.histogram, told.edges, flat), (told.histogram_max, told.edges_max, maxima))
    for counts, edges, values in tables:
        np.testing.assert_array_equal(edges[:, 0], values.min(1))
        np.testing.assert_array_equal(edges[:, -1], values.max(1))
        rows = zip(values, edges, strict=True)
        wanted = [np.histogram(row, bins)[0] for row, bins in rows]
        np.testing.assert_array_equal(counts, wanted)


def check_correlation(told: LayerReferences, maxima: Floats) -> None:
    x = maxima.astype(np.float64)
    x -= x.mean(0)
    x /= np.where(x.std(0) > 0, x.std(0), np.inf)
    wanted = x.T @ x / len(x)
    np.fill_diagonal(wanted, -2)
    shown = min(16, len(wanted) - 1)
    best = -np.sort(-wanted, axis=1)[:, :shown]
    np.testing.assert_allclose(told.correlation[:, :shown], best, atol=1e-6)
    own = np.take_along_axis(wanted, told.nearest[:, :shown].astype(np.int64), 1)
    np.testing.assert_allclose(own, best, atol=1e-6)
    assert (told.nearest[:, shown:] == -1).all()


@pytest.mark.parametrize("batch", [1, 64])
@pytest.mark.parametrize("layer", NET.layers)
def test_batches_of_other_sizes_give_the_same_but_for_rounding(layer: str, batch: int) -> None:
    a, told = activations(QUICK, layer, batch), found(QUICK)[layer]
    close = {"rtol": 1e-5, "atol": 1e-5 * float(np.abs(a).max())}
    best = -np.sort(-a.max(2), axis=0)[:TOP].T
    np.testing.assert_allclose(told.top.activation, best, **close)
    lowest = np.sort(a.min(2), axis=0)[:TOP].T
    np.testing.assert_allclose(told.bottom.activation, lowest, **close)
    np.testing.assert_allclose(told.values.mean, a.mean((0, 2), np.float64), **close)


@pytest.mark.parametrize("shards", [1, 3, 7])
def test_shards_and_order_change_no_bit(
    count: int, shards: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of any layer: jobs of the workflow, on the drawings in another order."""
    monkeypatch.chdir(tmp_path)
    shuffled = np.random.default_rng(shards).permutation(pictures(count))
    np.save("stack.npy", shuffled)
    section = {"images": "stack.npy", "shard": round(count / shards)}
    net = {**FILES, "mean": MEAN}
    config = {"run": "mine", "net": net, "layers": "all", "references": section}
    plan = make_plan(resolve_config(config, "mine"), describe)
    assert plan.references
    assert len(plan.references.shards) == shards
    succeed("references", config)
    for layer in plan.layers:
        told = read_references(plan.path(REFERENCE, layer), plan.references.key)
        assert arrays(told) == arrays(found(count)[layer])


def arrays(told: LayerReferences) -> dict[str, object]:
    """All but the names of images, to the bit."""
    parts = {
        **vars(told),
        **{f"{n} {k}": v for n in RECORDS for k, v in vars(getattr(told, n)).items()},
    }
    texts = {"sha256": told.sha256, "shape": told.shape, "crops": [bytes(c) for c in told.crops]}
    return texts | {k: v.tobytes() for k, v in parts.items() if isinstance(v, np.ndarray)}


def test_edges_of_a_histogram_are_nearly_even() -> None:
    """By the width of a fine bin, which is 1/64 of the number there, or less."""
    told = found(QUICK)["conv3"]
    even = np.linspace(told.edges[:, 0], told.edges[:, -1], 65, axis=1)
    assert (np.abs(told.edges - even) <= np.abs(even) / 64 + 1e-6).all()


def test_images_alone_have_the_values_that_they_have_among_others() -> None:
    """Whatever their number: a batch is filled up."""
    ordered = sorted(pictures(QUICK), key=digest_of)
    for place in (0, 77, 149):
        alone = cnnpref.references(NET, ordered[place][None], ["conv1", "conv5", "fc8"], top=1)
        for layer, told in alone.items():
            own = activations(QUICK, layer)[place].max(1)
            np.testing.assert_array_equal(told.top.activation[:, 0], own)


def test_fewer_images_than_asked_for() -> None:
    told = cnnpref.references(NET, pictures(QUICK)[:2], ["fc8"], top=3)["fc8"]
    assert (told.top.image[:, 2] == -1).all()
    assert np.isnan(told.bottom.activation[:, 2]).all()
    assert told.top.crop is not None
    assert (told.top.crop[:, 2] == -1).all()
    assert {len(told.images), len(told.crops)} == {2}
