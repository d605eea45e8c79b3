"""What the zoo knows of each net: definition, mean, licence, and where its weights are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

from cnnpref.errors import UserError, suggest

OWN_REGISTRY = "CNNPREF_ZOO"  # the environment variable that names a lab's own registry

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Entry:
    """A net of the zoo.

    Attributes:
        name: what a config and `cnnpref fetch` call it.
        prototxt: the file with its definition.
        mean: what was subtracted from its images, or is to be added to those that it makes: BGR.
        weights: the name of its caffemodel in the cache folder.
        addresses: where the caffemodel, or the archive with it, is published: tried in this order.
        archive: the name of that archive, if there is one.
        member: the end of the caffemodel's path in the archive.
        parameters: how many numbers the weights hold, if that is known.
        size: of the caffemodel, in bytes, if that is known.
        checksums: {"sha1" or "sha256": hexadecimal digits} of the caffemodel, as published.
        kind: "classifier" or "generator".
        input, output: the blobs of a generator's features and image.
    """

    name: str
    prototxt: Path
    mean: tuple[float, ...]
    weights: str
    addresses: tuple[str, ...]
    archive: str | None = None
    member: str | None = None
    parameters: int | None = None
    size: int | None = None
    checksums: Mapping[str, str] = field(default_factory=dict)
    kind: str = "classifier"
    input: str | None = None
    output: str | None = None
    title: str = ""
    paper: str = ""
    licence: str = "unknown"
    source: str = ""

    @property
    def settings(self) -> dict[str, Any]:
        """What a config's section says where it does not name the zoo."""
        blobs = {"input": self.input, "output": self.output}
        given = {key: blob for key, blob in blobs.items() if blob is not None}
        return {"prototxt": str(self.prototxt), "mean": list(self.mean), **given}

    @property
    def published(self) -> str:
        """What the weights are known by: their first published checksum, or else first address."""
        for kind, digits in self.checksums.items():
            return f"{kind}:{digits}"
        return self.addresses[0]


def read_zoo() -> dict[str, Entry]:
    """All entries by name: the zoo's own, and those of the file that `CNNPREF_ZOO` names.

    An entry of that file takes the place of the zoo's of the same name.

    Raises:
        UserError: that file cannot be read, or says something else than a registry does.
    """
    own = os.environ.get(OWN_REGISTRY)
    entries = _read(_FOLDER / "registry.yaml") | (_read(Path(own)) if own else {})
    _check_names(entries, own)
    return entries


def find(name: str) -> Entry:
    """The entry of that name.

    Raises:
        UserError: there is none; names the nearest.
    """
    entries = read_zoo()
    if name not in entries:
        raise UserError(
            f"the zoo has no net {name!r}{suggest(name, entries)};"
            f" 'cnnpref nets' lists its {len(entries)} nets"
        )
    return entries[name]


def _read(path: Path) -> dict[str, Entry]:
    try:
        raw = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"the registry of nets {path} cannot be read: {reason}") from None
    fault = next(_validator().iter_errors(raw), None)
    if fault:
        place = ".".join(map(str, fault.absolute_path)) or "it"
        raise UserError(
            f"the registry of nets {path}: {place}: {fault.message};"
            f" {_FOLDER / 'registry.yaml'} shows how it is written"
        )
    return {str(name): _entry(str(name), told, path.parent) for name, told in raw.items()}


@cache
def _validator() -> Draft202012Validator:
    schema = (_FOLDER / "registry.schema.yaml").read_text("utf-8")
    return Draft202012Validator(yaml.safe_load(schema))


def _entry(name: str, told: Mapping[str, Any], folder: Path) -> Entry:
    return Entry(
        **{
            **told,
            "name": name,
            "prototxt": folder / told["prototxt"],
            "mean": tuple(map(float, told["mean"])),
            "addresses": tuple(told["addresses"]),
        }
    )


def _check_names(entries: Mapping[str, Entry], path: str | None) -> None:
    """Two nets must not share a file of weights."""
    owners: dict[str, str] = {}
    for entry in entries.values():
        other = owners.setdefault(entry.weights, entry.name)
        if other != entry.name:
            raise UserError(
                f"the registry of nets {path}: {entry.name} and {other} have the same weights,"
                f" {entry.weights}; rename those of one of them"
            )
