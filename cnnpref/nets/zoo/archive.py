"""One file out of a zip or tar archive that may hold anything."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import IO

from cnnpref.foreign import BROKEN_ARCHIVE

PIECE = 1 << 20  # bytes


class UnfitError(Exception):
    """A file is not what it should be; says why, in a few words."""


def unpack(archive: Path, member: str, path: Path) -> None:
    """Write the bytes of one member of a zip or tar archive to `path`.

    Nothing else leaves the archive, and no name in it is used as the name of a file.

    Args:
        archive: the archive's path.
        member: how the member's path in the archive ends, in whole parts: "fc6/net.caffemodel".
        path: the file to write.

    Raises:
        UnfitError: it is no archive, it is damaged, or it has no such member, or several.
        OSError: `path` cannot be written.
    """
    with ExitStack() as opened:
        source = _open(archive, member, opened)
        with path.open("wb") as file:
            for piece in _pieces(source):
                file.write(piece)


def _open(archive: Path, member: str, opened: ExitStack) -> IO[bytes]:
    try:
        if zipfile.is_zipfile(archive):
            zipped = opened.enter_context(zipfile.ZipFile(archive))
            name = _only(member, (info.filename for info in zipped.infolist() if not info.is_dir()))
            return opened.enter_context(zipped.open(name))
        tarred = opened.enter_context(tarfile.open(archive))  # noqa: SIM115 - the stack closes it
        name = _only(member, (info.name for info in tarred if info.isfile()))
        source = tarred.extractfile(name)
        assert source is not None  # of a regular file
        return opened.enter_context(source)
    except BROKEN_ARCHIVE:
        raise UnfitError("no archive that can be read") from None


def _only(member: str, names: Iterable[str]) -> str:
    found = [name for name in names if PurePosixPath(name).match(member)]
    if len(found) != 1:
        raise UnfitError(f"an archive with {len(found)} members {member}")
    return found[0]


def _pieces(source: IO[bytes]) -> Iterator[bytes]:
    try:
        while piece := source.read(PIECE):
            yield piece
    except BROKEN_ARCHIVE:
        raise UnfitError("a damaged archive") from None
