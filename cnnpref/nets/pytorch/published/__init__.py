"""Models of torchvision and timm by name, with the weights that are published for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cnnpref.nets.pytorch.published import timm, torchvision
from cnnpref.nets.pytorch.published.library import Library, Published

__all__ = ["LIBRARIES", "Library", "Published", "completed", "find_published", "library_of"]

LIBRARIES: dict[str, Library] = {"torchvision": torchvision, "timm": timm}


def library_of(spec: str) -> tuple[Library | None, str]:
    """The library of "torchvision:resnet50", and "resnet50"; None: it names a function."""
    package, _, name = spec.partition(":")
    return LIBRARIES.get(package), name


def find_published(section: Mapping[str, Any]) -> Published | None:
    """The published weights that a section of a config asks for, if it does.

    Raises:
        UserError: the library has no such model or weights, or is not installed.
    """
    library, name = library_of(section["torch"])
    given = library and "weights" in section
    return library.published(name, section["weights"]) if library and given else None


def completed(section: Mapping[str, Any]) -> Mapping[str, Any]:
    """A section with what the library says, where it says nothing itself.

    Of published weights these are input_shape, mean and std; of a model with other weights the
    shape alone, for nobody knows how its images were prepared.
    """
    if found := find_published(section):
        return {**found.tell().settings, **section}
    library, name = library_of(section["torch"])
    if library is None or "input_shape" in section:
        return section
    shape = library.metadata(name).input_shape
    return {**section, "input_shape": list(shape)} if shape else section
