"""Files over HTTP that arrive whole: a transfer that broke goes on where it ended."""

from __future__ import annotations

import json
import logging
import re
from contextlib import suppress
from pathlib import Path

import requests
from requests import Response
from requests.exceptions import RequestException
from tqdm import tqdm

from cnnpref.errors import UserError

TIMEOUT = (10, 60)  # seconds without an answer: to the call, and between two pieces
ATTEMPTS = 5  # at one address, as long as it breaks off in the middle
PIECE = 1 << 14  # bytes that are written at once, and at most lost when a transfer breaks off

_REASONS = {  # the first that fits; texts of exceptions are long and in several lines
    requests.exceptions.SSLError: "its certificate is not valid",
    requests.exceptions.Timeout: "no answer in time",
    requests.exceptions.ConnectionError: "no connection",
    requests.exceptions.TooManyRedirects: "it redirects in circles",
}

log = logging.getLogger("cnnpref")


class TransferError(Exception):
    """An address did not give its file; says why, in a few words."""


class _BrokenError(TransferError):
    """It gave some of it, or something that cannot be used; worth another try."""


class PartialFile:
    """A file on its way, `<name>.part`, and beside it where it comes from, `<name>.part.json`.

    It is continued only from the same address, and only if the server vouches, by the ETag or the
    date of its file, that this is still the one whose beginning we have.
    """

    def __init__(self, path: Path, home: str = "CNNPREF_HOME") -> None:
        self.home = home  # the environment variable that names its folder
        self.path = path.with_name(f"{path.name}.part")
        self._note = path.with_name(f"{path.name}.part.json")

    @property
    def size(self) -> int:
        """Bytes that are here."""
        return self.path.stat().st_size if self.path.exists() else 0

    def validator(self, address: str) -> str | None:
        """What the server called its file when it gave the part that is here, if it may go on."""
        with suppress(OSError, ValueError, AttributeError):
            told = json.loads(self._note.read_text())
            return told.get("validator") if told.get("address") == address and self.size else None
        return None

    def start(self, address: str, validator: str | None) -> None:
        """Forget what is here: a new file begins."""
        self.discard()
        self._note.write_text(json.dumps({"address": address, "validator": validator}))

    def discard(self) -> None:
        """Remove what is here."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def move(self, path: Path) -> None:
        """Give the complete file its name."""
        self.path.replace(path)
        self._note.unlink(missing_ok=True)


def download(address: str, part: PartialFile) -> None:
    """Complete a partial file from an address.

    Raises:
        TransferError: the address does not give its file, or only some of it; that is kept.
        UserError: the disk refuses to take it.
    """
    for left in reversed(range(ATTEMPTS)):
        try:
            _transfer(address, part)
            return
        except _BrokenError as error:
            if not left:
                raise
            log.info("%s: %s; asking again", address, error)
        except OSError as error:
            raise UserError(
                f"cannot write {part.path}: {error.strerror or error};"
                f" make room, or name another folder in {part.home}"
            ) from None


def _transfer(address: str, part: PartialFile) -> None:
    offset, validator = part.size, part.validator(address)
    headers = {"Accept-Encoding": "identity"}  # so that bytes are counted as they lie on disk
    if validator:
        headers |= {"Range": f"bytes={offset}-", "If-Range": validator}
    try:
        with requests.get(address, headers=headers, stream=True, timeout=TIMEOUT) as response:
            total = _begin(response, address, part)
            _receive(response, part, total)
    except RequestException as error:
        raise TransferError(_reason(error)) from None


def _begin(response: Response, address: str, part: PartialFile) -> int | None:
    """Decide what the answer is the continuation of; the size of the whole file, if it is told."""
    if response.status_code == 206 and (total := _continues(response, address, part)):
        return total
    if response.status_code in (206, 416):
        part.discard()
        raise _BrokenError("it does not go on with the file whose beginning is here")
    if response.status_code != 200:
        raise TransferError(f"{response.status_code} {response.reason}")
    part.start(address, _validator(response))
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _continues(response: Response, address: str, part: PartialFile) -> int | None:
    """The size of the whole file, if these are the bytes after those that are here."""
    told = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", response.headers.get("Content-Range", ""))
    same = _validator(response) in (None, part.validator(address))
    if not told or not same:
        return None
    first, last, total = map(int, told.groups())
    return total if first == part.size < total == last + 1 else None


def _validator(response: Response) -> str | None:
    """A strong ETag, or else the date."""
    etag = response.headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified")


def _receive(response: Response, part: PartialFile, total: int | None) -> None:
    bar = tqdm(
        desc=part.path.stem,
        total=total,
        initial=part.size,
        unit="B",
        unit_scale=True,
        disable=None,  # unless on a terminal
    )
    with bar, part.path.open("ab") as file:
        try:
            for piece in response.iter_content(PIECE):
                file.write(piece)
                bar.update(len(piece))
                if bar.disable and total:
                    _tell_tenths(part.path.stem, file.tell(), len(piece), total)
            whole = total is None or file.tell() == total
        except RequestException:
            whole = False
    if not whole:
        of = "" if total is None else f" of {total:,}"
        raise _BrokenError(f"it broke off after {part.size:,}{of} bytes")


def _tell_tenths(name: str, done: int, new: int, total: int) -> None:
    """What a log file gets in place of a bar."""
    if done * 10 // total > (done - new) * 10 // total:
        log.info("%s: %s of %s bytes", name, f"{done:,}", f"{total:,}")


def _reason(error: RequestException) -> str:
    known = (text for kind, text in _REASONS.items() if isinstance(error, kind))
    return next(known, type(error).__name__)
