"""What a library of models must tell, and what is told of one of its models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from cnnpref.errors import UserError, suggest
from cnnpref.nets.pytorch.metadata import Metadata
from cnnpref.nets.pytorch.published.files import AddressFile, HubFile

_ENDINGS = (".pt", ".pth", ".bin", ".ckpt", ".tar", ".safetensors", ".json")


@dataclass(frozen=True)
class Published:
    """Weights that a library publishes for one of its models.

    Attributes:
        tag: what the library calls them, such as "IMAGENET1K_V2".
        file: with the weights; fetched when it is wanted.
        build: makes the model, of arguments: with the weights of a file, or (None) without, but
            otherwise the same.
        tell: what the library says of them; of a model on a hub, from a file that is fetched too.
    """

    tag: str
    file: AddressFile | HubFile
    build: Callable[[Path | None, Mapping[str, Any]], Any]
    tell: Callable[[], Metadata]

    @property
    def known_as(self) -> str:
        """What keys of results know them by, before and after they are fetched."""
        return f"{self.tag} {self.file.published}"


class Library(Protocol):
    """A library of models."""

    def published(self, name: str, weights: str) -> Published | None:
        """The weights of that name for a model; None: it is the path of a file.

        Raises:
            UserError: the library is not installed, or has no such model or weights.
        """

    def build(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """The model, with random weights."""

    def metadata(self, name: str) -> Metadata:
        """What is known of a model, whatever its weights are."""

    def definition(self, name: str) -> Mapping[str, str]:
        """{what: digest} of files that define a model, but for the library itself."""


def is_path(weights: str) -> bool:
    """Whether weights are given as a file."""
    return "/" in weights or weights.lower().endswith(_ENDINGS) or Path(weights).is_file()


def unknown_model(library: str, name: str, known: Iterable[str]) -> UserError:
    """Says which models are near."""
    names = list(known)
    return UserError(
        f"{library} {version(library)} has no model {name!r}{suggest(name, names)};"
        f" list_models() of {library} names its {len(names):,} models"
    )


def unknown_weights(spec: str, weights: str, allowed: Iterable[str]) -> UserError:
    """Says which weights there are."""
    names = list(allowed)
    return UserError(
        f"{spec}: no weights {weights!r}{suggest(weights, names)};"
        f" allowed: {', '.join(names)}, or the path of a file"
    )
