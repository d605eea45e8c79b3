"""The gallery without the files that it is made of: to zip, publish or put into a report."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from cnnpref.atomic import refusal
from cnnpref.errors import UserError
from cnnpref.planning.files import ASSETS, INDEX, LAYERS, MANIFEST, PAGE, PNG, SHARE
from cnnpref.planning.plan import Plan
from cnnpref.show.site.store import read_manifest

_LEFT_OUT = re.compile(r"<!--files-->.*?<!--/files-->", re.DOTALL)  # links to what is not there
_LARGE = re.compile(r'<a class="(frame[^"]*)" href="[^"]*"')  # a picture links to its PNG


def write_share(plan: Plan) -> None:
    """Make the folder anew: pages are copied without links to unit files, the rest is linked hard.

    Raises:
        UserError: the pages are missing, or the operating system refused to write.
    """
    folder = plan.path(SHARE)
    fresh = folder.with_name(f".{folder.name}.tmp")
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        for source in _sources(plan):
            _place(source, fresh / source.relative_to(plan.folder))
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {refusal(error)}") from error
    finally:
        with suppress(OSError):
            shutil.rmtree(fresh)


def _sources(plan: Plan) -> Iterator[Path]:
    yield from plan.paths([INDEX, LAYERS, *ASSETS, PAGE])
    unit_png = Path(PNG.path)
    for manifest in plan.paths([MANIFEST]):
        for name in read_manifest(manifest).get("files", {}):
            path = plan.folder / name
            if path.suffix != unit_png.suffix or path.parts[-4] != unit_png.parts[0]:
                yield path


def _place(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix == ".html":
        target.write_text(without_files(source.read_text("utf-8")), "utf-8")
        return
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def without_files(page: str) -> str:
    """A page without the links that lead out of the gallery."""
    return _LARGE.sub(r'<a class="\1"', _LEFT_OUT.sub("", page))
