"""Torchvision's models and weights."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cnnpref.nets.pytorch.importing import imported
from cnnpref.nets.pytorch.metadata import Metadata, of_weights
from cnnpref.nets.pytorch.patching import replaced
from cnnpref.nets.pytorch.published.files import AddressFile
from cnnpref.nets.pytorch.published.library import (
    Published,
    is_path,
    unknown_model,
    unknown_weights,
)

_DEFAULT = "DEFAULT"


def published(name: str, weights: str) -> Published | None:
    """The weights of that name, also as `ResNet50_Weights.IMAGENET1K_V2`; None: a file's path."""
    kinds = _kinds_of_weights(name)
    short = weights.removeprefix(f"{kinds.__name__}.") if kinds else weights
    known = {} if kinds is None else dict(kinds.__members__)
    if short not in known:
        if is_path(weights):
            return None
        raise unknown_weights(f"torchvision:{name}", weights, known)
    chosen = known[short]
    file = AddressFile(f"torchvision:{name} --weights {chosen.name}", chosen.url)
    return Published(chosen.name, file, partial(_build, name, chosen), partial(of_weights, chosen))


def build(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """The model, with random weights; so is a backbone, which torchvision would fetch."""
    models = _models_with(name)
    given = inspect.signature(models.get_model_builder(name)).parameters
    backbone = {"weights_backbone": None} if "weights_backbone" in given else {}
    module: nn.Module = models.get_model(name, **{"weights": None, **backbone, **arguments})
    return module


def metadata(name: str) -> Metadata:
    """That of its default weights."""
    kinds = _kinds_of_weights(name)
    return of_weights(kinds.DEFAULT) if kinds and _DEFAULT in kinds.__members__ else Metadata()


def definition(name: str) -> Mapping[str, str]:  # noqa: ARG001 - as in `Library`
    """Nothing: the library itself defines its models."""
    return {}


def _models() -> Any:
    return imported("torchvision.models", "pip install 'cnnpref[torchvision]'")


def _models_with(name: str) -> Any:
    """`torchvision.models`, if it has a model of that name."""
    models = _models()
    if name not in models.list_models():
        raise unknown_model("torchvision", name, models.list_models())
    return models


def _kinds_of_weights(name: str) -> Any:
    """The enumeration of a model's weights."""
    return _models_with(name).get_model_weights(name)


def _build(name: str, weights: Any, path: Path | None, arguments: Mapping[str, Any]) -> nn.Module:
    """As torchvision builds a model with these weights, which is not as it does without."""
    with _reading(type(weights), path):
        module: nn.Module = _models().get_model(name, weights=weights, **arguments)
    return module


@contextmanager
def _reading(kind: Any, path: Path | None) -> Iterator[None]:
    """Inside, its builders load the weights of a file, and run nothing in it; None: load none."""
    state = torch.load(path, map_location="cpu", weights_only=True) if path else {}
    with ExitStack() as inside:
        inside.enter_context(replaced(kind, "get_state_dict", lambda *_, **__: state))
        if path is None:
            inside.enter_context(replaced(nn.Module, "load_state_dict", lambda *_, **__: None))
        yield
