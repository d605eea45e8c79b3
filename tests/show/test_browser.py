"""The gallery in a real browser: search, order, filter, keys, address, requests, axe-core."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from browsing import Visit, browsing, layer_page, needs_chromium, visit
from gallery_runs import AWKWARD

from cnnpref.planning.files import INDEX, PAGE, UNIT_PAGE
from cnnpref.planning.plan import Plan

pytestmark = [needs_chromium, pytest.mark.slow]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browsing() as made:
        yield made


def layer(browser: Any, site: Plan, state: str = "", **window: Any) -> Visit:
    return layer_page(browser, site.path(PAGE, "fc8"), state, **window)


def unit(browser: Any, site: Plan, number: int, name: str = "fc8", **window: Any) -> Visit:
    return visit(browser, site.path(UNIT_PAGE, name, unit=number), **window)


def tiles(page: Any) -> list[int]:
    """The units that are shown, in order."""
    script = "[...document.querySelectorAll('#grid li b')].map(b => +b.textContent)"
    return [] if page.locator("#grid").is_hidden() else page.evaluate(script)


def state(page: Any) -> str:
    """The part of the address that tells what is shown."""
    return str(page.evaluate("decodeURIComponent(location.hash)"))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2", [2, *range(20, 26)]),
        ("3-5", [3, 4, 5]),
        ("24–99, 1", [1, *range(10, 20), 24, 25]),
        ("PHŒN", [3, 8, 13, 18, 23]),
        ("<i>", [1, 6, 11, 16, 21]),
        ("# & g#", []),
        ("c# & f# 100 %", [2, 7, 12, 17, 22]),
        ("zzz", []),
    ],
)
def test_search(browser: Any, site: Plan, text: str, wanted: list[int]) -> None:
    page = layer(browser, site).page
    page.keyboard.press("/")
    page.keyboard.type(text)
    assert tiles(page) == wanted
    assert page.locator("#count").inner_text() == f"{len(wanted)} of 26"
    assert page.locator("#nothing").is_visible() == (not wanted)
    page.keyboard.press("Escape")
    assert tiles(page) == list(range(26))


def test_nothing_found_can_be_cleared(browser: Any, site: Plan) -> None:
    page = layer(browser, site, "#q=zzz&f=ok").page
    assert tiles(page) == []
    page.get_by_role("button", name="Clear search and filter").click()
    assert tiles(page) == list(range(26))
    assert state(page) in ("", "#")


def test_orders(browser: Any, site: Plan) -> None:
    page = layer(browser, site).page
    page.select_option("#s", "-gain")
    page.wait_for_function("document.querySelector('#grid [data-v]')")
    shown = page.evaluate("[...document.querySelectorAll('#grid a')].map(a => a.dataset.v)")
    gains = [float(value.strip("×")) for value in shown if value]
    assert gains == sorted(gains, reverse=True)
    assert len(gains) == 25
    assert tiles(page)[-1] == 4  # no picture, no gain: last in either direction
    page.select_option("#s", "gain")
    assert tiles(page)[-1] == 4
    page.select_option("#s", "label")
    labels = page.evaluate("[...document.querySelectorAll('#grid a')].map(a => a.innerText)")
    assert ["flamingo" in label for label in labels].index(True) == 15
    assert [label for label in labels if " " not in label.strip()] == labels[-5:]
    page.select_option("#s", "")
    assert tiles(page) == list(range(26))


def test_single_pictures_are_fetched_where_the_order_is_another(browser: Any, site: Plan) -> None:
    opened = layer(browser, site, "#s=-activation")
    opened.wait_for("/spectral/3.webp")
    assert not any(url.endswith("/s1.webp") for url in opened.requested)


def test_methods_have_their_own_failures(browser: Any, site: Plan) -> None:
    page = layer(browser, site).page
    assert page.locator("[data-s]").count() == 1
    page.get_by_text("gd", exact=True).click()
    page.wait_for_function("document.querySelectorAll('[data-s]').length === 2")
    assert "1 stuck, 1 without gradient" in page.locator(".title").inner_text()
    page.select_option("#f", "stuck")
    assert tiles(page) == [7]
    page.select_option("#f", "failed")
    assert tiles(page) == [4, 7]
    page.keyboard.press("m")


def test_the_address_tells_what_is_shown_and_shows_it(browser: Any, site: Plan) -> None:
    page = layer(browser, site).page
    page.get_by_text("gd", exact=True).click()
    page.select_option("#s", "-activation")
    page.select_option("#f", "ok")
    page.fill("#q", "0-9, 🦩")
    page.locator("#t").fill("80")
    address, shown = page.url, tiles(page)
    assert state(page) == "#m=gd&s=-activation&f=ok&q=0-9,+🦩&t=80"
    other = visit(browser, address).page
    other.wait_for_function("document.querySelector('#grid [data-v]')")
    assert tiles(other) == shown
    assert other.locator("#grid").evaluate("g => getComputedStyle(g).gridTemplateColumns") == (
        page.locator("#grid").evaluate("g => getComputedStyle(g).gridTemplateColumns")
    )


def test_a_wrong_address_shows_all(browser: Any, site: Plan) -> None:
    opened = layer(browser, site, "#m=nope&s=-nope&f=nope&t=x")
    assert tiles(opened.page) == list(range(26))
    assert opened.problems == []


def focused(page: Any) -> str:
    return str(page.evaluate("document.activeElement.querySelector('b')?.textContent ?? ''"))


def test_keys_go_from_tile_to_tile_and_open_one(browser: Any, site: Plan) -> None:
    page = layer(browser, site).page
    page.locator("#grid a").first.focus()
    steps = {"ArrowRight": "1", "ArrowDown": "11", "ArrowLeft": "10", "ArrowUp": "0", "End": "25"}
    for key, wanted in steps.items():
        page.keyboard.press(key)
        assert focused(page) == wanted
    page.keyboard.press("Home")
    assert focused(page) == "0"
    stops = page.evaluate("document.querySelectorAll('#grid a[tabindex=\"0\"]').length")
    assert stops == 1
    page.keyboard.press("Enter")
    page.wait_for_url("**/units/fc8/0.html")
    page.keyboard.press("ArrowRight")
    page.wait_for_url("**/units/fc8/1.html")
    page.keyboard.press("u")
    page.wait_for_url("**/pages/fc8.html")
    page.keyboard.press("[")
    page.wait_for_url("**/pages/fire5*")


def test_sizes_are_whole_pixels_and_a_small_tile_has_a_tip(browser: Any, site: Plan) -> None:
    page = layer(browser, site, "#t=40").page
    widths = page.evaluate(
        "[...document.querySelectorAll('#grid li')].map(li => li.getBoundingClientRect().width)"
    )
    assert {width % 1 for width in widths} == {0}
    assert page.locator("#tip").is_hidden()
    page.locator("#grid a").nth(7).hover()
    assert "7 · " in page.locator("#tip").inner_text()
    page.keyboard.press("+")
    assert "t=56" in state(page)


def test_help_lists_the_keys(browser: Any, site: Plan) -> None:
    page = layer(browser, site).page
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()
    assert "layer before or after" in page.locator("#keys").inner_text()
    page.keyboard.press("Escape")
    assert page.locator("#keys").is_hidden()


def test_the_button_overrides_the_system_and_is_remembered(browser: Any, site: Plan) -> None:
    page = layer(browser, site, dark=True).page
    background = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(background) == "rgb(19, 20, 22)"
    page.locator("#theme").click()
    assert page.evaluate(background) == "rgb(250, 250, 250)"
    page.reload()
    assert page.evaluate(background) == "rgb(250, 250, 250)"


def test_views_and_seeds_change_the_picture_without_script(browser: Any, site: Plan) -> None:
    page = unit(browser, site, 0, AWKWARD, java_script_enabled=False).page
    frame = page.locator(".col[aria-label=spectral] .f0 .frame")
    whole, weighed = frame.locator(".whole"), frame.locator(".weighed")
    width = whole.bounding_box()["width"]
    page.locator("label[for=v2]").click()
    assert whole.bounding_box()["width"] == pytest.approx(width * 24 / 18, rel=0.01)
    page.locator("label[for=v3]").click()
    assert (whole.is_visible(), weighed.is_visible()) == (False, True)
    assert page.get_by_text("importance not recorded").is_visible()
    page.locator(".seeds label").nth(1).click()
    assert frame.is_hidden()
    assert page.locator(".col[aria-label=spectral] .f1 .frame").is_visible()


def test_a_trace_is_read_by_pointer_and_by_keys(browser: Any, site: Plan) -> None:
    page = unit(browser, site, 0).page
    column = page.locator(".col[aria-label=gd]")
    told, chart = column.locator(".read"), column.locator("svg")
    best = told.inner_text()
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert told.inner_text().startswith("step 10")
    page.mouse.move(0, 0)
    assert told.inner_text() == best
    chart.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert told.inner_text().startswith("step 2:")
    assert page.url.endswith("/0.html")


def test_without_script_everything_can_be_read(browser: Any, site: Plan) -> None:
    opened = visit(browser, site.path(PAGE, "fc8"), java_script_enabled=False)
    page = opened.page
    assert page.locator("#grid li").count() == 26
    assert page.locator("#controls").is_hidden()
    opened.wait_for("/spectral/s0.webp")
    page.locator("#grid a").nth(3).click()
    assert page.locator("h1").inner_text() == "3 🦩 Phœnicopterus"


def test_every_link_of_a_run_is_followed_without_a_complaint(browser: Any, site: Plan) -> None:
    opened = visit(browser, site.path(INDEX))
    waiting, seen = [opened.page.url], set[str]()
    script = "[...document.querySelectorAll('a[href]')].map(a => a.href)"
    while waiting:
        address = waiting.pop().partition("#")[0]
        if address in seen:
            continue
        seen.add(address)
        if not address.endswith(".html"):
            assert Path(unquote(address.removeprefix("file://"))).is_file()
            continue
        opened.page.goto(address)
        waiting += opened.page.evaluate(script)
    assert len([address for address in seen if address.endswith(".html")]) == 36
    assert opened.problems == []
