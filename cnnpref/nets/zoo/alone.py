"""One process at a time."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cnnpref.errors import UserError

log = logging.getLogger("cnnpref")


@contextmanager
def alone_with(path: Path, home: str = "CNNPREF_HOME") -> Iterator[None]:
    """No other process fetches that file meanwhile.

    Args:
        path: of the file.
        home: the environment variable that names the folder it is in.

    Raises:
        UserError: its folder cannot be written.
    """
    from filelock import FileLock, Timeout

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_name(f".{path.name}.lock"))
        try:
            lock.acquire(blocking=False)
        except Timeout:
            log.info("waiting for another process that fetches %s", path.name)
            lock.acquire()
    except OSError as error:
        raise UserError(
            f"cannot write into {path.parent}: {error.strerror or error};"
            f" fix that, or name another folder in {home}"
        ) from None
    try:
        yield
    finally:
        lock.release()
