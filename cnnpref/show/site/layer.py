"""The pages of one layer: its grid of tiles, and the pages of its units."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from cnnpref.planning.files import (
    LAYER,
    LAYER_SHEET,
    MANIFEST,
    METHOD_SHEET,
    PAGE,
    SCORES,
    TILES,
    UNIT_PAGE,
)
from cnnpref.planning.plan import Plan
from cnnpref.show.site.material import Material, Run, open_material
from cnnpref.show.site.numbers import rounded
from cnnpref.show.site.pictures import PLACES
from cnnpref.show.site.store import Store, write_text
from cnnpref.show.site.summary import facts_of, results_of, summarise
from cnnpref.show.site.templating import address, render
from cnnpref.show.site.tiles import write_tiles
from cnnpref.show.site.unit import UnitPages

# Scores by which units can be sorted: what each is called, and whether more is better.
ORDERS = {
    "gain": ("gain", True),
    "activation": ("activation", True),
    "keep": ("keep", True),
    "selectivity_rank": ("selectivity", False),
    "spectrum": ("spectrum", False),
    "judge_p": ("judge", True),
}


def write_layer(plan: Plan, layer: str) -> int:
    """Write the page of a layer, those of its units and their pictures, as far as they changed.

    Returns:
        How many files were written beside the page of the layer, which always is.

    Raises:
        UserError: a file that they are made of is missing or damaged, or the operating system
            refused to write.
    """
    store = Store(plan.folder, plan.path(MANIFEST, layer))
    with open_material(plan, layer) as material:
        firsts = list(material.firsts.values())
        for place, run in enumerate(firsts):
            store.put_text(plan.path(TILES, layer, run.name) / "data.js", _data(run, place))
        facts = {
            run.name: write_tiles(store, material, run, firsts.index(run) if k == 0 else None)
            for runs in material.methods.values()
            for k, run in enumerate(runs)
        }
        UnitPages(material, facts).write(store)
        store.close(summarise(material, facts))
        write_text(plan.path(PAGE, layer), _page(material))
    return store.written


def _data(run: Run, place: int) -> str:
    """What a script knows of a method; scores in the order of the units."""
    none = float("nan")
    values = {
        name: [rounded(column.get(unit, none)) for unit in run.rows]
        for name in ORDERS
        if (column := run.scores.get(name))
    }
    told = json.dumps({"values": values, "bad": run.failed()}, separators=(",", ":"))
    return f"(self.CNNPREF_DATA ??= [])[{place}] = {told};\n"


def _page(material: Material) -> str:
    plan, layer = material.plan, material.layer
    page, labels = plan.path(PAGE, layer), list(material.labels.values())
    first = next(iter(material.firsts.values()))
    return render(
        "layer.html",
        kind="layer",
        root="../",
        run=plan.folder.name,
        layer=layer,
        pictures=address(plan.path(TILES, layer, first.name).parent, page),
        units=address(plan.path(UNIT_PAGE, layer, unit=0).parent, page),
        methods=list(material.methods),
        facts=facts_of(material),
        results=[results_of(run) for run in material.firsts.values()],
        count=len(material.units),
        number=material.units[len(material.units) // 8],
        range=f"{material.units[0]}–{material.units[len(material.units) // 2]}",
        labelled=labels[0] if labels else "",
        orders=list(_orders(material)),
        filters=list(_filters(material)),
        tiles=_tiles(material, first),
        links=list(_links(material)),
    )


def _orders(material: Material) -> Iterator[tuple[str, str]]:
    """The orders of a page: the values of its menu, and what it says."""
    yield "", "unit number"
    for name, (called, more_is_better) in ORDERS.items():
        if any(name in run.scores for run in material.firsts.values()):
            ways = (("-", "highest"), ("", "lowest"))
            for sign, word in ways if more_is_better else reversed(ways):
                yield f"{sign}{name}", f"{called}, {word}"
    if material.labels:
        yield "label", "label"
    if any(run.failed() for run in material.firsts.values()):
        yield "status", "failed first"


def _filters(material: Material) -> Iterator[tuple[str, str]]:
    yield "", "all"
    words = {word for run in material.firsts.values() for word in run.failed().values()}
    if words:
        yield "ok", "ok"
        yield "failed", "failed"
    if len(words) > 1:
        yield from ((word, word) for word in sorted(words))


def _tiles(material: Material, run: Run) -> Iterator[dict[str, Any]]:
    failed = run.failed()
    for index, unit in enumerate(material.units):
        sheet, place = divmod(index, PLACES)
        yield {
            "unit": unit,
            "sheet": sheet,
            "place": place,
            "status": failed.get(unit),
            "label": material.labels.get(unit),
        }


def _links(material: Material) -> Iterator[tuple[str, str]]:
    """To the files of the layer, from its page."""
    plan, layer = material.plan, material.layer
    page = plan.path(PAGE, layer)
    names = [run.name for runs in material.methods.values() for run in runs]
    found = [("contact sheet", plan.path(LAYER_SHEET, layer))]
    if len(names) > 1:
        found = [
            ("contact sheet of all methods", plan.path(LAYER_SHEET, layer)),
            *((f"of {name}", plan.path(METHOD_SHEET, layer, name)) for name in names),
        ]
    found.append(("layer file (HDF5)", plan.path(LAYER, layer)))
    if material.is_scored:
        found.append(("table of scores (Parquet)", plan.path(SCORES, layer)))
    for text, path in found:
        yield text, address(path, page)
