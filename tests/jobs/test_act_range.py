"""Ranges of activations over pictures, by the command line."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

import cnnpref
from cnnpref.cli import main
from cnnpref.errors import UserError
from cnnpref.jobs.act_range import activation_range, load_bounds
from cnnpref.jobs.image_files import fit, read_pictures
from cnnpref.nets.caffe import CaffeNet

Array = npt.NDArray[np.float32]


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def net(tiny_config: dict[str, Any]) -> CaffeNet:
    return cnnpref.load_caffe(**tiny_config["net"])


def pictures(count: int = 37, height: int = 12, width: int = 12) -> npt.NDArray[np.uint8]:
    """More than a batch, with an incomplete one at the end."""
    shape = (count, height, width, 3)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def as_folder(rows: npt.NDArray[np.uint8]) -> str:
    for i, row in enumerate(rows):
        path = Path("images", f"class{i % 2}", f"{i}.{'PNG' if i % 3 else 'bmp'}")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(row).save(path)
    Path("images", "list.txt").write_text("no image")
    Path("images", ".hidden.png").write_text("no image")
    return "images"


def as_npy(rows: npt.NDArray[Any]) -> str:
    np.save("stack.npy", rows)
    return "stack.npy"


def as_hdf5(rows: npt.NDArray[Any]) -> str:
    with h5py.File("stack.h5", "w") as file:
        file["some/where"] = rows.astype(np.float64)
        file["labels"] = np.arange(len(rows))
    return "stack.h5"


def call(source: dict[str, Any] | list[str], *arguments: str) -> Result:
    given = ["--config", json.dumps(source)] if isinstance(source, dict) else source
    return CliRunner().invoke(main, ["act-range", *given, *arguments])


def fail(config: dict[str, Any], images: str, *arguments: str) -> str:
    result = call(config, "--images", images, "--layer", "fc", "--out", "out", *arguments)
    assert result.exit_code == 1, result.output
    (line,) = result.stderr.splitlines()
    assert not list(Path().glob("out*"))
    return line.removeprefix("cnnpref: ")


def wanted(net: CaffeNet, layer: str, rectified: bool, k: float) -> Array:
    """Mean + k standard deviations, one picture at a time and all of them kept."""
    x = [torch.from_numpy(net.space.encode(row))[None] for row in pictures()]
    values = np.concatenate([net.activations(one, layer).numpy() for one in x]).astype(np.float64)
    values = values.clip(min=0) if rectified else values
    mean = values.sum(0) / len(values)
    return mean + k * np.sqrt(((values - mean) ** 2).sum(0) / len(values))


@pytest.mark.parametrize("store", [as_folder, as_npy, as_hdf5])
@pytest.mark.parametrize("layer", ["conv1", "relu1", "fire/expand", "fc"])
def test_the_range_is_mean_and_deviations_of_all_images(
    tiny_config: dict[str, Any], net: CaffeNet, store: Callable[..., str], layer: str
) -> None:
    result = call(tiny_config, "--images", store(pictures()), "--layer", layer, "--out", "a/range")
    assert result.exit_code == 0, result.output
    found = np.load("a/range.npy")
    assert (found.shape, found.dtype) == (net.layers[layer], np.float32)
    rectified = layer in ("conv1", "relu1")  # the ReLU of conv1 works in place
    np.testing.assert_allclose(found, wanted(net, layer, rectified, 3), rtol=1e-4, atol=1e-4)
    assert f"act-range: {found.size} bounds in a/range.txt and a/range.npy" in result.stderr
    np.testing.assert_array_equal(load_bounds("a/range.txt"), found.ravel())
    np.testing.assert_array_equal(load_bounds("a/range.npy"), found.ravel())


@pytest.mark.parametrize("k", ["1", "2", "0.5"])
def test_a_net_of_files_and_another_k(tiny_net: Path, net: CaffeNet, k: str) -> None:
    np.save("mean.npy", [104.0, 117.0, 123.0])
    for mean in ("104,117,123", "mean.npy"):
        files = ["--prototxt", f"{tiny_net}/tiny.prototxt", "--mean", mean]
        files += ["--caffemodel", f"{tiny_net}/tiny.caffemodel"]
        told = ["--images", as_npy(pictures()), "--layer", "fc", "--k", k, "--device", "cpu"]
        result = call(files, *told, "--out", "range.txt")
        assert result.exit_code == 0, result.output
        np.testing.assert_allclose(
            load_bounds("range.txt"), wanted(net, "fc", False, float(k)), rtol=1e-4
        )
        assert not Path("range.txt.npy").exists()


@pytest.mark.parametrize("missing", [["--mean", "1,2,3"], ["--prototxt", "a"], []])
def test_the_net_is_given_in_one_way(tiny_config: dict[str, Any], missing: list[str]) -> None:
    asked = ["--images", "x.npy", "--layer", "fc", "--out", "out"]
    for source in (missing, ["--config", json.dumps(tiny_config), "--caffemodel", "b"]):
        result = call(source, *asked)
        assert result.exit_code == 2
        assert "give either --config, or --prototxt and --caffemodel" in result.stderr


def test_few_pictures_are_in_memory_at_a_time(net: CaffeNet) -> None:
    alive, most = set[int](), 0

    def stream() -> Iterator[Array]:
        nonlocal most
        for i, row in enumerate(np.repeat(pictures(2), 100, axis=0)):
            picture = row.astype(np.float32)
            alive.add(i)
            weakref.finalize(picture, alive.discard, i)
            most = max(most, len(alive))
            yield picture

    activation_range(net, stream(), "fc")
    assert 1 < most <= 40


@pytest.mark.parametrize("store", [as_folder, as_npy, as_hdf5])
def test_pictures_of_another_size_are_stretched(
    tiny_config: dict[str, Any], net: CaffeNet, store: Callable[..., str]
) -> None:
    large = pictures(5, 30, 19)
    result = call(tiny_config, "--images", store(large), "--layer", "fc", "--out", "range")
    assert result.exit_code == 0, result.output
    small = [Image.fromarray(row).resize((12, 12), Image.Resampling.BILINEAR) for row in large]
    expected = activation_range(net, [np.asarray(image) for image in small], "fc")
    # Pillow rounds what it resizes in 8 bits
    np.testing.assert_allclose(np.load("range.npy"), expected, rtol=0.05)


def test_stretching_is_bilinear_and_keeps_what_fits() -> None:
    picture = pictures(1, 30, 19)[0]
    image = Image.fromarray(picture).resize((7, 12), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(fit(picture, (12, 7)), np.asarray(image), atol=1.01)
    np.testing.assert_array_equal(fit(picture, (30, 19)), picture)
    assert fit(np.full((2, 3, 3), 7.25), (5, 4)).tolist() == np.full((5, 4, 3), 7.25).tolist()
    with pytest.raises(UserError, match=r"\(H, W, 3\) wanted, got shape \(4, 5\)"):
        fit(np.zeros((4, 5)), (4, 5))


def test_grey_and_transparent_images_are_read_as_rgb(tmp_path: Path) -> None:
    grey = pictures(1)[0, ..., 0]
    Image.fromarray(grey).save("1.png")
    Image.fromarray(np.dstack([grey, grey, grey, grey])).save("2.png")
    for found in read_pictures(tmp_path):
        np.testing.assert_array_equal(found, np.dstack([grey] * 3))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--layer", "fd"], "unknown layer 'fd' (did you mean 'fc'?)"),
        (["--k", "0"], "k, the number of standard deviations, must be above 0, got 0.0"),
        (["--k", "nan"], "must be above 0, got nan"),
        (["--device", "cuda:99"], "no device 'cuda:99'"),
        (["--images", "no.npy"], "no.npy: cannot be read as .npy: [Errno 2] No such file"),
        (["--images", "no.h5"], "no.h5: cannot be read as HDF5"),
        (["--images", "nowhere"], "nowhere: got neither a folder of images nor an .npy or .h5"),
    ],
)
def test_wrong_arguments(tiny_config: dict[str, Any], arguments: list[str], said: str) -> None:
    assert said in fail(tiny_config, as_npy(pictures(2)), *arguments)


@pytest.mark.parametrize(
    ("stack", "said"),
    [
        (pictures(1), "a range needs at least 2 images, got 1"),
        (pictures(0), "numbers of shape (N, H, W, 3) wanted, got (0, 12, 12, 3)"),
        (pictures(3)[0], "(N, H, W, 3) wanted, got (12, 12, 3) of uint8"),
        (pictures(3).transpose(0, 3, 1, 2), "(N, H, W, 3) wanted, got (3, 3, 12, 12)"),
        (pictures(2) * 1j, "got (2, 12, 12, 3) of complex128"),
        (pictures(2) - 110.0, "stack.npy, picture 0: RGB values in 0..255 wanted, got -110 to 14"),
        (pictures(2) * 1.5, "got 0 to 38"),
        (
            np.full((40, 12, 12, 3), [0, 1, np.nan]),
            "picture 0: RGB values in 0..255 wanted, got nan",
        ),
    ],
)
def test_wrong_stacks(tiny_config: dict[str, Any], stack: npt.NDArray[Any], said: str) -> None:
    assert said in fail(tiny_config, as_npy(stack))


def test_wrong_files(tiny_config: dict[str, Any]) -> None:
    Path("text.npy").write_text("1 2 3")
    assert "text.npy: cannot be read as .npy: " in fail(tiny_config, "text.npy")
    Path("text.h5").write_text("1 2 3")
    assert "text.h5: cannot be read as HDF5: " in fail(tiny_config, "text.h5")
    with h5py.File("two.h5", "w") as file:
        file["a"], file["b/c"] = pictures(2), pictures(2)
    line = fail(tiny_config, "two.h5")
    assert "two.h5: one dataset of shape (N, H, W, 3) wanted, got /a, /b/c" in line
    with h5py.File("none.h5", "w") as file:
        file["a"] = np.arange(3)
    assert "wanted, got none" in fail(tiny_config, "none.h5")


def test_wrong_images(tiny_config: dict[str, Any]) -> None:
    Path("images").mkdir()
    assert "images: no image in it; read are files ending in .bmp " in fail(tiny_config, "images")
    Path("images", "a.png").write_text("no image")
    assert "images/a.png: cannot be read as an image: " in fail(tiny_config, "images")
    Image.fromarray(np.full((12, 12), 40000, np.uint16)).save("images/a.png")
    assert "images/a.png: 8 bits per channel wanted, got mode I;16" in fail(tiny_config, "images")
    Image.fromarray(pictures(1)[0]).save("images/a.png")
    whole = Path("images/a.png").read_bytes()
    Path("images/a.png").write_bytes(whole[:200])
    assert "images/a.png: cannot be read as an image: " in fail(tiny_config, "images")


def test_what_cannot_be_written(tiny_config: dict[str, Any]) -> None:
    Path("file").write_text("")
    images = as_npy(pictures(2))
    line = fail(tiny_config, images, "--out", "file/range")
    assert "cannot write file/range.txt: File exists" in line


def test_activations_that_are_not_finite(net: CaffeNet) -> None:
    list(net.parameters())[-1][2] = torch.inf
    with pytest.raises(UserError, match="layer 'fc' of 'tiny' gives NaN or infinite values"):
        activation_range(net, pictures(2), "fc")
