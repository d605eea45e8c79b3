"""A real Chromium, through playwright, and axe-core from npm; tests skip where they are not."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from places import ROOT

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
AXE = ROOT / "tests" / "browser" / "node_modules" / "axe-core" / "axe.min.js"

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
needs_axe = pytest.mark.skipif(
    not AXE.exists(), reason="no axe-core: npm ci --prefix tests/browser installs it"
)


class Visit:
    """An open page, and what went wrong on it.

    Attributes:
        page: playwright's.
        problems: messages and errors of its console, requests that failed or left this machine.
        requested: the addresses that it asked for.
    """

    def __init__(self, page: Any) -> None:
        self.page = page
        self.problems: list[str] = []
        self.requested: list[str] = []
        page.on("console", lambda message: self.problems.append(message.text))
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("requestfailed", self._failed)
        page.on("request", lambda request: self._asked(request.url))

    def wait_for(self, ending: str) -> None:
        """Wait until it has asked for an address with that ending."""
        for _ in range(300):
            if any(url.endswith(ending) for url in self.requested):
                return
            self.page.wait_for_timeout(100)
        raise AssertionError(f"never asked for {ending}")

    def _failed(self, request: Any) -> None:
        if request.failure != "net::ERR_ABORTED":  # by going on to another page
            self.problems.append(f"failed: {request.url}: {request.failure}")

    def _asked(self, url: str) -> None:
        self.requested.append(url)
        if not url.startswith(("file:", "data:", "http://127.0.0.1")):
            self.problems.append(f"another host: {url}")


@contextmanager
def browsing() -> Iterator[Any]:
    """A browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
        )
        try:
            yield browser
        finally:
            browser.close()


def visit(
    browser: Any, address: Path | str, width: int = 1280, dark: bool = False, **options: Any
) -> Visit:
    """Open a page in a window of its own; wait until it is loaded."""
    scheme = "dark" if dark else "light"
    viewport = {"width": width, "height": 900}
    context = browser.new_context(viewport=viewport, color_scheme=scheme, **options)
    made = Visit(context.new_page())
    made.page.goto(address.absolute().as_uri() if isinstance(address, Path) else address)
    return made


def layer_page(browser: Any, path: Path, state: str = "", **window: Any) -> Visit:
    """Open the page of a layer in a state, such as "#q=dog"; wait until its script is done."""
    made = visit(browser, f"{path.absolute().as_uri()}{state}", **window)
    made.page.wait_for_function("document.getElementById('grid').dataset.method")
    return made
