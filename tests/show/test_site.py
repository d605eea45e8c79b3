"""The files of the gallery: links, words, states, and which of them a change writes anew."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from basics import refusal
from gallery_runs import AWKWARD, Layer, make_pages, make_results
from PIL import Image

from cnnpref.planning.files import (
    INDEX,
    LAYER,
    MANIFEST,
    PAGE,
    PNG,
    SHARE,
    TILES,
    UNIT_PAGE,
)
from cnnpref.planning.plan import Plan
from cnnpref.results.collecting import collect
from cnnpref.results.unit_file import read_unit, write_unit
from cnnpref.show.site.layer import write_layer
from cnnpref.show.site.overview import write_overview


class Page(HTMLParser):
    """What a page links to and shows, and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.urls, self.alts, self.ids = path, list[str](), list[str](), set[str]()
        self.words, self._skipped = "", 0
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attributes: Sequence[tuple[str, str | None]]) -> None:
        told = {name: value or "" for name, value in attributes}
        self.ids.add(told.get("id", ""))
        self.urls += [told[name] for name in ("href", "src") if told.get(name)]
        if tag == "img":
            self.alts.append(told["alt"])
        self._skipped += tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._skipped -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        if not self._skipped:
            self.words += " ".join(data.split()) + " "

    @property
    def text(self) -> str:
        return " ".join(self.words.split())

    def targets(self) -> Iterator[Path]:
        """The files that it links to or shows; links within the page must lead somewhere."""
        for url in self.urls:
            if url.startswith("#"):
                assert url[1:] in self.ids
            elif not url.startswith("data:"):
                yield self.path.parent / unquote(url.partition("#")[0])


def page(plan: Plan, layer: str, unit: int | None = None) -> Page:
    if unit is None:
        return Page(plan.path(PAGE, layer))
    return Page(plan.path(UNIT_PAGE, layer, unit=unit))


def pages(folder: Path) -> list[Page]:
    return [Page(path) for path in sorted(folder.rglob("*.html"))]


def urls_of_styles(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*.css"):
        for url in re.findall(r"url\(([^)]*)\)", path.read_text()):
            if not url.startswith("data:"):
                yield path.parent / url


@pytest.fixture
def copy(site: Plan, tmp_path: Path) -> Path:
    """The run's folder, elsewhere."""
    return Path(shutil.copytree(site.folder, tmp_path / "else where #1"))


def test_every_link_leads_to_a_file_wherever_the_folder_goes(copy: Path) -> None:
    found = [each for each in pages(copy) if "share" not in each.path.parts]
    assert len(found) == 1 + 3 + 3 + 3 + 26
    targets = {target.resolve() for each in found for target in each.targets()}
    assert {each.path.resolve() for each in found} <= targets
    assert all(target.is_file() for target in [*targets, *urls_of_styles(copy)])
    assert all(target.is_relative_to(copy) for target in targets)


def test_what_is_shared_leads_nowhere_else(site: Plan, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(site.path(SHARE), tmp_path / "shared"))
    found = pages(folder)
    assert len(found) == 36
    targets = [target.resolve() for each in found for target in each.targets()]
    assert all(target.is_file() and target.is_relative_to(folder) for target in targets)
    assert not [path for path in folder.rglob("*") if path.suffix in (".h5", ".png", ".json")]


def test_sharing_takes_no_room(site: Plan) -> None:
    shared = list(site.path(SHARE).rglob("*.webp"))
    assert shared
    assert all(path.stat().st_nlink > 1 for path in shared)


def test_nothing_is_asked_of_the_network(copy: Path) -> None:
    for path in (p for p in copy.rglob("*") if p.suffix in (".html", ".js", ".css")):
        addresses = set(re.findall(r"https?://[^\s\"'`]*", path.read_text("utf-8")))
        assert addresses <= {"http://www.w3.org/2000/svg"}


def test_names_are_text_not_markup(site: Plan) -> None:
    for path in (site.path(INDEX), site.path(PAGE, AWKWARD)):
        assert "<i>3x3" not in path.read_text("utf-8")
        assert " ".join(AWKWARD.split()) in Page(path).text.replace("/ ", "/")
    assert '1 <i>tench</i>, "Tinca"' in page(site, "fc8", 1).text
    assert "3 🦩 Phœnicopterus" in page(site, "fc8").text
    assert "<i>tench" not in site.path(UNIT_PAGE, "fc8", unit=1).read_text("utf-8")


def test_the_run_is_told_in_a_sentence(site: Plan) -> None:
    text = Page(site.path(INDEX)).text
    assert "What 32 units of 3 layers of squeezenet prefer to see, by 2 methods." in text
    assert "A gain of ×1 is the best of 2,088 reference images; 29 units went well" in text
    assert "by every method, 3 did not." in text
    assert "24 of 26 2 failed" in text
    places = [text.index(name) for name in ("sees 7 × 7 px", " 3 layers fire5", "whole image")]
    assert places == sorted(places)


def test_tiles_are_links_with_number_label_and_status(site: Plan) -> None:
    text = site.path(PAGE, "fc8").read_text("utf-8")
    assert len(re.findall(r'<li><a href="\.\./units/fc8/\d+\.html">', text)) == 26
    assert '<i class="k0 p4" data-s="zero-gradient"></i><b>4</b></a>' in text
    assert '<i class="k0 p5"></i><b>5</b> <span>flamingo</span></a>' in text


def test_pictures_tell_unit_method_and_score(site: Plan) -> None:
    alts = page(site, "fc8", 0).alts
    score = read_unit(site.select("fc8", "gd")[0].path(0)).attributes["score"]
    assert f"fc8 unit 0, flamingo, by gd, activation {score:.1f}" in alts
    assert any("by spectral-seed1" in alt for alt in alts)


def test_a_unit_with_references_and_scores(site: Plan) -> None:
    text = page(site, "fc8", 3).text
    assert re.search(r"The best of 2,088 reference images drives this unit to [\d.]+", text)
    assert "and no other unit of the layer answers more to it." in text
    for part in (
        "Images it likes most",
        "Images from its range 50%",
        "selectivity",
        "answer alike",
    ):
        assert part in text
    assert len(list(site.folder.glob("pictures/fc8/natural/3-t?.jpg"))) == 9


def test_a_unit_without_references_says_how_to_get_them(site: Plan) -> None:
    text = page(site, AWKWARD, 5).text
    assert "It sees 18 × 18 px of the image. " in text
    assert "This run has no references" in text
    assert "references: photos/" in text
    assert "Images it likes most" not in text
    assert "Units with similar weights Cosine of the angle" in text
    assert "0 cos 0.90 2 cos 0.45" in text


def test_sums_over_a_map_have_no_mark_among_single_places(site: Plan) -> None:
    text = page(site, "conv1", 1).text
    assert "they have no mark here" in text
    assert "The best of 2,088 reference images" in text


def test_a_dead_unit_has_no_picture_but_its_reason(site: Plan) -> None:
    text = page(site, "fc8", 4).text
    assert "No picture by any method." in text
    assert "The start gave no gradient" in text
    assert "The unit is dead for the references, too." in text
    assert "full-size PNG" not in text
    assert not site.select("fc8", "gd")[0].path(4).with_suffix(".png").exists()


def test_a_stuck_unit_tells_what_was_tried(site: Plan) -> None:
    assert "stuck seed 0, 4 attempts; before it stuck, stuck, stuck" in page(site, "fc8", 7).text


def test_neighbours_are_those_of_the_run(site: Plan) -> None:
    middle = page(site, AWKWARD, 2).urls
    assert {"0.html", "5.html"} <= set(middle)
    assert not any(url == "3.html" for url in middle)


def test_frames_are_a_strip_and_a_film(site: Plan) -> None:
    text = page(site, "fc8", 0).text
    assert "The rise, by spectral step 1 step 96" in text
    with Image.open(site.path(TILES, "fc8", "spectral") / "0-film.webp") as film:
        assert (film.is_animated, film.n_frames) == (True, 2)


def test_a_png_is_the_picture_in_full_size(site: Plan) -> None:
    series = site.select(AWKWARD, "spectral")[0]
    with Image.open(site.folder / PNG.path.format(**series.fields, unit=5)) as image:
        assert image.size == (24, 24)
        wanted = read_unit(series.path(5)).image.round().clip(0, 255)
        assert abs(wanted - image).max() <= 1


def test_what_units_like_least_is_ranked_the_other_way(tmp_path: Path) -> None:
    layers = [Layer("fc", range(3), sign=-1)]
    plan = make_pages(make_results(tmp_path / "run", layers, ["spectral", "gd"], side=8))
    (gd,) = plan.select("fc", "gd")
    scores = {unit: read_unit(gd.path(unit)).attributes["score"] for unit in gd.units}
    least = min(scores, key=lambda unit: scores[unit])
    text = page(plan, "fc", least).text
    assert "It sees the whole image. gd drives it down to" in text
    assert f"gd {scores[least]:.1f} 1st" in text
    assert "3 units · whole image · what they like least" in page(plan, "fc").text


# --- what a change writes anew


def stamps(folder: Path) -> dict[str, int]:
    kinds = (".html", ".webp", ".png", ".js", ".css")
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.suffix in kinds and "share" not in path.parts and "sheets" not in path.parts
    }


@pytest.fixture
def small(tmp_path: Path) -> Plan:
    """Two layers of a few units, to change."""
    layers = [Layer("conv1", range(70), (0, 0, 5, 5)), Layer("fc", range(4))]
    return make_pages(make_results(tmp_path / "run", layers, ["spectral"], side=8))


def test_nothing_changed_nothing_written(small: Plan) -> None:
    before = stamps(small.folder)
    assert write_layer(small, "conv1") == 0
    del before["pages/conv1.html"]
    assert before.items() <= stamps(small.folder).items()


def test_a_new_picture_writes_its_own_and_its_sheet(small: Plan) -> None:
    before = stamps(small.folder)
    path = small.select("conv1")[0].path(69)
    unit = read_unit(path)
    write_unit(path, replace(unit, image=unit.image[:, ::-1]))
    collect(small.path(LAYER, "conv1"), small.select("conv1"))
    write_layer(small, "conv1")
    changed = {name for name, stamp in stamps(small.folder).items() if before[name] != stamp}
    own = {
        f"pictures/conv1/spectral/{name}.webp"
        for name in ("69", "69-small", "69-large", "s1", "t1")
    }
    own |= {"pictures/conv1/spectral/69-importance.webp", "pages/conv1.html"}
    others = {name for name in changed if name.startswith("units/conv1/") and "html" in name}
    assert changed - others - {"pictures/conv1/spectral/sheets.css"} == own | {
        f"units/conv1/{path.parent.name}/69.png"
    }
    assert not any(name.startswith(("units/fc", "pictures/fc", "pages/fc")) for name in changed)


def test_units_that_are_no_longer_wanted_leave_nothing(small: Plan) -> None:
    fewer = [replace(each, units=each.units[:2]) for each in small.series]
    plan = replace(small, series=tuple(fewer))
    collect(plan.path(LAYER, "fc"), plan.select("fc"))
    write_layer(plan, "fc")
    assert {path.name for path in plan.folder.glob("units/fc/*.html")} == {"0.html", "1.html"}
    assert not (plan.path(TILES, "fc", "spectral") / "3.webp").exists()


def test_missing_pages_of_a_layer_are_named_and_the_old_index_stays(small: Plan) -> None:
    old = small.path(INDEX).read_bytes()
    small.path(MANIFEST, "fc").unlink()
    assert "run 'cnnpref pages' for layer 'fc'" in refusal(write_overview, small)
    assert small.path(INDEX).read_bytes() == old


def test_a_layer_file_of_other_methods_is_named(small: Plan) -> None:
    other = replace(small, series=tuple(replace(e, name="spectral-seed9") for e in small.series))
    assert "has no method 'spectral-seed9'; run 'cnnpref collect'" in refusal(
        write_layer, other, "fc"
    )


def test_a_layer_file_of_other_units_is_named(small: Plan) -> None:
    more = replace(small, series=tuple(replace(e, units=(*e.units, 99)) for e in small.series))
    assert "has no unit 99 of 'spectral'; run 'cnnpref collect'" in refusal(write_layer, more, "fc")
