"""A real HTTP server on this machine, which can be as bad as those on the net are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import yaml


@dataclass
class Page:
    """What is under an address, and what is wrong with it.

    Attributes:
        etag: what the server calls its content; None says nothing.
        breaks: after how many bytes each of the first answers breaks off.
        claims: a length to tell instead of the true one.
        ranges: "honoured", "ignored", "stubborn" (of whatever content there is now, without a
            look at If-Range), or "shifted" (another part than was asked for).
        status: instead of 200.
        location: of a redirect.
        gate: an answer waits for it.
        headers: further ones.
    """

    content: bytes = b""
    etag: str | None = '"1"'
    breaks: list[int] = field(default_factory=list)
    claims: int | None = None
    ranges: str = "honoured"
    status: int = 200
    location: str | None = None
    gate: Event | None = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Request:
    """One that came: of which address, from which byte on, and how many bytes were sent."""

    path: str
    start: int
    sent: int = 0


class Site(ThreadingHTTPServer):
    """Pages by path, and the requests that came."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pages: dict[str, Page] = {}
        self.requests: list[Request] = []

    def address(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{path}"

    def handle_error(self, *_: Any) -> None:
        """Connections that a client or a page breaks are meant."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Site

    def do_GET(self) -> None:
        page = self.server.pages.get(self.path, Page(status=404))
        start = self._start(page)
        request = Request(self.path, start)
        self.server.requests.append(request)
        if page.gate:
            page.gate.wait(30)
        shift = 1 if start and page.ranges == "shifted" else 0
        body = page.content[start + shift :]
        self.send_response((416 if start >= len(page.content) else 206) if start else page.status)
        self._headers(page, start + shift, body)
        after = page.breaks.pop(0) if page.breaks else len(body)
        if self.command == "GET":
            self.wfile.write(body[:after])
            request.sent = len(body[:after])
        self.close_connection = True

    do_HEAD = do_GET  # noqa: N815 - its name, as that of do_GET, is given

    def _start(self, page: Page) -> int:
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        same = self.headers.get("If-Range") == page.etag or page.ranges == "stubborn"
        usable = same and page.ranges != "ignored" and page.status == 200
        return int(asked[1]) if asked and usable else 0

    def _headers(self, page: Page, start: int, body: bytes) -> None:
        length = len(body) if page.claims is None else page.claims
        self.send_header("Content-Length", str(length))
        self.send_header("Connection", "close")
        if start:
            size = len(page.content)
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        if page.etag:
            self.send_header("ETag", page.etag)
        for name, value in page.headers.items():
            self.send_header(name, value)
        if page.location:
            self.send_header("Location", page.location)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Tests look at `requests`."""


@contextmanager
def serving() -> Iterator[Site]:
    with Site() as site:
        thread = Thread(target=site.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield site
        finally:
            site.shutdown()
            thread.join()


class Zoo:
    """A registry of one's own, a cache folder, and a server with the weights; all of them made up.

    Its net, `tiny`, has the prototxt of the tests' tiny net, and weights under the address `/tiny`.
    """

    def __init__(self, folder: Path, site: Site, prototxt: Path) -> None:
        self.folder, self.site = folder, site
        self.cache, self.registry = folder / "cache", folder / "registry.yaml"
        self.page = site.pages["/tiny"] = Page(prototxt.with_suffix(".caffemodel").read_bytes())
        self.content = self.page.content
        self.entries: dict[str, dict[str, Any]] = {}
        self.add("tiny", prototxt=str(prototxt), mean=[104, 117, 123], weights="tiny.caffemodel")
        self.change("tiny", addresses=["/tiny"], checksums={"sha1": sha1(self.content).hexdigest()})

    @property
    def weights(self) -> Path:
        """Where tiny's are, or will be."""
        return self.cache / "tiny.caffemodel"

    def add(self, name: str, **told: Any) -> None:
        """An entry, complete or not."""
        self.entries[name] = told

    def change(self, name: str, **told: Any) -> None:
        """Set keys of an entry, None for taking one away; addresses are paths on the server."""
        if addresses := told.get("addresses"):
            told["addresses"] = [
                self.site.address(path) if path.startswith("/") else path for path in addresses
            ]
        entry = {**self.entries[name], **told}
        self.entries[name] = {key: value for key, value in entry.items() if value is not None}
        self.registry.write_text(yaml.safe_dump(self.entries))

    def left(self) -> set[str]:
        """The names of the files in the cache folder, but for locks."""
        names = {path.name for path in self.cache.iterdir()} if self.cache.exists() else set()
        return {name for name in names if not name.endswith(".lock")}
