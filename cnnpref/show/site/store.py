"""The files that a layer's job leaves: written only if their content changed, listed in a manifest.

A manifest is JSON: `{"version": 2, "summary": {...}, "files": {path: [digest, size]}}`, paths below
the run's folder. Single files are not flushed to the disk, for they are many and can be made again:
what a crash of the machine takes of them has another size than the manifest says.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path, PurePath
from typing import Any

from cnnpref.atomic import refusal, replacing
from cnnpref.errors import UserError

VERSION = 2  # raise it when the same input gives other files


def read_manifest(path: Path) -> dict[str, Any]:
    """What `Store.close` wrote; empty if there is none, or it is of another version or damaged.

    A manifest may come from others: files beside the run's folder are not listed in ours.
    """
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict) or found.get("version") != VERSION:
        return {}
    files = found.get("files")
    is_whole = isinstance(files, dict) and all(map(_is_entry, files, files.values()))
    return found if is_whole else {}


def _is_entry(name: str, value: Any) -> bool:
    """Whether it is a file below the folder, with its digest and size."""
    path = PurePath(name)
    inside = path.parts and not path.is_absolute() and ".." not in path.parts and "\0" not in name
    known = isinstance(value, list) and list(map(type, value)) == [str, int]
    return bool(inside and known)


def digest(*parts: bytes | str) -> str:
    """16 hexadecimal digits that tell these parts from others."""
    hashed = blake2b(digest_size=8)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        hashed.update(len(data).to_bytes(8) + data)
    return hashed.hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a file that Snakemake knows: durably, and anew whether it changed or not.

    Raises:
        UserError: the operating system refused to write.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


class Store:
    """Writes the files of one manifest.

    Args:
        folder: of the run.
        manifest: its path.
    """

    def __init__(self, folder: Path, manifest: Path) -> None:
        self._folder, self._manifest = folder, manifest
        self._old: dict[str, list[Any]] = read_manifest(manifest).get("files", {})
        self._files: dict[str, list[Any]] = {}
        self._made: set[Path] = set()  # folders
        self.written = 0  # files

    def put(self, path: Path, source: str, make: Callable[[], bytes]) -> None:
        """Have a file of that source: as it lies there, or else made.

        Args:
            path: below the run's folder.
            source: a digest of all that determines the content.
            make: the content.

        Raises:
            UserError: the operating system refused to write.
        """
        name = path.relative_to(self._folder).as_posix()
        entry = self._old.get(name)
        if not (entry and entry[0] == source and _size(path) == entry[1]):
            data = make()
            self._write(path, data)
            entry = [source, len(data)]
        self._files[name] = entry

    def put_text(self, path: Path, text: str) -> None:
        """Have a file of that text."""
        data = text.encode()
        self.put(path, digest(data), lambda: data)

    def close(self, summary: dict[str, Any]) -> None:
        """Delete the files of the manifest before that are no longer listed, and write the new one.

        Raises:
            UserError: the operating system refused.
        """
        for name in self._old.keys() - self._files.keys():
            with suppress(OSError):
                (self._folder / name).unlink()
        content = {"version": VERSION, "summary": summary, "files": self._files}
        write_text(self._manifest, json.dumps(content, ensure_ascii=False))

    def _write(self, path: Path, data: bytes) -> None:
        temporary = path.with_name(f".{path.name}.tmp")
        try:
            if path.parent not in self._made:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._made.add(path.parent)
            temporary.write_bytes(data)
            temporary.replace(path)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink()
            raise UserError(f"cannot write {path}: {refusal(error)}") from error
        self.written += 1


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
