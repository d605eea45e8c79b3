"""Pictures of the gallery's pages, to look at: `make screenshots`.

    python tests/benchmarks/screenshots.py [--folder results/screenshots] [--run results/shapes]

Of made-up runs in every state that a page can have: 16 and 4,096 units, with references and
without, dead units, phone, dark, print. With `--run` (or where results/shapes is), of that run too.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

sys.path.append(str(Path(__file__).parents[1] / "helpers"))

from browsing import CHROMIUM, browsing, visit
from gallery_runs import Layer, make_pages, make_results

METHODS = ("spectral", "gd", "lbfgs")
NAMES = (
    *("tench", "goldfish", "great white shark", "tiger shark", "hammerhead", "electric ray"),
    *("stingray", "cock", "hen", "ostrich", "brambling", "goldfinch", "house finch", "junco"),
)
DEAD = {(9, m): "stuck" if m == "lbfgs" else "zero-gradient" for m in METHODS}
LAYERS = (
    Layer("conv1", range(16), (44, 44, 55, 55)),
    Layer("fire5/expand3x3", range(16), (16, 16, 83, 83), failed={(5, "lbfgs"): "stuck"}),
    Layer("conv10", range(28), None, NAMES * 2, DEAD, dead=[9], references=True, scores=True),
)


class Shot(NamedTuple):
    """A picture to take."""

    name: str
    page: Path
    state: str = ""
    width: int = 1280
    dark: bool = False
    whole: bool = False
    click: str = ""


def shots(run: Path, many: Path) -> Iterator[Shot]:
    """Of the made-up runs."""
    conv10, fire5 = run / "units" / "conv10", run / "units" / "fire5=expand3x3"
    yield Shot("overview", run / "index.html", whole=True)
    yield Shot("overview-dark", run / "index.html", dark=True)
    yield Shot("overview-phone", run / "index.html", width=390, whole=True)
    yield Shot("layer-16", run / "pages" / "conv1.html")
    yield Shot("layer-gain-dark", run / "pages" / "conv10.html", "#s=-gain&t=80", dark=True)
    yield Shot("layer-failed", run / "pages" / "conv10.html", "#m=lbfgs&s=status")
    yield Shot("layer-nothing", run / "pages" / "conv10.html", "#q=zzz")
    yield Shot("layer-phone-dark", run / "pages" / "conv10.html", width=390, dark=True)
    yield Shot("layer-4096", many / "pages" / "fc6.html")
    yield Shot("layer-4096-tiny", many / "pages" / "fc6.html", "#t=40")
    yield Shot("unit-references", conv10 / "3.html", whole=True)
    yield Shot("unit-references-dark", conv10 / "3.html", dark=True, whole=True)
    yield Shot("unit-phone", conv10 / "3.html", width=390, whole=True)
    yield Shot("unit-plain", fire5 / "2.html", whole=True)
    yield Shot("unit-field", fire5 / "2.html", click="label[for=v2]")
    yield Shot("unit-importance-dark", fire5 / "2.html", dark=True, click="label[for=v3]")
    yield Shot("unit-dead", conv10 / "9.html", whole=True)


def shots_of(run: Path) -> Iterator[Shot]:
    """Of a real run: its first page of each kind."""
    yield Shot(f"{run.name}-overview", run / "index.html", whole=True)
    for layer in sorted((run / "pages").glob("*.html"))[-1:]:
        yield Shot(f"{run.name}-layer", layer)
        unit = min((run / "units" / layer.stem).glob("*.html"), key=lambda p: int(p.stem))
        yield Shot(f"{run.name}-unit", unit, whole=True)


def take(browser: Any, shot: Shot, folder: Path) -> None:
    """Open a page, wait for its pictures, save what is seen."""
    address = f"{shot.page.absolute().as_uri()}{shot.state}"
    page = visit(browser, address, shot.width, shot.dark).page
    if shot.click:
        page.locator(shot.click).click()
    page.evaluate("document.querySelectorAll('img').forEach(i => { i.loading = 'eager' })")
    page.evaluate("Promise.all([...document.images].map(i => i.decode().catch(() => 0)))")
    page.wait_for_timeout(500)
    page.screenshot(path=folder / f"{shot.name}.png", full_page=shot.whole)
    page.context.close()


def print_sheets(browser: Any, run: Path, folder: Path) -> None:
    """As they come from a printer, and how they look on paper."""
    for name in ("units/conv10/3", "pages/conv10"):
        page = visit(browser, run / f"{name}.html", width=720).page
        page.emulate_media(media="print")
        page.evaluate("document.querySelectorAll('img').forEach(i => { i.loading = 'eager' })")
        page.wait_for_timeout(500)
        stem = f"print-{name.partition('/')[0].removesuffix('s')}"
        page.screenshot(path=folder / f"{stem}.png", full_page=True)
        page.pdf(path=folder / f"{stem}.pdf", format="A4", prefer_css_page_size=True)
        page.context.close()


def main() -> None:
    """Take them all."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("results/screenshots"))
    parser.add_argument("--run", type=Path, default=Path("results/shapes"))
    parser.add_argument("--many", type=int, default=4096, help="units of the largest layer")
    given = parser.parse_args()
    if not CHROMIUM:
        sys.exit("no chromium on this machine")
    given.folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as name, browsing() as browser:
        seeds, place = {"spectral": 3}, Path(name)
        run = make_results(place / "squeezenet", LAYERS, METHODS, side=99, seeds=seeds, frames=7)
        many = make_results(place / "alexnet", [Layer("fc6", range(given.many))], ["gd"], side=32)
        for plan in (run, many):
            make_pages(plan)
        for shot in shots(run.folder, many.folder):
            take(browser, shot, given.folder)
        print_sheets(browser, run.folder, given.folder)
        if (given.run / "index.html").exists():
            for shot in shots_of(given.run):
                take(browser, shot, given.folder)
    print(f"{len(list(given.folder.glob('*.png')))} pictures in {given.folder}")


if __name__ == "__main__":
    main()
