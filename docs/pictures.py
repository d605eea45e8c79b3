"""The pictures of docs/methods.md, of the embedded net: a minute of a core.

python docs/pictures.py              # all of them, into docs/pictures
python docs/pictures.py gd-blur      # those whose names begin so

The gallery's picture is a screenshot: --gallery results/shapes, where `make demo` has been.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import yaml
from PIL import Image

import cnnpref
from cnnpref.geometry import Box
from cnnpref.utils import clip_extreme_pixel, normalise_img

ROOT = Path(__file__).resolve().parents[1]
SHAPES = ROOT / "nets" / "shapes"
FOLDER = ROOT / "docs" / "pictures"
DEMO = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
UNITS = {"conv1": range(0, 32, 4), "conv3": range(0, 96, 12), "fc8": (0, 2, 3, 6, 10, 11, 13, 15)}
WINDOW = {"x": 0, "y": 0, "width": 1100, "height": 480}  # of the gallery's page
TILE, GAP = 84, 4  # pixels
STRETCHED = ("gd", "lbfgs", "dgn_gd", "dgn_lbfgs")  # as the original shows its pictures


class Strip(NamedTuple):
    """A row of units of one layer, and how they are made."""

    name: str
    method: str
    layer: str = "fc8"
    options: Mapping[str, Any] = {}
    upper: float | None = None  # of the generator's features; None: their range on real images


def strips() -> Iterator[Strip]:
    """All that the page shows."""
    for layer in UNITS:
        for method in ("spectral", "maco", *STRETCHED):
            yield Strip(f"{layer}-{method}", method, layer)
    for cap in (0.3, 0.6, 0.9, 1.5):
        yield Strip(f"spectral-cap-{cap}", "spectral", options={"cap": cap})
    for steps in (16, 64, 192):
        yield Strip(f"spectral-steps-{steps}", "spectral", options={"steps": steps})
    for sigma in (0.5, 1.5, 2.5):
        yield Strip(f"gd-blur-{sigma}", "gd", options={"sigma_start": sigma})
    for decay in (0.001, 0.01, 0.05):
        yield Strip(f"gd-decay-{decay}", "gd", options={"decay_start": decay, "decay_end": decay})
    for jitter in (0, 6, 32):
        yield Strip(f"gd-jitter-{jitter}", "gd", options={"jitter_size": jitter})
    for count in (5, 50, 300):
        yield Strip(f"lbfgs-maxiter-{count}", "lbfgs", options={"maxiter": count})
    yield Strip("dgn_gd-upper-range", "dgn_gd")
    yield Strip("dgn_gd-upper-100", "dgn_gd", upper=100)


class Makers:
    """The nets, loaded once."""

    def __init__(self) -> None:
        mean = DEMO["net"]["mean"]
        self.net = cnnpref.load_caffe(
            SHAPES / "shapes.prototxt", SHAPES / "shapes.caffemodel", mean=mean
        )
        self.generator = cnnpref.load_caffe(
            SHAPES / "generator.prototxt", SHAPES / "generator.caffemodel"
        )
        sys.path.append(str(SHAPES))
        from draw import references

        self.statistics = cnnpref.NaturalStatistics.of_images(references())

    def images(self, strip: Strip) -> list[npt.NDArray[np.uint8]]:
        """Of each unit, as sheets show it; of a unit of a map, what it sees."""
        units = UNITS[strip.layer]
        objective = cnnpref.Objective.units(self.net, strip.layer, list(units))
        drawn = strip.method in ("spectral", "maco")
        made = cnnpref.maximise(
            self.net,
            objective,
            strip.method,
            self.options(strip),
            generator=self.bounded(strip.upper) if strip.method.startswith("dgn") else None,
            statistics=self.statistics if drawn else None,
        )
        box = self.net.receptive_field(strip.layer)
        return [shown(image, box, strip.method in STRETCHED) for image in made.images]

    def options(self, strip: Strip) -> Any:
        """Those of the demo, but for those of the strip."""
        own = DEMO["layers"][strip.layer].get("options", {})
        demo = {**DEMO["options"].get(strip.method, {}), **own.get(strip.method, {})}
        preset = "higher" if strip.layer == "fc8" else "lower"
        return cnnpref.resolve(strip.method, preset, {**demo, **strip.options})

    def bounded(self, upper: float | None) -> cnnpref.Generator:
        measured = np.loadtxt(ROOT / DEMO["generator"]["upper"])
        return cnnpref.Generator(self.generator, upper=measured if upper is None else upper)


def shown(image: npt.NDArray[np.float32], box: Box, stretched: bool) -> npt.NDArray[np.uint8]:
    """What the unit sees of an image (H, W, 3), 8 bits."""
    top, left, bottom, right = box
    seen = image[top:bottom, left:right]
    if stretched:
        return normalise_img(clip_extreme_pixel(seen, pct=0.04))
    return seen.round().clip(0, 255).astype(np.uint8)


def draw(images: list[npt.NDArray[np.uint8]], path: Path) -> None:
    """One beside the other, transparent between them."""
    sheet = Image.new("RGBA", (len(images) * (TILE + GAP) - GAP, TILE), (0, 0, 0, 0))
    for number, image in enumerate(images):
        small = len(image) < TILE / 2
        kernel = Image.Resampling.NEAREST if small else Image.Resampling.BICUBIC
        tile = Image.fromarray(image).resize((TILE, TILE), kernel)
        sheet.paste(tile, (number * (TILE + GAP), 0))
    sheet.save(path, quality=80, method=6)


def draw_gallery(run: Path, path: Path) -> None:
    """The page of the classes, in the machine's browser."""
    sys.path.append(str(ROOT / "tests" / "helpers"))
    from browsing import browsing, layer_page

    with browsing() as browser:
        page = layer_page(browser, run / "pages" / "fc8.html", width=1100).page
        page.wait_for_timeout(1000)  # until its pictures are there
        page.screenshot(path=path.with_suffix(".png"), clip=WINDOW)
    with Image.open(path.with_suffix(".png")) as picture:
        picture.convert("RGB").save(path, quality=80, method=6)
    path.with_suffix(".png").unlink()


def main(asked: Namespace) -> None:
    """Draw what was asked for."""
    torch.set_num_threads(1)  # the same pictures anew
    FOLDER.mkdir(exist_ok=True)
    if asked.gallery:
        draw_gallery(asked.gallery, FOLDER / "gallery.webp")
        return
    makers = Makers()
    for strip in strips():
        if strip.name.startswith(asked.prefix):
            draw(makers.images(strip), FOLDER / f"{strip.name}.webp")


if __name__ == "__main__":
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("prefix", nargs="?", default="")
    parser.add_argument("--gallery", type=Path)
    main(parser.parse_args())
