"""The gallery: an index of all layers and a page for each, plain files with relative links."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from cnnpref.atomic import replacing
from cnnpref.errors import UserError
from cnnpref.input_space import Array
from cnnpref.planning.files import INDEX, LAYER, LAYER_SHEET, METHOD_SHEET, PAGE, PREVIEW
from cnnpref.planning.plan import Plan
from cnnpref.results.layer_file import MethodData, Row, open_layer
from cnnpref.show.sheet import failures, field_size, preview

TRACES = 256  # the traces of a method with more units are not drawn: pages stay light
POINTS = 60  # of a drawn trace


def write_gallery(plan: Plan) -> None:
    """Write the page and the preview of each layer, in order, and at last the index.

    Raises:
        UserError: a layer file or a sheet is missing, or the operating system refused to write.
    """
    index, layers = plan.path(INDEX), plan.layers
    neighbours = zip([None, *layers[:-1]], layers, [*layers[1:], None], strict=True)
    cards = [_write_layer(plan, *three) for three in neighbours]
    _render(index, "index.html", run=plan.folder.name, layers=cards)


def _write_layer(plan: Plan, before: str | None, layer: str, after: str | None) -> dict[str, Any]:
    """Write the page and the preview of a layer; returns its entry in the index."""
    page, index, data = plan.path(PAGE, layer), plan.path(INDEX), plan.path(LAYER, layer)
    strip = plan.path(PREVIEW, layer)
    preview(data, strip)
    with open_layer(data) as found:
        names = [each.name for each in plan.select(layer)]
        methods = {name: _method(data, found, name) for name in names}
        tables = {name: each.rows() for name, each in methods.items()}
        facts = _facts(methods, tables)
        _render(
            page,
            "layer.html",
            run=plan.folder.name,
            name=layer,
            **facts,
            index=_url(index, page),
            before=before and {"name": before, "url": _url(plan.path(PAGE, before), page)},
            after=after and {"name": after, "url": _url(plan.path(PAGE, after), page)},
            sheet=_image(plan.path(LAYER_SHEET, layer), page),
            sections=[
                {
                    "method": name,
                    "sheet": _image(plan.path(METHOD_SHEET, layer, name), page),
                    "rows": rows,
                    "labelled": any(row.label for row in rows),
                    "traces": len(rows) <= TRACES,
                    "options": methods[name].attributes["options"],
                    "digest": methods[name].attributes["digest"],
                }
                for name, rows in tables.items()
            ],
        )
    return {"name": layer, **facts, "url": _url(page, index), "preview": _image(strip, index)}


def _method(data: Path, found: Mapping[str, MethodData], name: str) -> MethodData:
    if name not in found:
        raise UserError(
            f"{data} has no method {name!r}; run 'cnnpref collect' for this layer again"
        )
    return found[name]


def _facts(
    methods: Mapping[str, MethodData], tables: Mapping[str, Sequence[Row]]
) -> dict[str, Any]:
    rows = list(chain(*tables.values()))
    attributes = next(iter(methods.values())).attributes
    return {
        "net": attributes["net"],
        "position": attributes["position"],
        "suppressed": next(iter(methods.values())).is_suppressed,
        "methods": list(methods),
        "units": len({row.unit for row in rows}),
        "field": "{} × {} px".format(*field_size(rows)),
        "failed": ", ".join(failures(rows)),
    }


def _image(path: Path, page: Path) -> dict[str, Any]:
    """What a page needs to show an image file."""
    try:
        with Image.open(path) as image:
            width, height = image.size
    except OSError as error:
        raise UserError(
            f"{path}: {error.strerror or 'not a PNG'}; run 'cnnpref sheet' for this layer again"
        ) from error
    return {"url": _url(path, page), "width": width, "height": height}


def _url(target: Path, page: Path) -> str:
    return quote(Path(os.path.relpath(target, page.parent)).as_posix())


def _trace(activation: Array) -> str:
    """The points of an SVG polyline in a box of 100 x 20; none for a trace of nothing finite."""
    finite = activation[np.isfinite(activation)].astype(np.float64)
    if not finite.size:
        return ""
    y = finite[np.linspace(0, len(finite) - 1, min(POINTS, len(finite))).astype(int)]
    x = np.linspace(0, 100, len(y))
    y = 19 - 18 * (y - y.min()) / (np.ptp(y) or 1)
    return " ".join(f"{a:.0f},{b:.1f}" for a, b in zip(x, y, strict=True))


@cache
def _templates() -> Environment:
    templates = Environment(
        loader=PackageLoader("cnnpref.show"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {"trace": _trace, "number": "{:.5g}".format}
    return templates


def _render(path: Path, template: str, **values: Any) -> None:
    text = _templates().get_template(template).render(values)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
