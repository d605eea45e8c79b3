"""Pages of runs that are out of the ordinary: one unit, oblong images, 1 and 2 channels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from gallery_runs import Layer, make_pages, make_results
from PIL import Image

from cnnpref.planning.files import INDEX, PAGE, TILES, UNIT_PAGE
from cnnpref.planning.plan import Plan
from cnnpref.show.site.pictures import SMALL, TILE

HEIGHT, WIDTH = 12, 20


def run(folder: Path, channels: int, layer: Layer) -> Plan:
    """By spectral alone, of images 12 x 20 with so many channels."""

    def paint(_side: int, unit: int, _method: str, _seed: int) -> npt.NDArray[np.float32]:
        random = np.random.default_rng(unit)
        return random.uniform(0, 255, (HEIGHT, WIDTH, channels)).astype(np.float32)

    return make_pages(make_results(folder / "run", [layer], ["spectral"], side=12, paint=paint))


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        image.load()
        return image.size


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_one_oblong_unit_of_any_channels(tmp_path: Path, channels: int) -> None:
    plan = run(tmp_path, channels, Layer("fc", [7]))
    folder = plan.path(TILES, "fc", "spectral")
    sizes = [size(folder / f"7{ending}.webp") for ending in ("", "-small", "-large")]
    assert sizes == [(TILE, TILE), (SMALL, SMALL), (WIDTH, HEIGHT)]
    index, page, unit = (
        path.read_text("utf-8")
        for path in (plan.path(INDEX), plan.path(PAGE, "fc"), plan.path(UNIT_PAGE, "fc", unit=7))
    )
    assert "What <b>1 unit</b> of 1 layer of squeezenet prefers to see, by 1 method." in index
    assert ">Its unit<" in index
    assert page.count("<li><a href") == 1 + 1  # a tile, a crumb
    assert 'id="q"' not in page  # nothing to search
    assert 'id="before"' not in unit
    assert f"--w: {WIDTH}; --h: {HEIGHT}" in unit
    assert "with similar weights" not in unit  # there is no other
    assert not {"nan", "inf", "None"} & set(unit.replace(">", " ").replace("<", " ").split())


def test_a_run_in_which_all_failed(tmp_path: Path) -> None:
    failed = {(unit, "spectral"): "zero-gradient" for unit in range(3)}
    plan = run(tmp_path, 3, Layer("fc", range(3), failed=failed))
    assert "no picture by spectral" in plan.path(INDEX).read_text("utf-8")
    assert plan.path(PAGE, "fc").read_text("utf-8").count('data-s="zero-gradient"') == 3
    unit = plan.path(UNIT_PAGE, "fc", unit=1).read_text("utf-8")
    assert "<b>No picture.</b> The start gave no gradient" in unit
    assert not list(plan.path(TILES, "fc", "spectral").glob("?.webp"))
