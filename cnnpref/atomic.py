"""Files that are on disk whole or not at all."""

from __future__ import annotations

import errno
import io
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
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


def refusal(error: OSError) -> str:
    """Why the operating system refused to write, and what to do about it."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    advice = "make room there and run it again" if full else "mend that or choose another folder"
    return f"{error.strerror or error}; {advice}"


class PatientFile(io.FileIO):
    """A file for libraries that do not survive a failed write: it keeps the first error.

    HDF5 crashes the process when a write fails (a full disk) while it closes a file. It is told
    that all went well; the error is there for the caller to raise afterwards.
    """

    error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all of `data`, unless a write has failed before."""
        rest = memoryview(data)
        try:
            while rest and not self.error:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.error = error
        return len(data)

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
