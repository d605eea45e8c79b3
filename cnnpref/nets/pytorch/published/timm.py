"""Timm's models and weights, and those on the Hugging Face hub that it reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from cnnpref.errors import UserError
from cnnpref.nets.digests import file_sha256
from cnnpref.nets.pytorch.importing import imported
from cnnpref.nets.pytorch.metadata import Metadata, of_timm, timm_labels
from cnnpref.nets.pytorch.published.files import AddressFile, HubFile
from cnnpref.nets.pytorch.published.library import (
    Published,
    is_path,
    unknown_model,
)

_INSTALL = "pip install 'cnnpref[timm]'"
_HUB = "hf-hub:"
_FILES = ("model.safetensors", "pytorch_model.bin")  # as timm looks for them
_CONFIG = "config.json"  # of a model on the hub: what it is made of
_NAMES = ("pretrained", "DEFAULT")
# Keys of a config.json beside `pretrained_cfg` that count for more than what that says.
_ABOVE = ("num_classes", "label_names", "label_descriptions")


def published(name: str, weights: str) -> Published | None:
    """The weights of a model's tag; None: a file's path."""
    hub = _hub_file(name)
    file = hub or _file(name, _registered(name))
    if weights not in _NAMES:
        if is_path(weights):
            return None
        raise UserError(
            f"timm:{name}: no weights {weights!r}; allowed: {_NAMES[0]}, or the path of a file;"
            f" timm's names of weights are part of the model's: {_tagged(name)}"
        )
    if file is None:
        raise UserError(f"timm:{name}: no weights are published for it; there are {_tagged(name)}")
    return Published(_NAMES[0], file, partial(_build, name), partial(_labelled, name))


def build(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """The model, with random weights."""
    _told(name)  # or says that there is none
    return _build(name, None, arguments)


def metadata(name: str) -> Metadata:
    """That of its tag, or of its default one."""
    told = _told(name)
    return of_timm(told) if told else Metadata()


def _labelled(name: str) -> Metadata:
    told = _told(name)
    return replace(of_timm(told), labels=timm_labels(told))


def definition(name: str) -> Mapping[str, str]:
    """The config of a model on the hub, that timm makes it of."""
    hub = _hub_file(name)
    return {_CONFIG: file_sha256(_config(hub))} if hub else {}


def _timm() -> Any:
    return imported("timm", _INSTALL)


def _hub_file(name: str) -> HubFile | None:
    if not name.startswith(_HUB):
        return None
    repository, _, revision = name.removeprefix(_HUB).partition("@")
    return HubFile(f"timm:{name}", repository, _FILES, revision or None, (_CONFIG,))


def _file(name: str, told: Mapping[str, Any]) -> AddressFile | HubFile | None:
    """Where timm would look for the weights of a model that it knows; None: nowhere."""
    if repository := told.get("hf_hub_id"):
        other = told.get("hf_hub_filename")
        return HubFile(f"timm:{name}", repository, (other,) if other else _FILES)
    address = told.get("url")
    return AddressFile(f"timm:{name}", address) if address else None


def _told(name: str) -> Mapping[str, Any]:
    """The `pretrained_cfg` of a model."""
    hub = _hub_file(name)
    if hub is None:
        return _registered(name)
    told = json.loads(_config(hub).read_text("utf-8"))
    inner = told.get("pretrained_cfg", told)
    return {**_blank(), **inner, **{key: told[key] for key in _ABOVE if key in told}}


def _registered(name: str) -> Mapping[str, Any]:
    timm = _timm()
    known = [*timm.list_models(), *timm.list_pretrained()]
    architecture, _, tag = name.partition(".")
    if tag and architecture in known and name not in known:
        raise UserError(f"timm:{architecture} has no weights {tag!r}; there are {_tagged(name)}")
    if name not in known:
        raise unknown_model("timm", name, known)
    told = timm.get_pretrained_cfg(name)
    return told.to_dict() if told else {}


def _tagged(name: str) -> str:
    """The names of a model with weights."""
    architecture = name.partition(".")[0]
    found = _timm().list_pretrained(f"{architecture}.*")
    return ", ".join(f"timm:{each}" for each in found) or "none of this architecture"


def _blank() -> dict[str, Any]:
    blank: dict[str, Any] = imported("timm.models", _INSTALL).PretrainedCfg().to_dict()
    return blank


def _config(hub: HubFile) -> Path:
    path = hub.companion(_CONFIG)
    if path is None:
        raise UserError(
            f"{hub.name}: its {_CONFIG}, which says what it is made of, is not in"
            f" the cache of the Hugging Face hub; run 'cnnpref fetch {hub.name}' first"
        )
    return path


def _build(name: str, path: Path | None, arguments: Mapping[str, Any]) -> nn.Module:
    """As timm builds a model; with weights as it loads those of any file."""
    hub = _hub_file(name)
    source = f"local-dir:{_config(hub).parent}" if hub else name
    given = {} if path is None else {"file": str(path), "source": ""}
    module: nn.Module = _timm().create_model(
        source, pretrained=path is not None, pretrained_cfg_overlay=given or None, **arguments
    )
    return module
