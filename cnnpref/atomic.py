"""Files that are on disk whole or not at all."""

from __future__ import annotations

import errno
import io
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from cnnpref.errors import UserError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` for the body to write; it becomes `path`, durably, at the end.

    When the body fails, `path` is as it was and nothing is left beside it.

    Raises:
        UserError: the operating system refused to write.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise UserError(f"cannot write {path}: {refusal(error)}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def try_writing(folder: Path) -> None:
    """Fail before the work, not after it: make the folder, if need be, and a file in it.

    Raises:
        UserError: the operating system refused to write.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"cannot write into {folder}: {refusal(error)}") from None


def remove(path: Path) -> None:
    """Delete a file, if it is there.

    Raises:
        UserError: the operating system refused.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot delete {path}: {error.strerror}; fix that and run it again"
        ) from None


def refusal(error: OSError) -> str:
    """Why the operating system refused to write, and what to do about it."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    advice = "make room there and run it again" if full else "fix that or choose another folder"
    return f"{error.strerror or error}; {advice}"


class PatientFile(io.FileIO):
    """A file for libraries that do not survive a failed write: it keeps the first error.

    HDF5 crashes the process when a write fails (a full disk), and when it reads back other bytes
    than it wrote. It is told that all went well, and what the disk did not take stays in memory;
    the error is there for the caller to raise.

    Attributes:
        error: of the first write that failed.
    """

    error: OSError | None = None

    def __init__(self, path: Path | str, mode: str) -> None:
        super().__init__(path, mode)
        self._lost: list[tuple[int, bytes]] = []  # what is not on the disk, with its place

    def write(self, data: Any) -> int:
        """Write all of `data`; to memory from the first error on."""
        start, whole, done = self.tell(), memoryview(data).cast("B"), 0
        try:
            while done < len(whole) and not self.error:
                done += super().write(whole[done:])
        except OSError as error:
            self.error = error
        if done < len(whole):
            self._lost.append((start + done, bytes(whole[done:])))
            self.seek(start + len(whole))
        return len(whole)

    def readinto(self, buffer: Any) -> int:
        """Read what was written, on the disk or not."""
        start, wanted = self.tell(), memoryview(buffer).cast("B")
        count = super().readinto(wanted) or 0
        for place, data in self._lost:
            first, last = max(place, start), min(place + len(data), start + len(wanted))
            if first < last:
                wanted[first - start : last - start] = data[first - place : last - place]
                count = max(count, last - start)
        self.seek(start + count)
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place; the end is that of all that was written."""
        if whence == os.SEEK_END:
            end = max((place + len(data) for place, data in self._lost), default=0)
            return super().seek(max(end, super().seek(0, whence)) + offset)
        return super().seek(offset, whence)

    def truncate(self, size: int | None = None) -> int:
        """Set the length, unless that fails."""
        try:
            return super().truncate(size)
        except OSError as error:
            self.error = self.error or error
            return self.tell() if size is None else size


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
