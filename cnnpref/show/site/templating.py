"""The templates of the gallery, and addresses in it."""

from __future__ import annotations

import os
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from cnnpref.show.site import numbers


def render(template: str, **values: Any) -> str:
    """The text of a page."""
    return _templates().get_template(template).render(version=version("cnnpref"), **values)


def address(target: Path, page: Path) -> str:
    """Of a file, relative to a page."""
    return quote(Path(os.path.relpath(target, page.parent)).as_posix())


@cache
def _templates() -> Environment:
    templates = Environment(
        loader=PackageLoader("cnnpref.show.site"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {
        "figure": numbers.figure,
        "count": numbers.count,
        "units": numbers.units,
        "breakable": _breakable,
    }
    return templates


def _breakable(name: str) -> Markup:
    """A layer's name that may be broken after each '/' and '.'."""
    return Markup(str(escape(name)).replace("/", "/<wbr>").replace(".", ".<wbr>"))
