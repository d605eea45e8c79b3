"""Putting the weights of a caffemodel into a graph, by Caffe's rules."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import prod
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from cnnpref.errors import UserError
from cnnpref.geometry import Shape
from cnnpref.nets.caffe.files.caffemodel import Weights, stored_layers
from cnnpref.nets.caffe.files.hdf5_weights import is_hdf5, stored_datasets
from cnnpref.nets.caffe.files.schema import SCHEMA, PathLike
from cnnpref.nets.caffe.graph import Graph
from cnnpref.nets.caffe.layers.base import Blob, Layer

Source = Callable[[], Weights]  # reads or makes the values of a weight
_PERMISSIVE = SCHEMA["ParamSpec"].PERMISSIVE


def load_weights(graph: Graph, caffemodel: PathLike | None, device: torch.device) -> None:
    """Give every layer its weights: of the file by layer name, or else of its fillers.

    Fillers that draw random numbers are for training: what they would fill is 0.

    Layers that only the file has are ignored. Weights shared by name (`param { name }`) are one
    tensor, with the content of the last layer in the file that holds them.

    Raises:
        UserError: number or shape of a layer's blobs differ; no layer matches at all; they take
            more memory than the device has.

    Warns:
        UserWarning: layers that the file does not have.
    """
    stored = _stored(caffemodel) if caffemodel is not None else {}
    # of layers with the same name the one that has weights: there is only one such
    by_weights = sorted(graph.nodes, key=lambda node: bool(node.layer.weights))
    layers = {node.layer.name: node.layer for node in by_weights}
    owners: dict[str, tuple[str, int]] = {}  # name of a shared weight -> layer and index
    sources: dict[tuple[str, int], Source] = {}
    for name, wanted in graph.wanted.items():
        for index, blob in enumerate(wanted):
            owner = owners.setdefault(_shared_name(layers[name], index), (name, index))
            sources.setdefault(owner, blob.filled)
    for name, blobs in stored.items():
        if name in layers:
            found = _matched(layers[name], graph.wanted.get(name, []), blobs, caffemodel)
            for index, source in enumerate(found):
                sources[owners[_shared_name(layers[name], index)]] = source
    _require_memory({owner: graph.wanted[owner[0]][owner[1]].shape for owner in sources}, device)
    tensors = {owner: _tensor(source(), device) for owner, source in sources.items()}
    for name, wanted in graph.wanted.items():
        layers[name].weights = [
            _shaped(layers[name], i, tensors[owners[_shared_name(layers[name], i)]], blob.shape)
            for i, blob in enumerate(wanted)
        ]
    if caffemodel is not None:
        _report_missing(graph, stored, caffemodel)


def _require_memory(shapes: Mapping[tuple[str, int], Shape], device: torch.device) -> None:
    """Raise UserError before weights are made that this machine has no memory for."""
    sizes = {owner: 4 * prod(shape) for owner, shape in shapes.items()}
    if device.type == "cuda":
        there = torch.cuda.get_device_properties(device).total_memory
    else:
        there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if sum(sizes.values()) > there:
        layer, index = max(sizes, key=sizes.__getitem__)
        raise UserError(
            f"the weights take {sum(sizes.values()) / 2**30:,.1f} GiB, and {device} has "
            f"{there / 2**30:,.1f}: the largest are of layer {layer!r}, "
            f"{list(shapes[layer, index])}; check the sizes, or take another machine"
        )


def bilinear_layers(graph: Graph, caffemodel: PathLike) -> list[str]:
    """Those whose bilinear fillers count, as the file has no weights of them.

    Raises:
        UserError: the file is missing, truncated or not a caffemodel.
    """
    found = [
        name
        for name, blobs in graph.wanted.items()
        if any(blob.filler is not None and blob.filler.type == "bilinear" for blob in blobs)
    ]
    stored = _stored(caffemodel) if found else {}
    return [name for name in found if name not in stored]


class _Stored(Protocol):
    """A weight blob in a file of any format."""

    @property
    def shape(self) -> Shape: ...
    @property
    def legacy(self) -> bool: ...
    def array(self) -> Weights: ...


def _stored(path: PathLike) -> Mapping[str, Sequence[_Stored]]:
    return stored_datasets(path) if is_hdf5(path) else stored_layers(path)


def _tensor(array: Weights, device: torch.device) -> Tensor:
    return torch.from_numpy(np.require(array, np.float32, ["C", "W"])).to(device)


def _shared_name(layer: Layer, index: int) -> str:
    """The name under which a weight is shared, or one that is its own."""
    given = layer.message.param[index].name if index < len(layer.message.param) else ""
    return given or f"\0{layer.name}\0{index}"


def _shaped(layer: Layer, index: int, tensor: Tensor, shape: Shape) -> Tensor:
    """A shared weight for this layer; PERMISSIVE sharing reads it in row order."""
    if tuple(tensor.shape) == shape:
        return tensor
    permissive = layer.message.param[index].share_mode == _PERMISSIVE
    if not permissive or tensor.numel() != prod(shape):
        raise UserError(
            f"layer {layer.name!r}: shared weight {layer.message.param[index].name!r} has shape "
            f"{list(tensor.shape)}, this layer needs {list(shape)}; share_mode PERMISSIVE allows "
            "equal counts"
        )
    return tensor.view(shape)


def _matched(
    layer: Layer, wanted: Sequence[Blob], blobs: Sequence[_Stored], path: PathLike | None
) -> list[Source]:
    where = f"{path}: layer {layer.name!r} ({layer.kind})"
    if len(blobs) != len(wanted):
        raise UserError(
            f"{where} holds {len(blobs)} weight blobs, the prototxt asks for {len(wanted)}"
        )
    for index, (blob, want) in enumerate(zip(blobs, wanted, strict=True)):
        if not _fits(blob, want.shape):
            raise UserError(
                f"{where}: weight blob {index} has shape {list(blob.shape)} in the "
                f"caffemodel, {list(want.shape)} in the prototxt; the files are not of one net"
            )
    pairs = zip(blobs, wanted, strict=True)
    return [partial(_read, blob, want.shape, where) for blob, want in pairs]


def _read(blob: _Stored, shape: Shape, where: str) -> Weights:
    try:
        return blob.array().reshape(shape)
    except ValueError as error:
        raise UserError(f"{where}: {error}; the caffemodel is damaged") from None


def _fits(blob: _Stored, shape: Shape) -> bool:
    """Whether the shapes agree; the legacy four numbers are padded with 1 on the left."""
    if blob.legacy:
        return len(shape) <= 4 and blob.shape == (1,) * (4 - len(shape)) + shape
    return blob.shape == shape


def _report_missing(graph: Graph, stored: Mapping[str, object], path: PathLike) -> None:
    missing = [name for name in graph.wanted if name not in stored]
    if missing and len(missing) == len(graph.wanted):
        raise UserError(
            f"{path}: no layer has the name of one of the net {graph.name!r}; it holds "
            f"{', '.join(map(repr, list(stored)[:10]))}, the net wants "
            f"{', '.join(map(repr, missing[:10]))}"
        )
    if missing:
        warnings.warn(
            f"{path} has no weights for {', '.join(missing)}: they keep their fillers' values"
            f"{_random_fillers(graph, missing)}",
            UserWarning,
            stacklevel=4,
        )


def _random_fillers(graph: Graph, layers: Sequence[str]) -> str:
    """Which of the layers have fillers that draw random numbers."""
    found = {
        f"{name} ({blob.random})" for name in layers for blob in graph.wanted[name] if blob.random
    }
    return f", but 0 where these are random: {', '.join(sorted(found))}" if found else ""
