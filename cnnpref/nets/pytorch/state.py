"""Weights from a file: every form in which people save them, without running what is in it."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from cnnpref.errors import UserError, first_line, suggest
from cnnpref.nets.digests import file_sha256

State = dict[str, Tensor]

_INDEX = ".safetensors.index.json"  # names the shards of a file that was split
_COMPILED = "_orig_mod."  # what torch.compile puts into names
_COUNTER = "num_batches_tracked"  # which old files lack, and nothing needs

log = logging.getLogger("cnnpref")


def load_weights(module: nn.Module, path: str, title: str, key: str | None = None) -> None:
    """Give a module the weights of a file.

    The file may hold them on their own or among other things (`{"state_dict": ..., "epoch": 3}`),
    under their own names or with a prefix that wrappers put before all of them (`module.`,
    `model.`, `_orig_mod.`), in any precision: of all places in it, the one that fits is taken.

    Args:
        module: whose parameters have their shapes.
        path: a .safetensors file, the index of a split one, or what `torch.save` wrote.
        title: what a message calls the module.
        key: the place of the weights in the file, such as "model_ema" or "state_dict.student",
            where several fit.

    Raises:
        UserError: the file is none of these; no place in it fits, or several do.
    """
    wanted = module.state_dict()
    found = _places(_flat(_read(path)), wanted)
    if not found:
        raise UserError(f"{path}: holds no tensors by name; save module.state_dict()")
    place = _chosen(found, wanted, path, title, key)
    if place:
        log.info("%s: taken are the weights under %r", path, place)
    module.load_state_dict(found[place], strict=False)


def weights_sha256(path: str) -> str:
    """The SHA-256 of a file of weights, or over those of all shards that an index names.

    Raises:
        UserError: a file cannot be read.
    """
    digests = [file_sha256(file) for file in [Path(path), *_shards(path)]]
    one = len(digests) == 1
    return digests[0] if one else hashlib.sha256("".join(digests).encode()).hexdigest()


def _read(path: str) -> Any:
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file; give the weights' path")
    try:
        if path.endswith(_INDEX):
            return {name: t for shard in _shards(path) for name, t in load_file(shard).items()}
        if path.endswith(".safetensors"):
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except Exception as error:  # the formats' readers raise all kinds
        alone = isinstance(error, UnpicklingError)
        told = "it holds other things than tensors, or is damaged" if alone else first_line(error)
        raise UserError(
            f"{path}: cannot be read as weights: {told}; save them with "
            "torch.save(module.state_dict(), ...) or as .safetensors"
        ) from error


def _shards(path: str) -> list[Path]:
    """The files that an index names, beside it; none for other files.

    Raises:
        UserError: the index is none, or one of them is not there.
    """
    if not path.endswith(_INDEX):
        return []
    try:
        names = set(json.loads(Path(path).read_text())["weight_map"].values())
        files = [Path(path).with_name(name) for name in sorted(names)]
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(
            f"{path}: cannot be read as an index of weights ({first_line(error)}); it has the key"
            " 'weight_map', from tensors to the names of files beside it"
        ) from None
    if missing := [file.name for file in files if not file.is_file()]:
        raise UserError(f"{path}: beside it, {_briefly(missing)} missing; get all of its shards")
    return files


def _flat(value: Any, place: str = "") -> State:
    """The tensors of nested mappings by dotted name."""
    if isinstance(value, Tensor):
        return {place: value}
    inner = value.items() if isinstance(value, Mapping) else ()
    parts = ((f"{place}.{key}" if place else str(key), each) for key, each in inner)
    return {name: tensor for key, each in parts for name, tensor in _flat(each, key).items()}


def _places(tensors: State, wanted: Mapping[str, Tensor]) -> dict[str, State]:
    """{place: what lies below it, under the names that the module has for it}, best first."""
    below: dict[str, State] = {}
    for name, tensor in tensors.items():
        for place, rest in _cuts(name.replace(_COMPILED, "")):
            below.setdefault(place, {})[_own_name(rest, wanted)] = tensor
    known = {place: len(state.keys() & wanted.keys()) for place, state in below.items()}
    return {place: below[place] for place in sorted(below, key=known.__getitem__, reverse=True)}


def _cuts(name: str) -> Iterator[tuple[str, str]]:
    """("", "a.b.c"), ("a", "b.c") and ("a.b", "c") of "a.b.c"."""
    parts = name.split(".")
    return ((".".join(parts[:at]), ".".join(parts[at:])) for at in range(len(parts)))


def _own_name(name: str, wanted: Mapping[str, Tensor]) -> str:
    """A name without the `module.` of a `DataParallel` in the middle of a net."""
    return name if name in wanted else name.replace(".module.", ".")


class _Faults(NamedTuple):
    """Why tensors are not the weights of a module."""

    missing: Sequence[str]
    unknown: Sequence[str]
    of_other_shapes: Sequence[str]

    def __str__(self) -> str:
        kinds = zip(("missing", "unknown", "of other shapes"), self, strict=True)
        return "; ".join(f"{kind}: {_briefly(names)}" for kind, names in kinds if names)


def _faults(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> _Faults:
    return _Faults(
        [key for key in wanted if key not in given and not key.endswith(_COUNTER)],
        [key for key in given if key not in wanted],
        [
            f"{key} {list(given[key].shape)} for {list(value.shape)}"
            for key, value in wanted.items()
            if key in given and given[key].shape != value.shape
        ],
    )


def _chosen(
    found: Mapping[str, State],
    wanted: Mapping[str, Tensor],
    path: str,
    title: str,
    key: str | None,
) -> str:
    """The place whose tensors fit: the given one, or else the only one."""
    if key is not None and key not in found:
        raise UserError(f"{path}: weights_key: it has no place {key!r}{suggest(key, found)}")
    fitting = [place for place, state in found.items() if not any(_faults(state, wanted))]
    best = next(iter(found)) if key is None else key
    if key is None and len(fitting) > 1:
        raise UserError(
            f"{path}: holds several weights that fit {title}, under"
            f" {_briefly(list(map(repr, fitting)), 8)}; choose by weights_key: {fitting[0]}"
        )
    if best not in fitting:
        where = f", under {best!r}" if best else ""
        raise UserError(
            f"{path}: not the weights of {title}{where}: {_faults(found[best], wanted)}"
        )
    return best


def _briefly(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
