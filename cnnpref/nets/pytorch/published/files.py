"""Files of weights where PyTorch's and Hugging Face's own loaders keep them, always verified."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch

from cnnpref.errors import UserError, first_line
from cnnpref.nets.digests import file_sha256
from cnnpref.nets.pytorch.importing import imported
from cnnpref.nets.zoo import cache_folder
from cnnpref.nets.zoo.alone import alone_with
from cnnpref.nets.zoo.download import PartialFile, TransferError, download

_HOME = "TORCH_HOME"
_PREFIX = re.compile(r"[-_]([0-9a-f]{8,64})\.[a-z.]+$")  # of the SHA-256, at the end of names

log = logging.getLogger("cnnpref")


@dataclass(frozen=True)
class AddressFile:
    """A file at an address, in the cache that `torch.hub` has.

    Its name tells how its SHA-256 begins.

    Attributes:
        name: what to tell `cnnpref fetch`, to get it.
        address: where it is published.
    """

    name: str
    address: str

    @property
    def path(self) -> Path:
        """Where it is, or will be."""
        return Path(torch.hub.get_dir(), "checkpoints", Path(urlparse(self.address).path).name)

    @property
    def published(self) -> str:
        """What it is known by: the beginning of its SHA-256, or else its address."""
        return f"sha256:{self._prefix}" if self._prefix else self.address

    @property
    def verified(self) -> str:
        """By what the file is."""
        return f"sha256 {self._prefix}... as published" if self._prefix else "no checksum published"

    @property
    def _prefix(self) -> str:
        found = _PREFIX.search(self.path.name)
        return found[1] if found else ""

    def fetch(self) -> Path:
        """The verified file: the one that is here, or else from its address.

        Raises:
            UserError: the address does not give the right file, or what is here is another one.
        """
        if not self.path.exists():
            with alone_with(self.path, _HOME):
                if not self.path.exists():
                    self._download()
        if wrong := self._wrong(self.path):
            raise UserError(
                f"{self.path} is not the published file: {wrong}; delete it and run 'cnnpref fetch"
                f" {self.name}'; if it holds weights of your own, give it another name, and that as"
                " weights"
            )
        return self.path

    def _download(self) -> None:
        part = PartialFile(self.path, _HOME)
        log.info("fetching %s from %s", self.path.name, self.address)
        try:
            download(self.address, part)
            wrong = self._wrong(part.path)
        except TransferError as error:
            wrong = str(error)
        else:
            if wrong:
                part.discard()
        if wrong:
            raise UserError(
                f"{self.address}: {wrong}; run 'cnnpref fetch {self.name}' where there is a"
                f" connection, or get the file by hand and put it as {self.path}"
            )
        part.move(self.path)

    def _wrong(self, path: Path) -> str:
        digits = file_sha256(path)
        if digits.startswith(self._prefix):
            return ""
        return f"its sha256 is {digits}, which must begin with {self._prefix}"


@dataclass(frozen=True)
class HubFile:
    """A file on the Hugging Face hub, in the cache that `huggingface_hub` has.

    Which version it is, only the hub can tell. So the first one that is fetched holds: a link in
    our own cache folder leads to it, until somebody removes the link.

    Attributes:
        name: what to tell `cnnpref fetch`, to get it.
        repository: such as "timm/resnet18.a1_in1k".
        files: names of the file, the first that there is counts.
        revision: a branch, tag or commit; None is the main branch.
        beside: names of files that are fetched with it.
    """

    name: str
    repository: str
    files: Sequence[str]
    revision: str | None = None
    beside: Sequence[str] = ()

    @property
    def path(self) -> Path:
        """The link to it, which is here as soon as the file is."""
        which = self.files if len(self.files) == 1 else ()
        name = "/".join(("huggingface", self.published, *which))
        return cache_folder() / name.replace("/", "--")

    @property
    def published(self) -> str:
        """What it is known by."""
        return "@".join(filter(None, (self.repository, self.revision)))

    @property
    def verified(self) -> str:
        """By what the file is."""
        return "sha256 as on the hub"

    def fetch(self) -> Path:
        """The verified file, under its own name: the one that is here, or else from the hub.

        Raises:
            UserError: the hub does not give it, or what is here is damaged.
        """
        if not self.path.exists():
            with alone_with(self.path):
                if not self.path.exists():
                    self._link(self._cached() or self._download())
        path = self.path.readlink()
        _verify_blob(path, self.name)
        return path

    def companion(self, name: str) -> Path | None:
        """A file beside it that is here, of the same version."""
        if self.path.exists():
            return self.path.readlink().with_name(name)
        return self._in_cache(name)

    def _link(self, path: Path) -> None:
        temporary = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}.tmp")
        temporary.symlink_to(path)
        temporary.replace(self.path)

    def _cached(self) -> Path | None:
        """The file, if it and those beside it are in the cache, of one version."""
        found = next(filter(None, map(self._in_cache, self.files)), None)
        whole = found and all(found.with_name(name).exists() for name in self.beside)
        return found if whole else None

    def _in_cache(self, name: str) -> Path | None:
        found = _hub().try_to_load_from_cache(self.repository, name, revision=self.revision)
        return Path(found) if isinstance(found, str) else None

    def _download(self) -> Path:
        log.info("fetching %s from the Hugging Face hub", self.published)
        hub, revision = _hub(), self.revision
        try:
            for name in self.beside:
                beside = hub.hf_hub_download(self.repository, name, revision=revision)
                revision = Path(beside).parent.name  # the commit: all of the same version
            return Path(self._first_of_files(revision))
        except Exception as error:  # of its own and of the libraries it uses
            raise UserError(
                f"{self.published} on the Hugging Face hub: {self._reason(error)}; run 'cnnpref"
                f" fetch {self.name}' where there is a connection; the hub's cache here is"
                f" {_hub('.constants').HF_HUB_CACHE} (HF_HOME)"
            ) from error

    def _reason(self, error: Exception) -> str:
        known = {
            "LocalEntryNotFoundError": "no connection",
            "RepositoryNotFoundError": "there is no such model, or it is private",
            "RevisionNotFoundError": f"it has no revision {self.revision!r}",
            "RemoteEntryNotFoundError": f"it has no file {self.files[-1]}",
        }
        kind = type(error).__name__
        return known.get(kind, f"{kind}: {first_line(error)}")

    def _first_of_files(self, revision: str | None) -> str:
        hub = _hub()
        *before, last = self.files
        for name in before:
            try:
                return str(hub.hf_hub_download(self.repository, name, revision=revision))
            except hub.utils.EntryNotFoundError:
                continue
        return str(hub.hf_hub_download(self.repository, last, revision=revision))


def _hub(module: str = "") -> Any:
    return imported(f"huggingface_hub{module}", "pip install 'cnnpref[timm]'")


def _verify_blob(path: Path, name: str) -> None:
    """A large file's blob in the cache is named by its SHA-256."""
    blob = path.resolve()
    if re.fullmatch("[0-9a-f]{64}", blob.name) and (digits := file_sha256(blob)) != blob.name:
        raise UserError(
            f"{blob} is damaged: its sha256 is {digits}, not its name; delete it and run"
            f" 'cnnpref fetch {name}'"
        )
