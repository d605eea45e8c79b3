"""The files in the folder of a run that no config asks for."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cnnpref.atomic import remove
from cnnpref.planning.files import KINDS, RULES
from cnnpref.planning.plan import Plan

# Only such files in these folders of a run are looked at.
_LEFT = [kind.path for rule in RULES for kind in rule.leaves]
_PATHS = [
    Path(path) for path in (*(kind.path for kind in KINDS), *_LEFT, *(rule.log for rule in RULES))
]
FOLDERS = {path.parts[0] for path in _PATHS if len(path.parts) > 1}
SUFFIXES = {path.suffix for path in _PATHS if path.suffix} | {".webp", ".jpg"}
TEMPORARY = ".tmp"  # left behind by a job that was killed
DAY = 24 * 3600  # seconds after which no job still writes a temporary file


@dataclass(frozen=True)
class Unused:
    """Files of one folder that no config asks for.

    Attributes:
        size: of all of them, in bytes.
    """

    folder: Path
    files: Sequence[Path]
    size: int


def find_unused(plans: Sequence[Plan]) -> list[Unused]:
    """Files that cnnpref made in the folders of these plans and that none of the plans has.

    Symbolic links are left alone, and so is what lies behind them.
    """
    asked = {path.resolve() for plan in plans for path in _asked(plan)}
    runs = dict.fromkeys(plan.folder.resolve() for plan in plans)
    found = defaultdict(list)
    for path in (path for run in runs for name in FOLDERS for path in _files(run / name)):
        if _is_ours(path) and asked.isdisjoint((path, *path.parents)):
            found[path.parent].append(path)
    sizes = {folder: sum(file.stat().st_size for file in files) for folder, files in found.items()}
    return [Unused(folder, found[folder], sizes[folder]) for folder in sorted(found)]


def delete(found: Iterable[Unused]) -> None:
    """Delete them, and the folders that are empty then.

    Raises:
        UserError: the operating system refused.
    """
    for unused in found:
        for path in unused.files:
            remove(path)
        _remove_empty(unused.folder)


def _remove_empty(folder: Path) -> None:
    """Remove a folder, if it is empty, and those around it, up to the run's."""
    while folder.name not in FOLDERS and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


def _files(folder: Path) -> Iterator[Path]:
    """All regular files below a folder; none if the folder is a symbolic link."""
    if folder.is_symlink():
        return
    for place, _, names in os.walk(folder):
        paths = (Path(place, name) for name in names)
        yield from (path for path in paths if not path.is_symlink())


def _is_ours(path: Path) -> bool:
    if path.suffix == TEMPORARY:
        return path.name.startswith(".") and path.stat().st_mtime < time.time() - DAY
    return path.suffix in SUFFIXES


def _asked(plan: Plan) -> Iterator[Path]:
    """The files of a plan, and the logs of its jobs or, where each has many, their folders."""
    yield from (file.path for file in plan.files())
    yield from plan.left()
    yield from plan.logs()
