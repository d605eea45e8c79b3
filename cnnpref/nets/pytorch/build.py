"""A module from its entry in a config: what builds it, and the file of its weights."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cnnpref.errors import UserError, first_line, suggest
from cnnpref.nets.net import Net
from cnnpref.nets.pytorch.importing import imported
from cnnpref.nets.pytorch.lazy import build_lazy
from cnnpref.nets.pytorch.load import load_torch
from cnnpref.nets.pytorch.metadata import Metadata
from cnnpref.nets.pytorch.net import TorchNet
from cnnpref.nets.pytorch.patching import replaced
from cnnpref.nets.pytorch.published import completed, find_published, library_of
from cnnpref.nets.pytorch.state import load_weights, weights_sha256

Section = Mapping[str, Any]
Builder = Callable[..., Any]


def open_module(section: Section, device: str | torch.device) -> Net:
    """The net of a section {torch, args, weights, input_shape, mean, std}.

    Raises:
        UserError: nothing can be built of it, or the weights do not fit.
    """
    published = find_published(section)
    path = published.file.fetch() if published else None
    whole = completed(section)
    module = _build(whole, path)
    if "weights" in section and not published:
        load_weights(module, section["weights"], section["torch"], section.get("weights_key"))
    return _as_net(module.to(device), whole)


def built_net(section: Section) -> TorchNet:
    """That net to look at; reads no weights, and computes nothing where the module allows that.

    Raises:
        UserError: nothing can be built of it.
    """
    whole = completed(section)
    for without_values in (torch.device("meta"), _weightless()):
        try:
            with without_values:
                module = _build(whole).to("meta")
            with torch.device("meta"):
                return _as_net(module, whole)
        except Exception:  # code that needs values: a branch, a NumPy array, weights of its own
            continue
    return _as_net(_build(whole), whole)


def metadata(section: Section) -> Metadata:
    """What is said of its published weights; nothing of others."""
    published = find_published(section)
    return published.tell() if published else Metadata()


def digests(section: Section) -> dict[str, str]:
    """What determines the images of a section's net, beside what it says itself.

    Published weights are known by their name and what is published of them.
    """
    published = find_published(section)
    known = {"builder": _builder_version(section["torch"])}
    library, name = library_of(section["torch"])
    if library:
        left = {k: v for k, v in completed(section).items() if k not in section}
        known |= {**library.definition(name), **{key: str(value) for key, value in left.items()}}
    if published:
        return {**known, "weights": published.known_as}
    files = {"weights": weights_sha256(section["weights"])} if "weights" in section else {}
    return {**known, **files}


def _builder_version(spec: str) -> str:
    """What else than its name determines what a builder makes.

    The version of the package for "torchvision:..." and "timm:...", else the SHA-256 of the source
    file that defines the function.
    """
    package = spec.partition(":")[0]
    if library_of(spec)[0]:
        return f"{package} {version(package)}"
    builder = _find_builder(spec)
    try:
        file = inspect.getsourcefile(builder)
    except TypeError:  # an instance with __call__
        file = sys.modules[package].__file__
    return hashlib.sha256(Path(file).read_bytes() if file else b"").hexdigest()


def _as_net(module: nn.Module, section: Section) -> TorchNet:
    given = {key: section[key] for key in ("mean", "std", "input_shape") if key in section}
    net = load_torch(module, name=section["torch"], **given)
    net.resize = metadata(section).resize_for(net.input_shape)
    return net


def _build(section: Section, weights: Path | None = None) -> nn.Module:
    """The module with published weights, or its random ones, if it has any, always the same."""
    spec, arguments = section["torch"], section.get("args", {})
    published, (library, name) = find_published(section), library_of(spec)
    try:
        with _seeded():
            if published:
                module = published.build(weights, arguments)
            elif library:
                module = library.build(name, arguments)
            else:
                module = _find_builder(spec)(**arguments)
            if isinstance(module, nn.Module) and "input_shape" in section:
                build_lazy(module, section["input_shape"])
    except UserError:
        raise
    except Exception as error:  # whatever a user's function may raise
        told = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        raise UserError(
            f"{spec}({told}) failed: {type(error).__name__}: {first_line(error)}"
        ) from error
    if not isinstance(module, nn.Module):
        raise UserError(f"{spec} gives {type(module).__name__}; it must give an nn.Module")
    return module


@contextmanager
def _weightless() -> Iterator[None]:
    """Inside, parameters lose their values as soon as a module has them; nothing else does."""
    register = nn.Module.register_parameter

    def without_values(module: nn.Module, name: str, param: nn.Parameter | None) -> None:
        register(module, name, param)
        if type(param) is nn.Parameter and not param.is_meta:
            module._parameters[name] = nn.Parameter(param.to("meta"), param.requires_grad)

    with replaced(nn.Module, "register_parameter", without_values):
        yield


@contextmanager
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        yield


def _find_builder(spec: str) -> Builder:
    package, _, name = spec.partition(":")
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)  # as for `python -m`
    found = imported(package, f"install it, or put it below {here}")
    for part in name.split("."):
        if not hasattr(found, part):
            raise UserError(f"{spec}: {package!r} has no {part!r}{suggest(part, dir(found))}")
        found = getattr(found, part)
    if not callable(found):
        raise UserError(f"{spec} is no function or class, but {type(found).__name__}")
    builder: Builder = found
    return builder
