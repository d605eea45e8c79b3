"""What the gallery takes: time and memory of its jobs, weight and speed of its pages.

    python tests/benchmarks/gallery.py                    # a sixteenth of AlexNet's units
    python tests/benchmarks/gallery.py --part 1           # all of them: 30 GB of unit files
    python tests/benchmarks/gallery.py --page 4096        # only a page of so many units

Made-up pictures of 227 x 227 pixels in natural colours, by two methods, with references and scores;
each layer is a process of its own, as in the workflow. Times for all of AlexNet are CPU seconds a
unit, times its units. The page is opened in headless Chromium from the disk, in several orders and
sizes: bytes of all files that it reads, when its largest part is painted, and how long tiles wait
for their pictures while it scrolls.
"""

from __future__ import annotations

import shutil
import statistics
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from multiprocessing import get_context
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any
from urllib.parse import unquote

sys.path.append(str(Path(__file__).parents[1] / "helpers"))

import numpy as np
import numpy.typing as npt
from browsing import CHROMIUM, browsing, visit
from gallery_runs import Layer, make_results
from made_pictures import Painter, picture
from PIL import Image
from scrolling import scroll

from cnnpref.planning.files import PAGE
from cnnpref.planning.plan import Plan
from cnnpref.show.site.layer import write_layer
from cnnpref.show.site.overview import write_overview
from cnnpref.show.site.share import write_share

ALEXNET = {
    **{"conv1": 96, "conv2": 256, "conv3": 384, "conv4": 384, "conv5": 256},
    **{"fc6": 4096, "fc7": 4096, "fc8": 1000},
}
FIELDS = {"conv1": 11, "conv2": 51, "conv3": 99, "conv4": 131, "conv5": 163}
METHODS = ("spectral", "gd")
SIDE = 227
PAINT = """() => new Promise(done => {
  let last = 0, count = 0;
  new PerformanceObserver(list => { for (const entry of list.getEntries()) last = entry.startTime })
    .observe({ type: "largest-contentful-paint", buffered: true });
  const first = performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? 0;
  setTimeout(() => done([first, last]), 300);
})"""
VIEWS = {
    "by number": "",
    "by gain": "#s=-gain",
    "tiny": "#t=40",
    "tiny, by gain": "#s=-gain&t=40",
    "large": "#t=224",
    "large, by gain": "#s=-gain&t=224",
}
SPEEDS = {"fast": 450, "slowly": 60, "to the end at once": 1_000_000}  # pixels a frame


def layers(part: int) -> list[Layer]:
    """AlexNet's, with a part of the units of each."""
    found = []
    for name, count in ALEXNET.items():
        start = (SIDE - FIELDS.get(name, SIDE)) // 2
        end = start + FIELDS.get(name, SIDE)
        box = (start, start, end, end)
        found.append(Layer(name, range(max(1, count // part)), box, references=True, scores=True))
    return found


def _job(plan: Plan, layer: str, answers: Any) -> None:
    started = process_time()
    write_layer(plan, layer)
    answers.put((process_time() - started, getrusage(RUSAGE_SELF).ru_maxrss / 1024))


def timed(plan: Plan, layer: str) -> tuple[float, float]:
    """CPU seconds of the job of a layer, and the most memory of its process in MB."""
    context = get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=_job, args=(plan, layer, answers))
    process.start()
    told: tuple[float, float] = answers.get()
    process.join()
    return told


def cost(folder: Path, part: int) -> None:
    """Print what the jobs of all layers take."""
    plan = make_results(folder / "alexnet", layers(part), METHODS, side=SIDE)
    total = 0.0
    print(f"{'layer':10}{'units':>8}{'CPU':>10}{'a unit':>10}{'again':>10}{'memory':>10}")
    for layer in plan.layers:
        units = len(plan.select(layer)[0].units)
        first, memory = timed(plan, layer)
        again, _ = timed(plan, layer)
        total += first / units * ALEXNET[layer]
        print(
            f"{layer:10}{units:8,}{first:8.1f} s{1000 * first / units:7.0f} ms{again:8.1f} s"
            f"{memory:7.0f} MB",
            flush=True,
        )
    started = process_time()
    write_overview(plan)
    write_share(plan)
    print(f"index and share: {process_time() - started:.1f} s of CPU")
    print(
        f"all {sum(ALEXNET.values()):,} units: {total / 60:.1f} min of CPU, half of it on 2 cores"
    )


def page(folder: Path, units: int, repeat: int, pictures: Path | None) -> None:
    """Print what the first view of a layer of so many units takes, and how it scrolls."""
    layer = Layer("fc6", range(units), None, scores=True)
    paint = picture if pictures is None else painter(np.load(pictures, mmap_mode="r"))
    plan = make_results(folder / "page", [layer], ("spectral",), side=112, paint=paint)
    write_layer(plan, "fc6")
    write_overview(plan)
    look(plan.path(PAGE, "fc6"), repeat)


def look(path: Path, repeat: int) -> None:
    """Print the first views of a layer's page, and how it scrolls."""
    with browsing() as browser:
        for name, told in VIEWS.items():
            views = [_view(browser, path, told) for _ in range(repeat)]
            first, largest, kilobytes, files = map(statistics.median, zip(*views, strict=True))
            print(f"{name:16} {kilobytes:6,.0f} kB in {files:.0f} files, first paint", end=" ")
            print(f"{first:.0f} ms, largest {largest:.0f} ms", flush=True)
        for name, told in list(VIEWS.items())[:4]:
            for speed, step in SPEEDS.items():
                opened = visit(browser, f"{path.as_uri()}{told}")
                opened.page.wait_for_timeout(1500)
                seen = scroll(opened.page, step, most=6000)
                opened.page.context.close()
                print(f"{name:16} {speed:20} {seen}", flush=True)


def painter(pictures: npt.NDArray[np.uint8]) -> Painter:
    """Makes pictures of given ones (n, H, W, 3): each time another part, or its mirror image."""

    def paint(side: int, unit: int, method: str, seed: int) -> npt.NDArray[np.float32]:
        random = np.random.default_rng((unit, len(method), seed))
        whole = np.asarray(pictures[unit % len(pictures)])
        size = int(min(whole.shape[:2]) * random.uniform(0.75, 1))
        y, x = (int(random.integers(n - size + 1)) for n in whole.shape[:2])
        part = Image.fromarray(whole[y : y + size, x : x + size]).resize((side, side))
        return np.asarray(part, np.float32)[:, :: random.choice((-1, 1))]

    return paint


def _view(browser: Any, path: Path, state: str) -> tuple[float, float, float, int]:
    opened = visit(browser, f"{path.as_uri()}{state}")
    first, largest = opened.page.evaluate(PAINT)
    files = {url.partition("#")[0] for url in opened.requested if url.startswith("file:")}
    size = sum(Path(unquote(url.removeprefix("file://"))).stat().st_size for url in files)
    opened.page.context.close()
    return first, largest, size / 1000, len(files)


def arguments() -> Namespace:
    """What the command line says."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--part", type=int, default=16, help="of each layer's units one of so many")
    add("--page", type=int, help="measure only a page of so many units")
    add("--pictures", type=Path, help="an .npy (n, H, W, 3) of bytes: the page has parts of these")
    add("--repeat", type=int, default=5, help="views of a page")
    add("--folder", type=Path, help="where the files go; they are deleted at the end")
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    given = arguments()
    with TemporaryDirectory(dir=given.folder) as name:
        if not given.page:
            cost(Path(name), given.part)
            shutil.rmtree(Path(name) / "alexnet")
        if CHROMIUM:
            page(Path(name), given.page or 4096, given.repeat, given.pictures)


if __name__ == "__main__":
    main()
