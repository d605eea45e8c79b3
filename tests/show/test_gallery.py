"""The gallery: its pages, their links, and what a browser makes of them."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from cnnpref.show.gallery import write_gallery
from layers import multiply, unit_result, write_run

from cnnpref.errors import UserError
from cnnpref.planning.files import INDEX, LAYER, LAYER_SHEET, PAGE, Kind
from cnnpref.results.unit_file import UnitResult

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)


class Page(HTMLParser):
    """The links, images, table rows, traces and text of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.links: list[str] = []
        self.images: list[str] = []
        self.traces: list[str] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self.inside = False  # a row of a table
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attributes: Sequence[tuple[str, str | None]]) -> None:
        told = {name: value or "" for name, value in attributes}
        if tag == "a":
            self.links.append(told["href"])
        elif tag == "img":
            self.images.append(told["src"])
        elif tag == "polyline":
            self.traces.append(told["points"])
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self.inside = True

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag != "tr"

    def handle_data(self, data: str) -> None:
        self.text += " ".join(data.split()) + " "
        if self.inside:
            self.rows[-1][-1] += data.strip()

    def targets(self) -> list[Path]:
        """The files that the page links to or shows."""
        return [self.path.parent / unquote(url) for url in self.links + self.images]


def units(layer: str, count: int = 3, method: str = "gd", **attributes: object) -> list[UnitResult]:
    return [unit_result(n, layer=layer, method=method, **attributes) for n in range(count)]


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    awkward = "fire5/expand3x3 <b>#1?"
    results = units("conv1", 10) + units(awkward) + units(awkward, method="lbfgs")
    results += units("fc8.new", status="zero-gradient")
    plan = write_run(tmp_path_factory.mktemp("gallery") / "my <run> & co", results)
    write_gallery(plan)
    return plan.folder


@pytest.fixture
def run(made_once: Path, tmp_path: Path) -> Path:
    """The gallery of three layers, one of them of two methods and of an awkward name."""
    return Path(shutil.copytree(made_once, tmp_path / made_once.name))


def pages(folder: Path) -> list[Page]:
    return [Page(path) for path in sorted(folder.rglob("*.html"))]


def test_every_link_leads_to_a_file_wherever_the_folder_goes(run: Path, tmp_path: Path) -> None:
    moved = run.rename(tmp_path / "elsewhere")
    found = pages(moved)
    assert len(found) == 4
    targets = [target.resolve() for page in found for target in page.targets()]
    assert all(target.is_file() for target in targets)
    assert {page.path.resolve() for page in found} <= set(targets)
    assert {path.resolve() for path in moved.rglob("*.png")} == {
        target for target in targets if target.suffix == ".png"
    } | {(moved / "sheets" / f"{name}.png").resolve() for name in ("conv1", "fc8.new")}


def test_nothing_is_asked_of_the_network(run: Path) -> None:
    for page in pages(run):
        assert "//" not in page.path.read_text("utf-8")
        assert not any(url.startswith("/") for url in page.links + page.images)


def test_names_are_text_not_markup(run: Path) -> None:
    for page in pages(run):
        assert "<b>" not in page.path.read_text("utf-8")
        assert "fire5/expand3x3 <b>#1?" in page.text
        assert "my <run> & co" in page.text


def test_the_index_tells_of_each_layer_in_order(run: Path) -> None:
    index = Page(run / "index.html")
    places = [index.text.index(name) for name in ("conv1", "fire5/expand3x3", "fc8.new")]
    assert places == sorted(places)
    assert "16 units of 3 layers of tiny" in index.text
    assert "3 units, field 8 × 8 px gd · lbfgs" in index.text
    assert "3 zero-gradient" in index.text
    assert len(index.links) == len(index.images) == 3


def test_pages_lead_from_layer_to_layer(run: Path) -> None:
    first = Page(run / "pages" / "conv1.html")
    middle = Page(run / "pages" / "fire5=expand3x3%20%3Cb%3E%231%3F.html")
    last = Page(run / "pages" / "fc8.new.html")
    assert [unquote(link) for link in first.links[:2]] == ["../index.html", middle.path.name]
    assert middle.links[1:3] == ["conv1.html", "fc8.new.html"]
    assert [unquote(link) for link in last.links[:2]] == ["../index.html", middle.path.name]


def test_a_layer_of_one_method_shows_one_sheet_of_more_all(run: Path) -> None:
    assert Page(run / "pages" / "conv1.html").images == ["../sheets/conv1/gd.png"]
    shown = Page(run / "pages" / "fire5=expand3x3%20%3Cb%3E%231%3F.html").images
    stem = "../sheets/fire5=expand3x3%20%3Cb%3E%231%3F"
    assert [unquote(p) for p in shown] == [f"{stem}.png", f"{stem}/gd.png", f"{stem}/lbfgs.png"]


def test_the_table_tells_of_each_unit(run: Path) -> None:
    rows = Page(run / "pages" / "fc8.new.html").rows
    assert rows[1:4] == [
        ["0", "zero-gradient", "1.5", "2.5", "4", "5", ""],
        ["1", "zero-gradient", "2.5", "3.5", "5", "5", ""],
        ["2", "zero-gradient", "3.5", "4.5", "6", "5", ""],
    ]
    assert ["iter_n", "200"] in rows


def traces(folder: Path, trace: Iterable[float], units: int = 1) -> list[str]:
    """The traces on the page of a layer whose units have all the same one."""
    activation = np.array(trace, np.float32)
    plan = write_run(folder / "run", [replace(unit_result(0), activation=activation)])
    multiply(plan.path(LAYER, "conv1"), units)
    write_gallery(plan)
    page = Page(plan.path(PAGE, "conv1"))
    assert len(page.rows) > units
    return page.traces


def test_a_status_of_a_newer_version_is_told_as_failed(tmp_path: Path) -> None:
    plan = write_run(tmp_path / "run", units("conv1") + units("conv2", status="melted"))
    write_gallery(plan)
    assert "2 layers" in Page(plan.path(INDEX)).text
    assert Page(plan.path(INDEX)).text.count("3 melted") == 1
    assert [row[:2] for row in Page(plan.path(PAGE, "conv2")).rows[1:4]] == [
        [str(unit), "melted"] for unit in range(3)
    ]


def test_a_trace_is_drawn_from_left_to_right_within_its_box(tmp_path: Path) -> None:
    (points,) = traces(tmp_path, np.linspace(-7, 1e6, 500))
    x, y = np.array([point.split(",") for point in points.split()], float).T
    assert (x[0], x[-1], y[0], y[-1]) == (0, 100, 19, 1)
    assert (np.diff(x) > 0).all()
    assert (np.diff(y) < 0).all()
    assert len(x) < 100


@pytest.mark.parametrize("trace", [[], [np.nan], [4], [4, 4], [np.inf, 1, -np.inf, 2, np.nan]])
def test_odd_traces_are_drawn_as_far_as_they_can_be(tmp_path: Path, trace: list[float]) -> None:
    (points,) = traces(tmp_path, trace)
    assert len(points.split()) == np.isfinite(trace).sum()
    assert "n" not in points


@pytest.mark.parametrize(("count", "drawn"), [(256, 256), (257, 0)])
def test_traces_are_drawn_for_up_to_256_units(tmp_path: Path, count: int, drawn: int) -> None:
    assert len(traces(tmp_path, [1, 2], count)) == drawn


def test_only_the_methods_asked_for_are_shown(tmp_path: Path) -> None:
    plan = write_run(tmp_path / "run", units("conv1") + units("conv1", method="lbfgs"))
    write_gallery(replace(plan, series=plan.series[:1]))
    for page in pages(plan.folder):
        assert "lbfgs" not in page.text


@pytest.mark.parametrize(
    ("kind", "spoil", "told"),
    [
        (LAYER_SHEET, Path.unlink, r"fc8\.png: No such file.*; run 'cnnpref sheet'"),
        (LAYER_SHEET, lambda path: path.write_text("?"), r"fc8\.png: not a PNG; run 'cnnpref sh"),
        (LAYER, Path.unlink, r"fc8\.h5: missing; run 'cnnpref collect'"),
        (
            LAYER,
            lambda path: write_run(path.parents[1], units("fc8", method="lbfgs")),
            r"fc8\.h5 has no method 'gd'; run 'cnnpref collect'",
        ),
    ],
)
def test_what_is_missing_is_named_and_the_old_index_stays(
    tmp_path: Path, kind: Kind, spoil: Callable[[Path], object], told: str
) -> None:
    plan = write_run(tmp_path / "run", units("conv1") + units("fc8"))
    write_gallery(replace(plan, series=plan.series[:1]))
    old = plan.path(INDEX).read_bytes()
    spoil(plan.path(kind, "fc8"))
    with pytest.raises(UserError, match=told):
        write_gallery(plan)
    assert plan.path(INDEX).read_bytes() == old


# What the browser is asked once a page has loaded; the answer is the only text of the page then.
QUESTION = """
<script>
onload = () => {
  const images = [...document.images];
  const answer = {
    shown: images.filter(p => p.complete && p.naturalWidth > 0 && p.clientWidth > 0).length,
    wanted: images.length,
    sideways: document.documentElement.scrollWidth - innerWidth,
    background: getComputedStyle(document.body).backgroundColor,
  };
  document.documentElement.textContent = JSON.stringify(answer);
};
</script>
"""


def browse(page: Path, profile: Path, width: int, *more: str) -> dict[str, object]:
    """Open a copy of the page in a window high enough for all its images, and ask."""
    asking = page.with_name("asking.html")
    asking.write_text(page.read_text("utf-8") + QUESTION, "utf-8")
    flags = (
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *("--disable-dev-shm-usage", f"--user-data-dir={profile}", "--timeout=30000"),
        *(f"--window-size={width},9000", "--dump-dom", *more, asking.as_uri()),
    )
    assert CHROMIUM is not None
    done = subprocess.run(
        [CHROMIUM, *flags], capture_output=True, text=True, timeout=90, check=True
    )
    dom = done.stdout
    return dict(json.loads(dom[dom.index("{") : dom.rindex("}") + 1]))


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
@pytest.mark.parametrize(
    ("page", "images"), [("index.html", 3), ("pages/fire5=expand3x3%20%3Cb%3E%231%3F.html", 3)]
)
def test_a_browser_shows_the_pages(run: Path, tmp_path: Path, page: str, images: int) -> None:
    dark = "--blink-settings=preferredColorScheme=0"
    desk = browse(run / page, tmp_path / "profile", 1200)
    phone = browse(run / page, tmp_path / "profile", 400, dark)
    for answer in (desk, phone):
        assert (answer["shown"], answer["wanted"], answer["sideways"]) == (images, images, 0)
    assert desk["background"] == "rgb(246, 246, 244)"
    assert phone["background"] == "rgb(20, 20, 22)"
