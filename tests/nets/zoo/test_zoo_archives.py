"""Weights that are published in an archive: one member comes out, whatever else is in it."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from calling import fail, succeed
from serving import Page, Zoo

Members = dict[str, bytes]


def zipped(members: Members) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def tarred(members: Members) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


@pytest.fixture
def packed(zoo: Zoo) -> Zoo:
    """Tiny's weights are the member `fc6/net.caffemodel` of release.zip."""
    zoo.change("tiny", addresses=["/zip"], archive="release.zip", member="fc6/net.caffemodel")
    zoo.site.pages["/zip"] = Page(zipped({"release/fc6/net.caffemodel": zoo.content}))
    return zoo


@pytest.mark.parametrize(("pack", "name"), [(zipped, "release.zip"), (tarred, "release.tar.gz")])
def test_no_name_in_an_archive_becomes_that_of_a_file(packed: Zoo, pack, name: str) -> None:
    members = {
        "../../evil": b"1",
        "/tmp/cnnpref-evil": b"2",
        "../tiny.caffemodel.sha256": b"3",
        "release/fc7/net.caffemodel": b"4",
        "../../fc6/net.caffemodel": packed.content,  # the one that is wanted
    }
    packed.site.pages["/zip"].content = pack(members)
    packed.change("tiny", archive=name)
    succeed("fetch", "tiny")
    assert packed.weights.read_bytes() == packed.content
    assert packed.left() == {"tiny.caffemodel"}
    assert {path.name for path in packed.folder.iterdir()} == {"cache", "registry.yaml"}
    assert not Path("/tmp/cnnpref-evil").exists()


def test_an_archive_is_kept_for_the_other_nets_in_it(packed: Zoo) -> None:
    packed.add("other", **{**packed.entries["tiny"], "weights": "other.caffemodel"})
    packed.change("other", member="fc7/net.caffemodel", checksums=None)
    members = {"fc6/net.caffemodel": packed.content, "fc7/net.caffemodel": b"7"}
    packed.site.pages["/zip"].content = zipped(members)
    told = succeed("fetch", "tiny")
    archive = packed.cache / "release.zip"
    assert f"{archive} is kept for other; delete it at will" in told
    succeed("fetch", "other")
    assert (packed.cache / "other.caffemodel").read_bytes() == b"7"
    assert len(packed.site.requests) == 1


def test_an_archive_put_by_hand_is_used_and_stays(packed: Zoo) -> None:
    packed.cache.mkdir()
    archive = packed.cache / "release.zip"
    archive.write_bytes(packed.site.pages["/zip"].content)
    succeed("fetch", "tiny")
    assert packed.site.requests == []
    assert packed.left() == {"tiny.caffemodel", "release.zip"}


WRONG = {
    "not an archive": (lambda _: b"<html>", "no archive that can be read"),
    "without the member": (
        lambda c: zipped({"a/net.caffemodel": c}),
        "an archive with 0 members fc6/net.",
    ),
    "with two of them": (
        lambda c: zipped({"a/fc6/net.caffemodel": c, "b/fc6/net.caffemodel": c}),
        "an archive with 2 members fc6/net.caffemodel",
    ),
    "with a folder of its name": (
        lambda _: zipped({"fc6/net.caffemodel/": b""}),
        "an archive with 0 members fc6/net.caffemodel",
    ),
    "with another file": (lambda c: zipped({"fc6/net.caffemodel": c[::-1]}), "its sha1 is "),
    "cut short": (
        lambda c: tarred({"fc6/net.caffemodel": c})[:-2000],
        "no archive that can be read",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_archive_is_dropped_and_the_next_address_asked(packed: Zoo, wrong: str) -> None:
    make, part = WRONG[wrong]
    packed.site.pages["/wrong"] = Page(make(packed.content))
    packed.change("tiny", addresses=["/wrong", "/zip"])
    told = succeed("fetch", "tiny")
    assert f"{packed.site.address('/wrong')}: {part}" in told
    assert packed.weights.read_bytes() == packed.content
    assert packed.left() == {"tiny.caffemodel"}


def test_a_flipped_bit_in_a_zip_is_found(packed: Zoo) -> None:
    content = bytearray(packed.site.pages["/zip"].content)
    content[len(content) // 2] ^= 1
    packed.site.pages["/zip"].content = bytes(content)
    packed.change("tiny", checksums=None)
    assert "/zip: a damaged archive)" in fail("fetch", "tiny")
    assert packed.left() == set()


def test_a_link_in_a_tar_is_not_followed(packed: Zoo) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        link = tarfile.TarInfo("fc6/net.caffemodel")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(link)
    packed.site.pages["/zip"].content = file.getvalue()
    assert "/zip: an archive with 0 members fc6/net.caffemodel" in fail("fetch", "tiny")


def test_by_hand_the_archive_or_what_is_in_it(packed: Zoo) -> None:
    packed.change("tiny", addresses=["/gone"], checksums=None)
    assert fail("fetch", "tiny").endswith(
        f"; get them by hand and put release.zip as {packed.cache / 'release.zip'},"
        f" or fc6/net.caffemodel out of it as {packed.weights};"
        " no checksum of them is published"
    )


def test_a_wrong_archive_put_by_hand_is_told(packed: Zoo) -> None:
    packed.cache.mkdir()
    archive = packed.cache / "release.zip"
    archive.write_bytes(b"<html>")
    assert fail("fetch", "tiny") == (
        f"cnnpref: {archive} is no archive that can be read; delete it, to have it fetched again"
    )
    assert packed.site.requests == []
