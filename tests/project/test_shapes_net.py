"""The embedded nets: what nets/README.md says of them is true of the files."""

import hashlib
import importlib.util
import re
from types import ModuleType

import numpy as np
import pytest
import torch
from places import ROOT
from torch import Tensor

import cnnpref

NETS = ROOT / "nets"
SHAPES = NETS / "shapes"
README = (NETS / "README.md").read_text()
HELD_OUT_SEED = 1234  # the training script knows 1 and 2


def documented(figure: str) -> float:
    """A number of the README's table of figures."""
    row = re.search(rf"^\| {figure}[^|]*\| ([\d.]+)", README, re.MULTILINE)
    assert row, f"nets/README.md has no row {figure!r}"
    return float(row[1])


@pytest.fixture(scope="module")
def draw() -> ModuleType:
    spec = importlib.util.spec_from_file_location("draw", SHAPES / "draw.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def net() -> cnnpref.Net:
    mean = [float(value) for value in re.findall(r"`mean: \[(.*)\]`", README)[0].split(",")]
    return cnnpref.load_caffe(SHAPES / "shapes.prototxt", SHAPES / "shapes.caffemodel", mean=mean)


@pytest.fixture(scope="module")
def seen(draw: ModuleType, net: cnnpref.Net) -> dict[str, Tensor]:
    """1024 held-out drawings, their classes, codes, and what generator and classifier answer."""
    generator = cnnpref.load_caffe(
        SHAPES / "generator.prototxt", SHAPES / "generator.caffemodel", mean=net.space.mean
    )
    images, labels = draw.draw(1024, HELD_OUT_SEED)
    x = torch.from_numpy(net.space.encode(images))
    first = net.forward({"data": x}, ["fc6", "fc8"])
    again = generator.forward({"feat": first["fc6"]}, ["generated"])["generated"]
    second = net.forward({"data": again}, ["fc6", "fc8"])
    return {
        **{"x": x, "labels": torch.from_numpy(labels), "again": again},
        **first,
        **{f"{blob} again": value for blob, value in second.items()},
    }


def test_the_files_stay_small() -> None:
    assert sum(f.stat().st_size for f in SHAPES.rglob("*") if f.is_file()) <= 6e6


def test_the_checksums_are_those_of_the_files() -> None:
    rows = re.findall(r"^\| `(\S+)` \| `([0-9a-f]{64})` \|", README, re.MULTILINE)
    assert {name for name, _ in rows} >= {
        *("shapes.prototxt", "shapes.caffemodel", "generator.prototxt", "generator.caffemodel"),
        *("classes.txt", "act_range/3x/fc6.txt"),
    }
    for name, checksum in rows:
        assert hashlib.sha256((SHAPES / name).read_bytes()).hexdigest() == checksum, name


def test_drawings_depend_on_the_seed_alone(draw: ModuleType) -> None:
    images, labels = draw.draw(300, 5)
    fewer, fewer_labels = draw.draw(40, 5)
    np.testing.assert_array_equal(images[:40], fewer)
    np.testing.assert_array_equal(labels[:40], fewer_labels)
    assert (draw.draw(40, 6)[0] != fewer).any(axis=(1, 2, 3)).all()


def test_one_name_per_class(draw: ModuleType, net: cnnpref.Net) -> None:
    names = (SHAPES / "classes.txt").read_text().split()
    assert tuple(names) == draw.CLASSES
    assert net.layers["fc8"] == (len(names),)


@pytest.mark.slow
def test_held_out_accuracy(seen: dict[str, Tensor]) -> None:
    accuracy = 100 * (seen["fc8"].argmax(1) == seen["labels"]).float().mean()
    assert accuracy >= 95
    assert accuracy == pytest.approx(documented("accuracy"), abs=2)


@pytest.mark.slow
def test_reconstructions_are_as_near_as_documented(seen: dict[str, Tensor]) -> None:
    pixels = (seen["again"] - seen["x"]).abs().mean()
    lost = (seen["fc6 again"] - seen["fc6"]).norm(dim=1) / seen["fc6"].norm(dim=1)
    kept = 100 * (seen["fc8 again"].argmax(1) == seen["labels"]).float().mean()
    assert pixels <= 1.1 * documented("pixel error")
    assert lost.mean() <= 1.1 * documented("code error")
    assert kept >= documented("class kept") - 3


@pytest.mark.slow
def test_activation_range_is_that_of_the_code(seen: dict[str, Tensor]) -> None:
    (bounds,) = np.loadtxt(SHAPES / "act_range/3x/fc6.txt", ndmin=2)
    code = seen["fc6"]
    np.testing.assert_allclose(bounds, code.mean(0) + 3 * code.std(0), rtol=0.3, atol=1)
    assert (code.numpy() > bounds).mean() < 0.03
