"""Which images are found where, and that what they are called changes nothing."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from basics import refusal
from drawings import Bytes, drawings, write_pngs

from cnnpref.images.index import find_images, read_images
from cnnpref.images.pictures import Frame

FRAME = Frame((64, 64))


@pytest.fixture(scope="module")
def pictures() -> Bytes:
    return drawings(6)


@pytest.fixture
def folder(tmp_path: Path, pictures: Bytes) -> Path:
    """Six drawings, half of them in a folder below."""
    made = tmp_path / "photos"
    write_pngs(made, pictures[:3])
    write_pngs(made / "below" / "it", pictures[3:], 3)
    (made / "notes.doc").write_text("no image")
    (made / ".hidden.png").write_text("no image")
    return made


def shown(*places: Path | str) -> set[bytes]:
    """The pixels of all images in some places."""
    index = find_images([str(place) for place in places])
    contents = list(read_images(index.images))
    assert {image for image, _ in contents} == set(index.images)
    return {FRAME.show(content).tobytes() for _, content in contents}


def test_all_kinds_of_places_hold_the_same(
    folder: Path, tmp_path: Path, pictures: Bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {picture.tobytes() for picture in pictures}
    files = sorted(folder.rglob("0*.png"))
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for file in files:
            archive.write(file, file.relative_to(folder))
    for ending in ("tar", "tar.gz"):
        with tarfile.open(tmp_path / f"all.{ending}", "w:gz" if "gz" in ending else "w") as tar:
            tar.add(folder, "photos")
    np.save(tmp_path / "all.npy", pictures)
    with h5py.File(tmp_path / "all.h5", "w") as file:
        file["in/here"], file["labels"] = pictures, np.arange(6)
    lines = [f"{folder / 'below'} ", "# the others", *(f"photos/{n:04d}.png {n}" for n in range(3))]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    (tmp_path / "made.py").write_text(
        "import numpy\ndef all_of_them():\n    return numpy.load('all.npy')\n"
    )
    monkeypatch.chdir(tmp_path)
    assert shown(folder) == wanted
    assert shown(*files) == wanted
    assert shown(f"{folder}/**/*.png") == wanted
    for name in ("all.zip", "all.tar", "all.tar.gz", "all.npy", "all.h5", "list.txt"):
        assert shown(name) == wanted, name
    assert shown("made.py:all_of_them") == wanted


def test_data_sets_of_torchvision(folder: Path) -> None:
    torch = pytest.importorskip("torch")
    try:
        torch.library.define("torchvision::nms", "(Tensor a, Tensor b, float c) -> Tensor")
        torch.library.define("torchvision::qnms", "(Tensor a, Tensor b, float c) -> Tensor")
        pytest.importorskip("torchvision", exc_type=ImportError)
    except RuntimeError as error:
        pytest.skip(str(error))
    shutil.copytree(folder / "below" / "it", folder / "above")
    (folder / ".hidden.png").unlink()
    found = find_images([f"torchvision:ImageFolder:{folder}"])
    assert len(found.images) == 3
    assert len(found.skipped) == 3
    assert refusal(find_images, ["torchvision:CIFAR1"]).count("did you mean 'CIFAR10'") == 1
    assert "write torchvision:CIFAR10:FOLDER" in refusal(find_images, ["torchvision:CIFAR10"])


def test_the_same_content_counts_once(folder: Path) -> None:
    shutil.copy(folder / "0001.png", folder / "zz.png")
    index = find_images([str(folder), str(folder / "0002.png")])
    assert len(index.images) == 6
    assert index.skipped == {str(folder / "zz.png"): f"the same as {folder / '0001.png'}"}


def test_names_and_places_do_not_change_the_order(folder: Path, tmp_path: Path) -> None:
    before = [image.sha256 for image in find_images([str(folder)]).images]
    (folder / "0000.png").rename(folder / "zz.png")
    moved = folder.rename(tmp_path / "elsewhere")
    assert [image.sha256 for image in find_images([str(moved)]).images] == before


def test_a_changed_file_is_found(folder: Path, pictures: Bytes) -> None:
    before = find_images([str(folder)])
    write_pngs(folder, 255 - pictures[:1])
    after = find_images([str(folder)])
    changed = set(before.images) ^ set(after.images)
    assert {image.name for image in changed} == {str(folder / "0000.png")}
    assert "has changed in the meantime" in refusal(lambda: list(read_images(before.images)))


def test_a_file_that_is_gone_says_so(folder: Path) -> None:
    images = find_images([str(folder)]).images
    (folder / "0002.png").unlink()
    assert "0002.png: cannot be read" in refusal(lambda: list(read_images(images)))


def test_links_are_followed_once(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (folder / "0001.png").rename(other / "0001.png")
    (folder / "linked").symlink_to(other)
    (other / "back").symlink_to(folder)
    (folder / "gone.jpg").symlink_to("nowhere.jpg")
    (folder / "itself.jpg").symlink_to("itself.jpg")
    index = find_images([str(folder)])
    assert len(index.images) == 6
    assert str(folder / "linked" / "0001.png") in {image.name for image in index.images}
    broken = {str(folder / name) for name in ("gone.jpg", "itself.jpg")}
    assert index.skipped == dict.fromkeys(broken, "a link to nothing")


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("empty", "no image below it"),
        ("nowhere", "not found"),
        ("*.jpg", "not found"),
        ("words.doc", "not known as images"),
        ("broken.zip", "cannot be read"),
        ("broken.npy", "cannot be read"),
        ("flat.npy", "got (3,) of float64"),
        ("nothing.py:f", "neither a file nor a function"),
    ],
)
def test_places_without_images_are_refused(
    place: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    for name in ("words.doc", "broken.zip", "broken.npy"):
        Path(name).write_text("hello")
    np.save("flat.npy", np.zeros(3))
    message = refusal(find_images, [place])
    assert place.partition(":")[0] in message
    assert told in message


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("again.txt", "again.txt: this list lists itself"),
        ("other.lst", "again.txt: this list lists itself"),
        ("/", "/: that is the whole disk"),
    ],
)
def test_a_list_that_leads_nowhere(tmp_path: Path, line: str, part: str) -> None:
    (tmp_path / "again.txt").write_text(f"{line}\n")
    (tmp_path / "other.lst").write_text("again.txt\n")
    assert part in refusal(lambda: find_images([str(tmp_path / "again.txt")]))
