"""The weights of the zoo's nets: found in the cache folder, or fetched into it; always verified."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from cnnpref.atomic import replacing
from cnnpref.errors import UserError
from cnnpref.nets.zoo.alone import alone_with
from cnnpref.nets.zoo.archive import UnfitError, unpack
from cnnpref.nets.zoo.registry import Entry, read_zoo

log = logging.getLogger("cnnpref")


def cache_folder() -> Path:
    """Where weights are kept: `$CNNPREF_HOME`, or `cnnpref/nets` in the user's cache folder."""
    if home := os.environ.get("CNNPREF_HOME"):
        return Path(home).expanduser().absolute()
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache, "cnnpref", "nets").absolute()


def weights_path(entry: Entry) -> Path:
    """Where the weights of a net are, or will be."""
    return cache_folder() / entry.weights


def fetch(entry: Entry) -> Path:
    """The verified weights of a net: those in the cache folder, or else from its addresses.

    Processes that want the same file wait for the one that fetches it. Where no checksum is
    published, the file's sha256 is recorded beside it at first use, and holds from then on.

    Raises:
        UserError: no address gives the right file, the disk refuses it, or the file that is here
            is not the right one.
    """
    path = weights_path(entry)
    if not path.exists():
        source = path.with_name(entry.archive or entry.weights)
        with alone_with(source):
            if not path.exists():
                _obtain(entry, source, path)
    _verify(entry, path)
    return path


def _obtain(entry: Entry, source: Path, path: Path) -> None:
    """From the archive that is here, or else from the first address that gives the right file."""
    if entry.archive and source.exists():
        try:
            _unpack(entry, source, path)
        except UnfitError as error:
            raise UserError(f"{source} is {error}; delete it, to have it fetched again") from None
    else:
        _download(entry, source, path)


def _download(entry: Entry, source: Path, path: Path) -> None:
    from cnnpref.nets.zoo.download import PartialFile, TransferError, download

    part, failures = PartialFile(source), []
    for address in entry.addresses:
        log.info("fetching %s from %s", source.name, address)
        try:
            download(address, part)
            _accept(entry, part.path, path)
        except (TransferError, UnfitError) as error:
            if isinstance(error, UnfitError):
                part.discard()
            failures.append(f"{address}: {error}")
            log.warning("%s", failures[-1])
        else:
            part.move(source)
            _tidy(entry, source)
            return
    raise UserError(_by_hand(entry, source, path, failures))


def _accept(entry: Entry, fetched: Path, path: Path) -> None:
    """Verify what was fetched before it gets its name; an archive by what is in it."""
    if entry.archive:
        _unpack(entry, fetched, path)
    else:
        _check(entry, fetched)


def _unpack(entry: Entry, archive: Path, path: Path) -> None:
    with replacing(path) as temporary:
        unpack(archive, entry.member or "", temporary)
        _check(entry, temporary)


def _tidy(entry: Entry, source: Path) -> None:
    """Remove an archive that was fetched, unless other nets can be had from it."""
    if not entry.archive:
        return
    others = [e for e in read_zoo().values() if e.archive == entry.archive]
    waiting = [other.name for other in others if not weights_path(other).exists()]
    if waiting:
        log.info("%s is kept for %s; delete it at will", source, ", ".join(waiting))
    else:
        source.unlink(missing_ok=True)


def _verify(entry: Entry, path: Path) -> None:
    """The file that is here is the published one, or the one of the first use."""
    try:
        _check(entry, path)
        if not entry.checksums:
            _compare_with_record(path)
    except UnfitError as error:
        raise UserError(
            f"{path} is not the file of {entry.name}: {error};"
            f" delete it and run 'cnnpref fetch {entry.name}'"
        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; fix that") from None


def _check(entry: Entry, path: Path) -> None:
    size, least = path.stat().st_size, 4 * (entry.parameters or 0)  # float32
    if entry.size not in (None, size):
        raise UnfitError(f"it has {size:,} bytes, not {entry.size:,}")
    if size < least:
        raise UnfitError(f"it has {size:,} bytes; {entry.parameters:,} parameters take {least:,}")
    for kind, wanted in entry.checksums.items():
        _compare(kind, path, wanted)


def _compare(kind: str, path: Path, wanted: str) -> None:
    if (actual := _digest(kind, path)) != wanted:
        raise UnfitError(f"its {kind} is {actual}, not {wanted}")


def _digest(kind: str, path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()


def _compare_with_record(path: Path) -> None:
    """With the sha256 of the first use, in a file that `sha256sum --check` reads too."""
    record = path.with_name(f"{path.name}.sha256")
    if record.exists():
        _compare("sha256", path, record.read_text().partition(" ")[0])
        return
    digits = _digest("sha256", path)
    with replacing(record) as temporary:
        temporary.write_text(f"{digits}  {path.name}\n")
    log.warning(
        "no checksum of %s is published: its sha256, %s, is recorded in %s and must stay the same",
        path.name,
        digits,
        record.name,
    )


def _by_hand(entry: Entry, source: Path, path: Path, failures: Sequence[str]) -> str:
    checksums = [f"its {kind} must be {digits}" for kind, digits in entry.checksums.items()]
    what = f"{source.name} as {source}"
    if entry.archive:
        what += f", or {entry.member} out of it as {path}"
    return (
        f"{entry.name}: no address gives its weights ({'; '.join(failures)});"
        f" get them by hand and put {what};"
        f" {' and '.join(checksums) or 'no checksum of them is published'}"
    )
