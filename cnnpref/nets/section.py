"""From the `net` section of a config to a network, or to its description."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import torch

from cnnpref.errors import UserError
from cnnpref.geometry import Shape
from cnnpref.nets.caffe import load_caffe, read_graph
from cnnpref.nets.caffe.files.schema import PathLike
from cnnpref.nets.caffe.graph import Graph
from cnnpref.nets.caffe.origin import mean_file, read_from_files
from cnnpref.nets.caffe.preprocessing import input_space
from cnnpref.nets.net import Net
from cnnpref.nets.zoo import fetch, find, weights_path
from cnnpref.unit_map import UnitMap, channel_maps

_FILE_KEYS = ("prototxt", "caffemodel", "mean", "lower", "upper")  # of a section: paths, if text


@dataclass(frozen=True)
class NetDescription:
    """What a plan needs to know of a net.

    Attributes:
        layers: ordered {layer: shape without the batch}.
        input_shape: of an image or of a generator's features, without the batch.
        weights: {layer: how many numbers its weights are}, of layers that have any.
        sha256: {key of the config's section: digest of the file it names}; for what the section
            leaves to the zoo, what the zoo says of it; and what else of a net's definition
            determines its images.
        maps: {layer: where its units are}, of layers that have any.
        refused: {layer: why its units cannot be had}, of layers that are not in `layers`.
        labels: of the classes that it tells apart, in their order, if its weights' metadata say so.
        unlisted: {name: why it is no layer}, of further names that one may take for layers.
        random: layers whose values random numbers may change, in execution order.
    """

    layers: Mapping[str, Shape]
    input_shape: Shape
    weights: Mapping[str, int]
    sha256: Mapping[str, str]
    maps: Mapping[str, UnitMap]
    refused: Mapping[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    unlisted: Mapping[str, str] = field(default_factory=dict)
    random: Sequence[str] = ()


def open_net(section: Mapping[str, Any], device: str | torch.device = "cpu") -> Net:
    """The network of a config's section.

    Args:
        section: {prototxt, caffemodel, mean, scale, input_shape, inputs} for a Caffe net of files;
            {zoo} in place of its prototxt for one of the zoo, whose weights are fetched unless they
            are here; {torch, args, weights, input_shape, mean, std} for a PyTorch module.
        device: "cpu", "cuda", "cuda:1" ...

    Raises:
        UserError: a file is missing, damaged or does not fit the others; weights that no address
            gives; a module cannot be built.
    """
    return _form(section).open(section, device)


def describe(section: Mapping[str, Any]) -> NetDescription:
    """The layers of the same network and the digests of its files; reads no weights.

    Raises:
        UserError: a file is missing, or the prototxt is not one; a module cannot be built.
    """
    return _form(section).describe(section)


class _Form(NamedTuple):
    """One way to name a network in a config, known by the key that it alone has."""

    open: Callable[[Mapping[str, Any], str | torch.device], Net]
    describe: Callable[[Mapping[str, Any]], NetDescription]


def _form(section: Mapping[str, Any]) -> _Form:
    return next(form for key, form in _FORMS.items() if key in section)


def _open_caffe(section: Mapping[str, Any], device: str | torch.device) -> Net:
    return load_caffe(
        section["prototxt"],
        section.get("caffemodel"),
        mean=section.get("mean"),
        device=device,
        scale=section.get("scale"),
        input_shape=section.get("input_shape"),
        inputs=section.get("inputs"),
    )


def _describe_caffe(section: Mapping[str, Any]) -> NetDescription:
    return _described(section, section["prototxt"], _digests(section))


def _described(
    section: Mapping[str, Any], prototxt: PathLike, sha256: Mapping[str, str]
) -> NetDescription:
    graph = read_graph(prototxt, section.get("input_shape"), section.get("inputs"))
    image = graph.shapes[graph.inputs[graph.image.blob]][1:]
    weights = {name: sum(prod(b.shape) for b in blobs) for name, blobs in graph.wanted.items()}
    input_space(prototxt, graph, section.get("mean"), section.get("scale"))  # or says why not
    known = {**sha256, **_from_files(section, prototxt, graph)}
    shapes = graph.layer_shapes
    return NetDescription(shapes, image, weights, known, channel_maps(shapes), graph.refused)


def _from_files(section: Mapping[str, Any], prototxt: PathLike, graph: Graph) -> Mapping[str, str]:
    caffemodel, mean, scale = (section.get(key) for key in ("caffemodel", "mean", "scale"))
    found = read_from_files(prototxt, graph, caffemodel, mean, scale)
    path = mean_file(prototxt, graph, mean)
    return {**found, "mean_file": file_sha256(path)} if path else found


def _open_zoo(section: Mapping[str, Any], device: str | torch.device) -> Net:
    if "caffemodel" not in section:
        fetch(find(section["zoo"]))
    return _open_caffe(with_zoo_files(section), device)


def _describe_zoo(section: Mapping[str, Any]) -> NetDescription:
    """Known by what is published, so that a plan is the same before its weights are fetched."""
    entry = find(section["zoo"])
    settings = {key: str(value) for key, value in entry.settings.items()}
    known = {**settings, "caffemodel": entry.published, "prototxt": file_sha256(entry.prototxt)}
    left = {key: value for key, value in known.items() if key not in section}
    whole = {**entry.settings, **section}
    return _described(whole, entry.prototxt, left | _digests(section))


def with_zoo_files(section: Mapping[str, Any]) -> Mapping[str, Any]:
    """A section with the files, mean and blobs that the zoo knows, where it names one of its nets.

    Raises:
        UserError: the zoo has no net of that name.
    """
    if "zoo" not in section:
        return section
    entry = find(section["zoo"])
    return {**entry.settings, "caffemodel": str(weights_path(entry)), **section}


def zoo_weights(section: Mapping[str, Any]) -> Path | None:
    """Where the weights of a section's net are, or will be fetched to, if they are the zoo's.

    Raises:
        UserError: the zoo has no net of that name.
    """
    if "zoo" not in section or "caffemodel" in section:
        return None
    return weights_path(find(section["zoo"]))


def without_fetching(section: Mapping[str, Any]) -> Mapping[str, Any]:
    """A section; or, if its weights would have to be fetched, the same net without weights.

    Raises:
        UserError: the zoo has no net of that name.
    """
    path = zoo_weights(section)
    absent = path is not None and not path.exists()
    return {**with_zoo_files(section), "caffemodel": None} if absent else section


def fetched_sha256(section: Mapping[str, Any]) -> dict[str, str]:
    """{"caffemodel": digest of the weights that the zoo fetched for a section}, or nothing.

    Raises:
        UserError: they cannot be read.
    """
    path = zoo_weights(section)
    return {"caffemodel": file_sha256(path)} if path else {}


def _digests(section: Mapping[str, Any]) -> dict[str, str]:
    paths = {key: section[key] for key in _FILE_KEYS if isinstance(section.get(key), str)}
    return {key: file_sha256(path) for key, path in paths.items()}


def _open_module(section: Mapping[str, Any], device: str | torch.device) -> Net:
    from cnnpref.nets.pytorch.build import open_module  # takes time, which others save

    return open_module(section, device)


def _describe_module(section: Mapping[str, Any]) -> NetDescription:
    from cnnpref.nets.pytorch.build import builder_version, built_net

    files = {key: file_sha256(section[key]) for key in ("weights",) if key in section}
    net, version = built_net(section), builder_version(section["torch"])
    sha256 = {"builder": version, **files}
    known = net.layers, net.input_shape, net.weight_counts(), sha256
    return NetDescription(*known, net.maps, net.refused, unlisted=net.unlisted, random=net.random)


_FORMS = {
    "prototxt": _Form(_open_caffe, _describe_caffe),
    "zoo": _Form(_open_zoo, _describe_zoo),
    "torch": _Form(_open_module, _describe_module),
}


def file_sha256(path: PathLike) -> str:
    """The SHA-256 of a file, as hexadecimal digits.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; check the path") from None
