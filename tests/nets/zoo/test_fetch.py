"""Weights over the network: what a bad server, disk or file does, and what never happens."""

from __future__ import annotations

import re
import resource
import signal
import socket
import subprocess
import sys
from hashlib import sha1, sha256
from threading import Event
from time import monotonic, sleep

import pytest
from calling import call, fail, succeed
from serving import Page, Zoo

from cnnpref.nets.zoo import download

DONE = {"tiny.caffemodel"}


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the small file of these tests comes in several, as large ones do."""
    monkeypatch.setattr(download, "PIECE", 100)


def starts(zoo: Zoo, path: str = "/tiny") -> list[int]:
    """From which byte on each request to an address asked."""
    return [request.start for request in zoo.site.requests if request.path == path]


def sent(zoo: Zoo) -> int:
    return sum(request.sent for request in zoo.site.requests)


def process(*command: str, **kwargs: object) -> subprocess.Popen[str]:
    """`cnnpref` in a process of its own."""
    code = "from cnnpref.cli import main; main()"
    pipes = {"stderr": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", code, *command], **pipes, **kwargs)


def test_weights_arrive_whole_and_once(zoo: Zoo) -> None:
    told = succeed("fetch", "tiny")
    assert told.splitlines()[-1].startswith(f"tiny: {zoo.weights} (0.0 MB, sha1 as published)")
    assert zoo.weights.read_bytes() == zoo.content
    assert zoo.left() == DONE
    succeed("fetch", "tiny")
    assert starts(zoo) == [0]


def test_a_transfer_that_breaks_goes_on_and_the_rest_alone_is_sent(zoo: Zoo) -> None:
    zoo.page.breaks = [1000, 500]
    told = succeed("fetch", "tiny")
    assert f"/tiny: it broke off after 1,000 of {len(zoo.content):,} bytes; asking again" in told
    assert starts(zoo) == [0, 1000, 1500]
    assert sent(zoo) == len(zoo.content)
    assert zoo.weights.read_bytes() == zoo.content
    assert zoo.left() == DONE


def test_the_next_run_goes_on_where_the_last_one_gave_up(zoo: Zoo) -> None:
    zoo.page.breaks = [100] * download.ATTEMPTS
    assert "/tiny: it broke off after 500 of" in fail("fetch", "tiny")
    assert zoo.left() == {"tiny.caffemodel.part", "tiny.caffemodel.part.json"}
    succeed("fetch", "tiny")
    assert starts(zoo)[-1] == 500
    assert sent(zoo) == len(zoo.content)
    assert zoo.weights.read_bytes() == zoo.content


@pytest.mark.parametrize("ranges", ["honoured", "stubborn"])
def test_a_file_that_changed_is_not_glued_to_the_old_one(zoo: Zoo, ranges: str) -> None:
    """Without a checksum, which would find out."""
    zoo.change("tiny", checksums=None)
    zoo.page.breaks = [1000] * download.ATTEMPTS
    fail("fetch", "tiny")
    new = Page(zoo.content[::-1], etag='"2"', ranges=ranges)
    zoo.site.pages["/tiny"] = new
    succeed("fetch", "tiny")
    assert zoo.weights.read_bytes() == new.content


@pytest.mark.parametrize("page", [{"etag": None}, {"etag": 'W/"1"'}, {"ranges": "ignored"}])
def test_what_cannot_be_continued_begins_again(zoo: Zoo, page: dict[str, str]) -> None:
    vars(zoo.page).update(page, breaks=[1000])
    succeed("fetch", "tiny")
    assert starts(zoo) == [0, 0]
    assert zoo.weights.read_bytes() == zoo.content


def test_another_part_than_was_asked_for_is_not_used(zoo: Zoo) -> None:
    vars(zoo.page).update(ranges="shifted", breaks=[1000])
    told = succeed("fetch", "tiny")
    assert "it does not go on with the file whose beginning is here; asking again" in told
    assert starts(zoo) == [0, 1000, 0]
    assert zoo.weights.read_bytes() == zoo.content


def test_a_part_longer_than_the_file_is_dropped(zoo: Zoo) -> None:
    zoo.page.breaks = [1000] * download.ATTEMPTS
    fail("fetch", "tiny")
    with (zoo.cache / "tiny.caffemodel.part").open("ab") as file:
        file.write(zoo.content)
    succeed("fetch", "tiny")
    assert zoo.weights.read_bytes() == zoo.content


@pytest.mark.parametrize(
    ("claims", "part"),
    [
        (10, "its sha1 is "),
        (10**6, "it broke off after 5,700 of 1,000,000 bytes"),
    ],
)
def test_a_length_that_is_a_lie(zoo: Zoo, claims: int, part: str) -> None:
    vars(zoo.page).update(claims=claims, etag=None)
    assert part in fail("fetch", "tiny")
    assert not zoo.weights.exists()


def test_too_few_bytes_are_found_without_a_checksum(zoo: Zoo) -> None:
    zoo.change("tiny", checksums=None, parameters=len(zoo.content) // 4 - 50)
    zoo.page.claims = 1000
    assert f"it has 1,000 bytes; {len(zoo.content) // 4 - 50:,} parameters take" in fail(
        "fetch", "tiny"
    )
    zoo.change("tiny", size=len(zoo.content), parameters=None)
    assert f"it has 1,000 bytes, not {len(zoo.content):,}" in fail("fetch", "tiny")
    assert zoo.left() == set()


def test_wrong_bytes_are_not_used_and_the_next_address_is_asked(zoo: Zoo) -> None:
    zoo.site.pages["/wrong"] = Page(zoo.content[::-1])
    zoo.change("tiny", addresses=["/gone", "/wrong", "/tiny"])
    told = succeed("fetch", "tiny")
    digits = sha1(zoo.content[::-1]).hexdigest()
    assert f"{zoo.site.address('/gone')}: 404 Not Found\n" in told
    assert f"{zoo.site.address('/wrong')}: its sha1 is {digits}, not " in told
    assert zoo.weights.read_bytes() == zoo.content
    assert zoo.left() == DONE


def test_redirects_are_followed(zoo: Zoo) -> None:
    zoo.site.pages["/moved"] = Page(status=302, location="/tiny")
    zoo.change("tiny", addresses=["/moved"])
    zoo.page.breaks = [1000]
    succeed("fetch", "tiny")
    assert starts(zoo) == [0, 1000]
    assert zoo.weights.read_bytes() == zoo.content


def test_when_every_address_fails_it_says_what_to_do_by_hand(zoo: Zoo) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}/tiny"
    zoo.site.pages["/round"] = Page(status=302, location="/round")
    zoo.change("tiny", addresses=["/gone", nobody, "/round"])
    digits = sha1(zoo.content).hexdigest()
    assert fail("fetch", "tiny") == (
        f"cnnpref: tiny: no address gives its weights ({zoo.site.address('/gone')}: 404 Not Found;"
        f" {nobody}: no connection; {zoo.site.address('/round')}: it redirects in circles);"
        f" get them by hand and put tiny.caffemodel as {zoo.weights}; its sha1 must be {digits}"
    )
    assert zoo.left() == set()


def test_a_file_put_by_hand_is_verified_and_no_address_asked(zoo: Zoo) -> None:
    zoo.cache.mkdir()
    zoo.weights.write_bytes(zoo.content)
    succeed("fetch", "tiny")
    zoo.weights.write_bytes(zoo.content + b" ")
    digits = [sha1(content).hexdigest() for content in (zoo.content + b" ", zoo.content)]
    assert fail("fetch", "tiny") == (
        f"cnnpref: {zoo.weights} is not the file of tiny: its sha1 is {digits[0]}, not {digits[1]};"
        " delete it and run 'cnnpref fetch tiny'"
    )
    assert starts(zoo) == []


def test_both_checksums_count(zoo: Zoo) -> None:
    wrong = {"sha1": sha1(zoo.content).hexdigest(), "sha256": sha256(b"").hexdigest()}
    zoo.change("tiny", checksums=wrong)
    assert f"its sha256 is {sha256(zoo.content).hexdigest()}, not" in fail("fetch", "tiny")


def test_without_a_published_checksum_that_of_the_first_use_holds(zoo: Zoo) -> None:
    zoo.change("tiny", checksums=None)
    record = zoo.cache / "tiny.caffemodel.sha256"
    digits = sha256(zoo.content).hexdigest()
    told = succeed("fetch", "tiny")
    assert "no checksum of tiny.caffemodel is published: its sha256, " in told
    assert record.read_text() == f"{digits}  tiny.caffemodel\n"
    assert "is published" not in succeed("fetch", "tiny")
    zoo.weights.write_bytes(b"other")
    other = sha256(b"other").hexdigest()
    assert f"is not the file of tiny: its sha256 is {other}, not {digits}" in fail("fetch", "tiny")
    zoo.weights.unlink()
    zoo.page.content = zoo.content[::-1]  # published anew, and different
    assert "its sha256 is" in fail("fetch", "tiny")


def test_a_server_that_stops_talking(zoo: Zoo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TIMEOUT", (1, 0.2))
    zoo.page.gate = Event()
    assert f"{zoo.site.address('/tiny')}: no answer in time" in fail("fetch", "tiny")
    zoo.page.gate.set()
    assert zoo.left() == set()


@pytest.mark.slow
def test_two_at_once_fetch_it_once(zoo: Zoo) -> None:
    zoo.page.gate = Event()
    both = [process("fetch", "tiny") for _ in range(2)]
    waiting = next(line for line in _lines(both) if "waiting" in line)
    assert waiting == "waiting for another process that fetches tiny.caffemodel\n"
    zoo.page.gate.set()
    assert [each.wait(60) for each in both] == [0, 0]
    for each in both:
        each.communicate()
    assert starts(zoo) == [0]
    assert zoo.weights.read_bytes() == zoo.content


def _lines(processes: list[subprocess.Popen[str]]) -> list[str]:
    """The first line of each: one fetches, the other waits."""
    return [each.stderr.readline() for each in processes if each.stderr]


@pytest.mark.slow
def test_a_killed_process_leaves_no_file_under_the_final_name(zoo: Zoo) -> None:
    zoo.page.content = content = bytes(10**7)
    zoo.change("tiny", checksums={"sha1": sha1(content).hexdigest()})
    zoo.page.claims = len(content) + 1  # the last byte never comes
    with process("fetch", "tiny") as killed:
        part, patience = zoo.cache / "tiny.caffemodel.part", monotonic() + 60
        while not part.exists() or not part.stat().st_size:
            assert monotonic() < patience
            sleep(0.01)
        killed.send_signal(signal.SIGKILL)
    assert not zoo.weights.exists()
    zoo.page.claims = None
    succeed("fetch", "tiny")
    assert zoo.weights.read_bytes() == content
    assert zoo.left() == DONE


@pytest.mark.slow
def test_a_disk_that_refuses(zoo: Zoo) -> None:
    def small_files_only() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))

    _, told = process("fetch", "tiny", preexec_fn=small_files_only).communicate()
    part = zoo.cache / "tiny.caffemodel.part"
    assert told.splitlines()[-1] == (
        f"cnnpref: cannot write {part}: File too large;"
        " make room, or name another folder in CNNPREF_HOME"
    )
    assert not zoo.weights.exists()
    assert starts(zoo) == [0]


def test_a_cache_folder_that_is_a_file(zoo: Zoo) -> None:
    zoo.cache.touch()
    assert re.search(
        r"cannot write into .*/cache: File exists; fix that, or name another folder in CNNPREF_HO",
        fail("fetch", "tiny"),
    )


def test_the_cache_folder_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CNNPREF_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert call("nets").stderr == "weights are kept in /somewhere/cnnpref/nets\n"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert call("nets").stderr == "weights are kept in /home/me/.cache/cnnpref/nets\n"


def test_an_unknown_net_is_named(zoo: Zoo) -> None:
    assert fail("fetch", "tiny", "tini") == (
        "cnnpref: the zoo has no net 'tini' (did you mean 'tiny'?);"
        " 'cnnpref nets' lists its 16 nets"
    )
    assert zoo.site.requests == []
