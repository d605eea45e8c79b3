"""What a file is known by."""

from __future__ import annotations

import hashlib
from pathlib import Path

from cnnpref.errors import UserError
from cnnpref.foreign import open_regular


def file_sha256(path: str | Path) -> str:
    """The SHA-256 of a file, as hexadecimal digits.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; check the path") from None
