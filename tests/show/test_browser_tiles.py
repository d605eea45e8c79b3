"""Tiles of a layer's page in a real browser: each shows its own picture, and few are fetched."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from browsing import Visit, browsing, layer_page, needs_chromium
from gallery_runs import Layer, make_pages, make_results
from PIL import Image

from cnnpref.planning.files import PAGE, TILES
from cnnpref.planning.plan import Plan

pytestmark = [needs_chromium, pytest.mark.slow]
COUNT = 300
SEEN = """() => [...document.querySelectorAll('#grid li')].map(item => {
  const { left, top, width } = item.getBoundingClientRect();
  return [+item.querySelector('b').textContent, left, top, width];
}).filter(([, , top, width]) => top > 160 && top + width < innerHeight)"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browsing() as made:
        yield made


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A layer whose units fill several windows."""
    layers = [Layer("fc6", range(COUNT), scores=True)]
    return make_pages(
        make_results(tmp_path_factory.mktemp("many") / "run", layers, ["gd"], side=32)
    )


def small(image: Image.Image) -> npt.NDArray[np.float64]:
    """12 x 12 grey values of mean 0 and norm 1."""
    grey = np.asarray(image.convert("L").resize((12, 12), Image.Resampling.BOX), np.float64)
    return (grey - grey.mean()) / np.linalg.norm(grey - grey.mean())


def likeness(page: Any, plan: Plan) -> dict[int, float]:
    """Of the tiles in the window: the correlation of what is seen with the unit's picture."""
    window = Image.open(BytesIO(page.screenshot()))
    found = {}
    for unit, left, top, side in page.evaluate(SEEN):
        picture = Image.open(plan.path(TILES, "fc6", "gd") / f"{unit}.webp")
        seen = window.crop((int(left), int(top), int(left + side), int(top + side)))
        found[unit] = float((small(seen) * small(picture)).sum())
    return found


def pictures(opened: Visit) -> list[str]:
    """The names of the pictures that were asked for."""
    names = [Path(url).name for url in opened.requested]
    return [name for name in names if name.endswith(".webp")]


@pytest.mark.parametrize(
    "state", ["", "#t=40", "#t=224", "#s=-gain", "#s=-gain&t=40", "#q=1", "#q=1&t=40"]
)
def test_each_tile_shows_its_own_picture(browser: Any, many: Plan, state: str) -> None:
    page = layer_page(browser, many.path(PAGE, "fc6"), state).page
    for key in ("", "End"):
        page.locator("#grid a").first.focus()
        if key:
            page.keyboard.press(key)
        page.evaluate("document.activeElement.blur()")  # its ring and its tip would be seen
        for _ in range(40):
            found = likeness(page, many)
            if min(found.values()) > 0.9:
                break
            page.wait_for_timeout(250)
        assert len(found) > 5
        assert min(found.values()) > 0.9, found


def test_few_are_fetched_before_they_are_near(browser: Any, many: Plan) -> None:
    opened = layer_page(browser, many.path(PAGE, "fc6"))
    opened.page.wait_for_timeout(500)
    assert set(pictures(opened)) == {"s0.webp", "s1.webp"}


@pytest.mark.parametrize(("size", "ending"), [("", ".webp"), ("&t=48", "-small.webp")])
def test_in_another_order_single_ones_are_fetched(
    browser: Any, many: Plan, size: str, ending: str
) -> None:
    opened = layer_page(browser, many.path(PAGE, "fc6"), f"#s=-gain{size}")
    opened.page.wait_for_function("document.querySelector('.near')")
    opened.page.wait_for_timeout(500)
    units = {name.removesuffix(ending) for name in pictures(opened)}
    assert all(unit.isdigit() for unit in units)
    assert 40 < len(units) <= COUNT
    assert size or len(units) < 150


def test_a_printed_page_has_all(browser: Any, many: Plan) -> None:
    opened = layer_page(browser, many.path(PAGE, "fc6"), "#s=-gain")
    opened.page.pdf()
    opened.page.wait_for_timeout(500)
    assert len({name for name in pictures(opened) if name[0].isdigit()}) == COUNT
