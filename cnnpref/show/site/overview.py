"""The page of a run: its net from left to right, the best of each layer, what was done."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import date
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

from cnnpref.errors import UserError
from cnnpref.planning.files import (
    ASSETS,
    INDEX,
    LAYER,
    LAYERS,
    MANIFEST,
    PAGE,
    TILES,
    UNIT_PAGE,
)
from cnnpref.planning.plan import Plan
from cnnpref.show.site.numbers import count, duration, figure, times
from cnnpref.show.site.store import read_manifest, write_text
from cnnpref.show.site.summary_schema import is_summary
from cnnpref.show.site.templating import address, render
from cnnpref.show.site.tiles import THUMB


def write_overview(plan: Plan) -> None:
    """Write the page of a run, and what all pages share: styles, scripts, the names of the layers.

    Raises:
        UserError: the pages of a layer are missing, or the operating system refused to write.
    """
    for kind in ASSETS:
        write_text(plan.path(kind), _asset(Path(kind.path).name))
    layers = in_order(plan)
    write_text(plan.path(LAYERS), _list(plan, layers))
    write_text(plan.path(INDEX), _page(plan, [_summary(plan, layer) for layer in layers]))


def in_order(plan: Plan) -> list[str]:
    """The layers of a run in the order of the net."""
    known = list(plan.nets["net"].layers) if "net" in plan.nets else []
    places = {layer: place for place, layer in enumerate(known)}
    return sorted(plan.layers, key=lambda layer: places.get(layer, len(places)))


def _asset(name: str) -> str:
    return resources.files("cnnpref.show.site").joinpath("assets", name).read_text("utf-8")


def _list(plan: Plan, layers: Sequence[str]) -> str:
    """The layers and their pages for a script."""
    place = plan.path(PAGE, layers[0])  # as deep as any
    pages = [[layer, address(plan.path(PAGE, layer), place)] for layer in layers]
    return f"self.CNNPREF_LAYERS = {json.dumps(pages)};\n"


def _summary(plan: Plan, layer: str) -> dict[str, Any]:
    path = plan.path(MANIFEST, layer)
    summary: dict[str, Any] = read_manifest(path).get("summary", {})
    if not is_summary(summary, layer, [each.method for each in plan.select(layer)]):
        raise UserError(f"{path}: missing or damaged; run 'cnnpref pages' for layer {layer!r}")
    return summary


def _page(plan: Plan, summaries: Sequence[dict[str, Any]]) -> str:
    methods = list(dict.fromkeys(each.method for each in plan.series))
    gaps = _gaps(plan, [each["layer"] for each in summaries])
    return render(
        "overview.html",
        kind="overview",
        root="",
        run=plan.folder.name,
        net=summaries[0]["net"],
        date=f"{date.today():%-d %B %Y}",
        total=sum(each["units"] for each in summaries),
        failed=sum(each["failed"] for each in summaries),
        references=max((each["references"] or 0 for each in summaries), default=0),
        methods=methods,
        layers=[
            _layer(plan, summary, methods, gap)
            for summary, gap in zip(summaries, gaps, strict=True)
        ],
        provenance=_provenance(summaries[0]),
        exports=list(_exports(plan)),
    )


def _gaps(plan: Plan, layers: Sequence[str]) -> list[int | None]:
    """How many layers of the net lie before each of these, after the one before; None: none."""
    if "net" not in plan.nets:
        return [None] * len(layers)
    known = list(plan.nets["net"].layers)
    places = [known.index(layer) for layer in layers]
    return [None, *(after - before - 1 or None for before, after in pairwise(places))]


def _layer(
    plan: Plan, summary: dict[str, Any], methods: Sequence[str], gap: int | None
) -> dict[str, Any]:
    top, left, bottom, right = summary["field"]
    height, width = summary["size"]
    name = summary["layer"]
    return {
        "name": name,
        "url": address(plan.path(PAGE, name), plan.path(INDEX)),
        "units": summary["units"],
        "between": gap,
        "width": 100,
        "height": round(100 * height / width),
        "box": [round(100 / width * n, 1) for n in (top, left, bottom - top, right - left)],
        "sees": summary["sees"].replace("field ", "sees "),
        "facts": summary["facts"],
        "results": [summary["methods"][method] for method in methods],
        "strips": [list(_strip(plan, summary, method)) for method in methods],
        "cells": [_cell(summary["methods"][method]) for method in methods],
    }


def _strip(plan: Plan, summary: dict[str, Any], method: str) -> Iterator[dict[str, str]]:
    index, layer = plan.path(INDEX), summary["layer"]
    for tile in summary["methods"][method]["best"]:
        unit, label, gain = tile["unit"], tile["label"], tile["gain"]
        told = f"activation {figure(tile['activation'])}" if gain is None else f"gain {times(gain)}"
        yield {
            "url": address(plan.path(UNIT_PAGE, layer, unit=unit), index),
            "picture": address(plan.path(TILES, layer, method) / THUMB.format(unit), index),
            "alt": f"{layer} unit {unit}{f', {label}' if label else ''}, by {method}, {told}",
        }


def _cell(method: dict[str, Any]) -> dict[str, str]:
    failed, units = method["failed"], method["units"]
    done = f"{count(units - failed)} of {count(units)}" if failed else count(units)
    gain = method["gain"] and f"{method['gain']} in "
    seeds = f", {count(method['seeds'])} seeds" if method["seeds"] > 1 else ""
    return {
        "done": done + seeds,
        "failed": f"{count(failed)} failed" if failed else "",
        "note": gain + duration(method["seconds"]),
    }


def _provenance(summary: dict[str, Any]) -> list[tuple[str, str]]:
    digests = [
        (f"{section}: {key}", str(value))
        for section, files in summary["sha256"].items()
        for key, value in (files.items() if isinstance(files, dict) else [("sha256", files)])
    ]
    versions = ", ".join(f"{name} {number}" for name, number in summary["versions"].items())
    return [
        ("net", summary["net"]),
        *digests,
        ("versions", versions),
        ("device", summary["device"]),
    ]


def _exports(plan: Plan) -> Iterator[tuple[str, str]]:
    """Links to the files for analysis."""
    index = plan.path(INDEX)
    for layer in in_order(plan):
        yield f"{layer} (HDF5)", address(plan.path(LAYER, layer), index)
