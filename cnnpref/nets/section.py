"""From the `net` section of a config to a network, or to its description."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import torch

from cnnpref.geometry import Shape
from cnnpref.nets.caffe import load_caffe, read_graph
from cnnpref.nets.caffe.files.schema import PathLike
from cnnpref.nets.caffe.graph import Graph
from cnnpref.nets.caffe.origin import mean_file, read_from_files
from cnnpref.nets.caffe.preprocessing import input_space
from cnnpref.nets.digests import file_sha256
from cnnpref.nets.net import Net, Resize
from cnnpref.nets.zoo import fetch, find, weights_path
from cnnpref.unit_map import UnitMap, channel_maps

Section = Mapping[str, Any]
"""`net` or `generator` of a config."""

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
        resize: how photographs became its images, as `Net` has it.
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
    resize: Resize = None


def open_net(section: Section, device: str | torch.device = "cpu") -> Net:
    """The network of a config's section.

    Args:
        section: {prototxt, caffemodel, mean, scale, input_shape, inputs} for a Caffe net of files;
            {zoo} in place of its prototxt for one of the zoo; {torch, args, weights, weights_key,
            input_shape, mean, std} for a PyTorch module. Weights of the zoo, torchvision and timm
            are fetched unless they are here.
        device: "cpu", "cuda", "cuda:1" ...

    Raises:
        UserError: a file is missing, damaged or does not fit the others; weights that no address
            gives; a module cannot be built.
    """
    return _form(section).open(section, device)


def describe(section: Section) -> NetDescription:
    """The layers of the same network and the digests of its files; reads no weights.

    Raises:
        UserError: a file is missing, or the prototxt is not one; a module cannot be built.
    """
    return _form(section).describe(section)


class _Form(NamedTuple):
    """One way to name a network in a config, known by the key that it alone has."""

    open: Callable[[Section, str | torch.device], Net]
    describe: Callable[[Section], NetDescription]
    source: Callable[[Section], WeightsFile | None]
    without_weights: Callable[[Section], Section]


class WeightsFile(NamedTuple):
    """Weights that are published, and fetched when a net needs them.

    Attributes:
        key: of a config's section, that stands for them.
        path: where they are, or will be.
        fetch: fetches them unless they are here, verifies them, and gives the file.
        verified: by what.
    """

    key: str
    path: Path
    fetch: Callable[[], Path]
    verified: str


def _form(section: Section) -> _Form:
    return next(form for key, form in _FORMS.items() if key in section)


def _open_caffe(section: Section, device: str | torch.device) -> Net:
    return load_caffe(
        section["prototxt"],
        section.get("caffemodel"),
        mean=section.get("mean"),
        device=device,
        scale=section.get("scale"),
        input_shape=section.get("input_shape"),
        inputs=section.get("inputs"),
    )


def _describe_caffe(section: Section) -> NetDescription:
    return _described(section, section["prototxt"], _digests(section))


def _described(section: Section, prototxt: PathLike, sha256: Mapping[str, str]) -> NetDescription:
    graph = read_graph(prototxt, section.get("input_shape"), section.get("inputs"))
    image = graph.shapes[graph.inputs[graph.image.blob]][1:]
    weights = {name: sum(prod(b.shape) for b in blobs) for name, blobs in graph.wanted.items()}
    input_space(prototxt, graph, section.get("mean"), section.get("scale"))  # or says why not
    known = {**sha256, **_from_files(section, prototxt, graph)}
    shapes = graph.layer_shapes
    return NetDescription(shapes, image, weights, known, channel_maps(shapes), graph.refused)


def _from_files(section: Section, prototxt: PathLike, graph: Graph) -> Mapping[str, str]:
    caffemodel, mean, scale = (section.get(key) for key in ("caffemodel", "mean", "scale"))
    found = read_from_files(prototxt, graph, caffemodel, mean, scale)
    path = mean_file(prototxt, graph, mean)
    return {**found, "mean_file": file_sha256(path)} if path else found


def _open_zoo(section: Section, device: str | torch.device) -> Net:
    if "caffemodel" not in section:
        fetch(find(section["zoo"]))
    return _open_caffe(with_zoo_files(section), device)


def _describe_zoo(section: Section) -> NetDescription:
    """Known by what is published, so that a plan is the same before its weights are fetched."""
    entry = find(section["zoo"])
    settings = {key: str(value) for key, value in entry.settings.items()}
    known = {**settings, "caffemodel": entry.published, "prototxt": file_sha256(entry.prototxt)}
    left = {key: value for key, value in known.items() if key not in section}
    whole = {**entry.settings, **section}
    return _described(whole, entry.prototxt, left | _digests(section))


def with_zoo_files(section: Section) -> Section:
    """A section with the files, mean and blobs that the zoo knows, where it names one of its nets.

    Raises:
        UserError: the zoo has no net of that name.
    """
    if "zoo" not in section:
        return section
    entry = find(section["zoo"])
    return {**entry.settings, "caffemodel": str(weights_path(entry)), **section}


def published_weights(section: Section) -> WeightsFile | None:
    """The weights of a section's net, if they are published ones, of the zoo, torchvision or timm.

    Raises:
        UserError: none of that name are published.
    """
    return _form(section).source(section)


def without_fetching(section: Section) -> Section:
    """A section; or, if its weights would have to be fetched, the same net without weights.

    Raises:
        UserError: no weights of that name are published.
    """
    weights = published_weights(section)
    absent = weights is not None and not weights.path.exists()
    return _form(section).without_weights(section) if absent else section


def fetched_sha256(section: Section) -> dict[str, str]:
    """{"caffemodel" or "weights": digest of what was fetched for a section}, or nothing.

    Raises:
        UserError: they cannot be read.
    """
    weights = published_weights(section)
    return {weights.key: file_sha256(weights.path)} if weights else {}


def _digests(section: Section) -> dict[str, str]:
    paths = {key: section[key] for key in _FILE_KEYS if isinstance(section.get(key), str)}
    return {key: file_sha256(path) for key, path in paths.items()}


def _zoo_weights(section: Section) -> WeightsFile | None:
    if "caffemodel" in section:
        return None
    entry = find(section["zoo"])
    how = f"{' and '.join(entry.checksums)} as published" if entry.checksums else "as recorded"
    return WeightsFile("caffemodel", weights_path(entry), partial(fetch, entry), how)


def _open_module(section: Section, device: str | torch.device) -> Net:
    from cnnpref.nets.pytorch.build import open_module  # takes time, which others save

    return open_module(section, device)


def _describe_module(section: Section) -> NetDescription:
    from cnnpref.nets.pytorch.build import built_net, digests, metadata

    known, net, told = digests(section), built_net(section), metadata(section)
    shapes, weights = net.layers, net.weight_counts()
    named = shapes, net.input_shape, weights, known, net.maps, net.refused, told.labels
    resize = told.resize_for(net.input_shape)
    return NetDescription(*named, unlisted=net.unlisted, random=net.random, resize=resize)


def _module_weights(section: Section) -> WeightsFile | None:
    from cnnpref.nets.pytorch.published import find_published

    found = find_published(section)
    if found is None:
        return None
    return WeightsFile("weights", found.file.path, found.file.fetch, found.file.verified)


def _module_without_weights(section: Section) -> Section:
    from cnnpref.nets.pytorch.published import completed

    return {key: value for key, value in completed(section).items() if key != "weights"}


_FORMS = {
    "prototxt": _Form(_open_caffe, _describe_caffe, lambda _: None, dict),
    "zoo": _Form(
        _open_zoo,
        _describe_zoo,
        _zoo_weights,
        lambda section: {**with_zoo_files(section), "caffemodel": None},
    ),
    "torch": _Form(_open_module, _describe_module, _module_weights, _module_without_weights),
}
