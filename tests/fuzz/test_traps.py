"""What others could hide in files, made on purpose: none of it is followed, run, or expanded."""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from basics import refusal
from calling import fail, succeed
from layers import unit_result, write_layer
from running import Project

import cnnpref
from cnnpref.images.index import find_images, read_images
from cnnpref.images.pictures import Frame, UnreadableError
from cnnpref.jobs.act_range import load_bounds
from cnnpref.jobs.image_files import read_pictures
from cnnpref.nets.caffe.files.hdf5_weights import stored_datasets
from cnnpref.planning.config import read_config
from cnnpref.results.layer_file import open_layer
from cnnpref.results.unit_file import check_unit, write_unit

SHAPE = (8, 8, 3)


def link(parent: h5py.Group, name: str, secret: Path) -> None:
    parent[name] = h5py.ExternalLink(str(secret), "secret")


def raw(parent: h5py.Group, name: str, secret: Path) -> None:
    size = 4 * 8 * 8 * 3
    parent.create_dataset(name, SHAPE, "f4", external=[(str(secret), 0, size)])


def virtual(parent: h5py.Group, name: str, secret: Path) -> None:
    layout = h5py.VirtualLayout(SHAPE, "f4")
    layout[...] = h5py.VirtualSource(str(secret), "secret", SHAPE)
    parent.create_virtual_dataset(name, layout)


def strange(parent: h5py.Group, name: str, _: Path) -> None:
    parent.create_dataset(name, data=np.zeros(SHAPE, "f4"), chunks=SHAPE, scaleoffset=2)


def empty(parent: h5py.Group, name: str, _: Path) -> None:
    parent.create_dataset(name, (1 << 20, 1 << 10, 3), "f4", chunks=(16, 16, 3))


def endless(parent: h5py.Group, name: str, _: Path) -> None:
    """So many values that their number is 0 in 64 bits."""
    parent.create_dataset(name, (1 << 40, 1 << 20, 1 << 20, 3), "f4", chunks=(1, 16, 16, 3))


TRAPS = {
    link: "is a link to another file",
    raw: "has its data in another file",
    virtual: "refers to other files",
    strange: "needs the filter 6",
    empty: "says it holds 12,288 MiB, of 0 bytes",
    endless: "says it holds 13,835,058,055,282,163,712 MiB, of 0 bytes",
}
Trap = Callable[[h5py.Group, str, Path], None]


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file that is not of the run, full of numbers."""
    (tmp_path / "elsewhere").mkdir()
    with h5py.File(tmp_path / "elsewhere" / "secret.h5", "w") as file:
        file["secret"] = np.full(SHAPE, 77, np.float32)
    return tmp_path / "elsewhere" / "secret.h5"


@pytest.mark.parametrize("trap", TRAPS)
def test_unit_files_lead_nowhere_else(trap: Trap, tmp_path: Path, secret: Path) -> None:
    path = tmp_path / "3.h5"
    write_unit(path, unit_result(3))
    with h5py.File(path, "r+") as file:
        del file["image"]
        trap(file, "image", secret)
    assert check_unit(path) == f"/image {TRAPS[trap]}"


@pytest.mark.parametrize("trap", TRAPS)
def test_layer_files_lead_nowhere_else(trap: Trap, tmp_path: Path, secret: Path) -> None:
    path = write_layer(tmp_path, [unit_result(3)])
    with h5py.File(path, "r+") as file:
        trap(file["gd"], "importance", secret)
    with pytest.raises(cnnpref.UserError, match=TRAPS[trap]), open_layer(path):
        pass


@pytest.mark.parametrize("trap", TRAPS)
def test_stacks_and_weights_lead_nowhere_else(trap: Trap, tmp_path: Path, secret: Path) -> None:
    with h5py.File(tmp_path / "stack.h5", "w") as file:
        trap(file.create_group("data/conv1"), "0", secret)
    path = str(tmp_path / "stack.h5")
    assert TRAPS[trap] in refusal(find_images, [path])
    assert TRAPS[trap] in refusal(lambda: list(read_pictures(path)))
    assert TRAPS[trap] in refusal(stored_datasets, path)


def test_a_group_within_itself_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data/0"] = np.zeros(3)
        file["data/again"] = file["data"]
    assert "/data/again is a group that lies elsewhere too" in refusal(
        stored_datasets, tmp_path / "a.h5"
    )


class Payload:
    """Leaves a file behind when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("unpickled",)


@pytest.mark.usefixtures("vision")
def test_nothing_is_unpickled() -> None:
    torch.save({"0.weight": Payload()}, "net.pt")
    np.save("bounds.npy", np.array([Payload()]), allow_pickle=True)
    section = {"torch": "vision:build", "input_shape": [3, 8, 8], "weights": "net.pt"}
    assert "it holds other things than tensors" in refusal(cnnpref.nets.open_net, section)
    assert "bounds.npy" in refusal(load_bounds, "bounds.npy")
    assert "bounds.npy" in refusal(find_images, ["bounds.npy"])
    assert not Path("unpickled").exists()


def png(width: int, height: int) -> bytes:
    """A picture of a single colour, which takes few bytes."""

    def part(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    rows = zlib.compressobj(9)
    line = bytes(1 + 3 * width)
    data = b"".join([*(rows.compress(line) for _ in range(height)), rows.flush()])
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [part(b"IHDR", header), part(b"IDAT", data), part(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_pictures_of_too_many_pixels_are_not_decoded(tmp_path: Path) -> None:
    bomb = png(12_000, 10_000)
    assert len(bomb) < 1 << 20
    with pytest.raises(UnreadableError, match="12000 x 10000 pixels, more than 110,000,000"):
        Frame((8, 8)).show(bomb)
    (tmp_path / "bomb.png").write_bytes(bomb)
    assert "pixels, more than" in refusal(lambda: list(read_pictures(tmp_path)))


def zip_bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(300 << 20))


def many_zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(20):
            archive.writestr(f"{number}.png", bytes(60 << 20))


def tar_bomb(path: Path) -> None:
    with gzip.open(path, "wb", 1) as file:
        entry = tarfile.TarInfo("a.png")
        entry.size = 1 << 40
        file.write(entry.tobuf())
        file.write(bytes(1 << 20))


def tar_header_bomb(path: Path) -> None:
    """A header of its own size, which tarfile reads as a whole."""
    with gzip.open(path, "wb", 1) as file:
        entry = tarfile.TarInfo("long")
        entry.type, entry.size = tarfile.XHDTYPE, 3 << 30
        file.write(entry.tobuf())
        for _ in range(1100):
            file.write(bytes(1 << 20))


BOMBS = {
    ("a.zip", zip_bomb): "a member of 314,572,800 bytes; an image has at most 268,435,456",
    ("a.zip", many_zipped): "its members take 1,258,291,200 bytes, far more than it has",
    ("a.tar.gz", tar_bomb): "a member of 1,099,511,627,776 bytes; an image has",
    ("a.tar.gz", tar_header_bomb): "far more comes out of it than it has",
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "make"), BOMBS)
def test_archives_are_not_expanded_beyond_measure(
    name: str, make: Callable[[Path], None], tmp_path: Path
) -> None:
    make(tmp_path / name)
    assert BOMBS[name, make] in refusal(find_images, [str(tmp_path / name)])


def test_names_in_archives_are_no_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inside").mkdir()
    monkeypatch.chdir(tmp_path / "inside")
    picture = png(3, 3)
    with zipfile.ZipFile("a.zip", "w") as archive:
        archive.writestr("../../outside.png", picture)
    with tarfile.open("a.tar", "w") as tarred:
        entry = tarfile.TarInfo("/outside.png")
        entry.size = len(picture)
        tarred.addfile(entry, io.BytesIO(picture))
        other = tarfile.TarInfo("link.png")
        other.type, other.linkname = tarfile.SYMTYPE, str(tmp_path / "secret.png")
        tarred.addfile(other)
    (tmp_path / "secret.png").write_bytes(png(4, 4))
    for place in ("a.zip", "a.tar"):
        found = find_images([place])
        assert [content for _, content in read_images(found.images)] == [picture]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["inside", "secret.png"]


def test_aliases_do_not_multiply(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    (tmp_path / "a.yaml").write_text("\n".join(lines))
    assert "more than 1,000,000 values" in refusal(read_config, str(tmp_path / "a.yaml"))


ODD = {
    "a: &a [*a]": "nested too deeply",
    "[" * 5000: "nested too deeply",
    "run: !!bool maybe": "is not valid YAML",
    "seed: " + "9" * 5000: "Exceeds the limit",
    "2020-01-01: 1": "keys must be str",
    "run: !!python/object/apply:os.mkdir [unpickled]": "is not valid YAML",
    "net: {prototxt: /dev/zero, caffemodel: /dev/zero}\nlayers: all": "not a regular file",
    "net: {prototxt: /dev/null, caffemodel: /dev/zero}\nlayers: all": "not a regular file",
    'net: {prototxt: "a\\0b", caffemodel: a}\nlayers: all': "no file has such a name (embedded",
    'net: {prototxt: "\\ud800", caffemodel: a}\nlayers: all': "surrogates not allowed); check",
}


@pytest.mark.parametrize("text", ODD)
@pytest.mark.usefixtures("in_tmp_path")
def test_odd_configs_are_told_in_one_line(text: str) -> None:
    Path("odd.yaml").write_text(text)
    assert ODD[text] in fail("plan", "--config", "odd.yaml")
    assert not Path("unpickled").exists()


def test_an_array_that_claims_more_than_it_has_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "bounds.npy"
    header = {"descr": "<f4", "fortran_order": False, "shape": (9_999_999_999,)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.write(bytes(28))
    assert "mmap length is greater than file size" in refusal(load_bounds, path)


def test_a_manifest_of_others_deletes_and_shares_nothing_outside(finished: Project) -> None:
    victim = finished.folder / "victim.png"
    victim.write_bytes(b"mine")
    manifest = Path("results/mine/pictures/conv1/manifest.json")
    content = json.loads(manifest.read_text())
    content["files"] |= {name: ["0", 4] for name in ("../../victim.png", str(victim))}
    manifest.write_text(json.dumps(content))
    fail("check", "--config", "mine.yaml")
    succeed("share", "--config", "mine.yaml")
    assert not any("victim" in path.name for path in Path("results").rglob("*"))
    succeed("pages", "--config", "mine.yaml")
    assert victim.read_bytes() == b"mine"
