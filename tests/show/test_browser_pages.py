"""The gallery's pages in a real browser: their width, pictures, a server, accessibility."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from browsing import AXE, Visit, browsing, layer_page, needs_axe, needs_chromium, visit
from gallery_runs import AWKWARD

from cnnpref.planning.files import INDEX, PAGE, SHARE, UNIT_PAGE
from cnnpref.planning.plan import Plan

pytestmark = [needs_chromium, pytest.mark.slow]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browsing() as made:
        yield made


@pytest.mark.parametrize("width", [1280, 390])
def test_no_page_is_wider_than_its_window(browser: Any, site: Plan, width: int) -> None:
    for opened in every_kind(browser, site, width=width):
        wide = opened.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, opened.page.url


def test_every_picture_is_shown(browser: Any, site: Plan) -> None:
    for opened in every_kind(browser, site):
        page = opened.page
        page.evaluate("document.querySelectorAll('img').forEach(i => { i.loading = 'eager' })")
        page.evaluate("Promise.all([...document.images].map(i => i.decode().catch(() => 0)))")
        broken = "[...document.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.src)"
        assert page.evaluate(broken) == []
        assert opened.problems == []


def test_it_works_from_a_server_too(browser: Any, site: Plan, tmp_path: Path) -> None:
    """And from a copy of what is shared, in a folder of an awkward name."""
    shutil.copytree(site.path(SHARE), tmp_path / "a #1 &" / "x")
    handler = partial(_Quiet, directory=tmp_path)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        root = f"http://127.0.0.1:{server.server_port}/a%20%231%20%26/x/"
        opened = visit(browser, f"{root}pages/fc8.html#m=gd&s=-gain")
        opened.page.wait_for_function("document.querySelector('#grid [data-v]')")
        opened.page.goto(f"{root}units/fc8/3.html")
        opened.wait_for("/spectral/3-large.webp")
        assert opened.problems == []
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


def every_kind(browser: Any, site: Plan, **window: Any) -> Iterator[Visit]:
    """The kinds of pages and their states, one after the other."""
    for path in (
        site.path(INDEX),
        site.path(PAGE, AWKWARD),
        site.path(UNIT_PAGE, AWKWARD, unit=0),
        *(site.path(UNIT_PAGE, "fc8", unit=n) for n in (3, 4, 7)),
    ):
        opened = visit(browser, path, **window)
        yield opened
        opened.page.context.close()
    for told in ("", "#s=-gain&t=56", "#q=zzz", "#m=gd&s=status"):
        opened = layer_page(browser, site.path(PAGE, "fc8"), told, **window)
        yield opened
        opened.page.context.close()


@needs_axe
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False)])
def test_axe_finds_nothing(browser: Any, site: Plan, width: int, dark: bool) -> None:
    for opened in every_kind(browser, site, width=width, dark=dark):
        opened.page.add_script_tag(path=str(AXE))
        found = opened.page.evaluate("axe.run()")["violations"]
        told = [
            (each["id"], each["impact"], node["html"][:160], node["failureSummary"][:300])
            for each in found
            for node in each["nodes"][:3]
        ]
        assert told == [], opened.page.url
