"""One run at a time in a folder of results, whatever the working directories.

The operating system holds the lock for a process, and lifts it when that ends, also when it is
killed: no run stays locked for ever. Where a file system knows no locks, nobody is kept out.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from pathlib import Path

LOCK = ".running"  # the file, in the run's folder; it stays, and means nothing by itself
_held: list[int] = []  # descriptors, open as long as the process lives


def hold(folder: Path) -> str | None:
    """Hold a run's folder until this process ends.

    Args:
        folder: of the run; made if need be.

    Returns:
        Who holds it, in a few words, if another process does; None if it is held now, or if it
        cannot be: the folder cannot be written, or its file system has no locks.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.read(descriptor, 1000).decode("utf-8", "replace")
        os.close(descriptor)
        is_held = error.errno in (errno.EWOULDBLOCK, errno.EACCES)
        return (holder or "another process") if is_held else None
    _held.append(descriptor)
    os.ftruncate(descriptor, 0)
    os.write(
        descriptor, f"process {os.getpid()} of {socket.gethostname()}, in {Path.cwd()}".encode()
    )
    return None
