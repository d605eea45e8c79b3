"""A module from its entry in a config: what builds it, and the file of its weights."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from cnnpref.errors import UserError, first_line, suggest
from cnnpref.nets.net import Net
from cnnpref.nets.pytorch.net import TorchNet, load_torch

Section = Mapping[str, Any]
Builder = Callable[..., Any]

# Packages of models: how one is built without weights, and where their names are listed.
_COLLECTIONS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "torchvision": ("torchvision.models", "get_model", {"weights": None}),
    "timm": ("timm", "create_model", {"pretrained": False}),
}
_NESTS = ("state_dict", "model_state_dict", "model")  # where checkpoints keep the weights


def open_module(section: Section, device: str | torch.device) -> Net:
    """The net of a section {torch, args, weights, input_shape, mean, std}.

    Raises:
        UserError: nothing can be built of it, or the weights do not fit.
    """
    module = _build(section)
    if "weights" in section:
        _load_weights(module, section["weights"], section["torch"])
    return _as_net(module.to(device), section)


def built_net(section: Section) -> Net:
    """That net to look at; reads no weights, and computes nothing where the module allows that.

    Raises:
        UserError: nothing can be built of it.
    """
    try:
        with torch.device("meta"):
            return _as_net(_build(section).to("meta"), section)
    except Exception:  # code that needs values: a branch, a NumPy array, weights of its own
        return _as_net(_build(section), section)


def builder_version(spec: str) -> str:
    """What else than its name determines what a builder makes.

    The version of the package for "torchvision:..." and "timm:...", else the SHA-256 of the source
    file that defines the function.
    """
    package, builder = spec.partition(":")[0], _find_builder(spec)
    if package in _COLLECTIONS:
        return f"{package} {version(package)}"
    try:
        file = inspect.getsourcefile(builder)
    except TypeError:  # an instance with __call__
        file = sys.modules[package].__file__
    return hashlib.sha256(Path(file).read_bytes() if file else b"").hexdigest()


def _as_net(module: nn.Module, section: Section) -> TorchNet:
    given = {key: section[key] for key in ("mean", "std") if key in section}
    return load_torch(module, section["input_shape"], name=section["torch"], **given)


def _build(section: Section) -> nn.Module:
    """The module, with its random weights, if it has any, always the same."""
    spec, arguments = section["torch"], section.get("args", {})
    builder = _find_builder(spec)
    try:
        with _seeded():
            module = builder(**arguments)
    except Exception as error:  # whatever a user's function may raise
        told = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        known = _known_models(spec)
        name = spec.partition(":")[2]
        hint = suggest(name, known) if name not in known else ""
        raise UserError(
            f"{spec}({told}) failed: {type(error).__name__}: {first_line(error)}{hint}"
        ) from error
    if not isinstance(module, nn.Module):
        raise UserError(f"{spec} gives {type(module).__name__}; it must give an nn.Module")
    return module


@contextmanager
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        yield


def _find_builder(spec: str) -> Builder:
    package, _, name = spec.partition(":")
    if package in _COLLECTIONS:
        path, function, without_weights = _COLLECTIONS[package]
        build = getattr(_import(path, f"pip install {package}"), function)
        return partial(build, name, **without_weights)
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)  # as for `python -m`
    found = _import(package, f"install it, or put it below {here}")
    for part in name.split("."):
        if not hasattr(found, part):
            raise UserError(f"{spec}: {package!r} has no {part!r}{suggest(part, dir(found))}")
        found = getattr(found, part)
    if not callable(found):
        raise UserError(f"{spec} is no function or class, but {type(found).__name__}")
    builder: Builder = found
    return builder


def _import(path: str, advice: str) -> Any:
    try:
        return import_module(path)
    except Exception as error:  # its own code may raise anything
        raise UserError(
            f"cannot import {path!r}: {type(error).__name__}: {first_line(error)}; {advice}"
        ) from error


def _known_models(spec: str) -> Sequence[str]:
    """The names in a package of models; none for another builder."""
    package = spec.partition(":")[0]
    if package not in _COLLECTIONS:
        return ()
    names: Sequence[str] = import_module(_COLLECTIONS[package][0]).list_models()
    return names


def _load_weights(module: nn.Module, path: str, spec: str) -> None:
    given, wanted = _read_weights(path), module.state_dict()
    faults = {
        "missing": [k for k in wanted if k not in given and not k.endswith("num_batches_tracked")],
        "unknown": [key for key in given if key not in wanted],
        "of other shapes": [
            f"{key} {list(given[key].shape)} for {list(value.shape)}"
            for key, value in wanted.items()
            if key in given and given[key].shape != value.shape
        ],
    }
    if any(faults.values()):
        told = "; ".join(f"{what}: {_briefly(names)}" for what, names in faults.items() if names)
        raise UserError(f"{path}: not the weights of {spec}: {told}")
    module.load_state_dict(given, strict=False)


def _briefly(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _read_weights(path: str) -> dict[str, Tensor]:
    """Tensors by name, without the prefix that `DataParallel` puts before them."""
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file; give the weights' path")
    try:
        if Path(path).suffix == ".safetensors":
            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the formats' readers raise all kinds
        alone = isinstance(error, UnpicklingError)
        told = "it holds other things than tensors, or is damaged" if alone else first_line(error)
        raise UserError(
            f"{path}: cannot be read as weights: {told}; save them with "
            "torch.save(module.state_dict(), ...) or as .safetensors"
        ) from error
    nest = next((key for key in _NESTS if isinstance(state, dict) and key in state), None)
    state = state if nest is None else state[nest]
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise UserError(f"{path}: holds no tensors by name; save module.state_dict()")
    prefix = "module." if all(key.startswith("module.") for key in state) else ""
    return {key.removeprefix(prefix): value for key, value in state.items()}
