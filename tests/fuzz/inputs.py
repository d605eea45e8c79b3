"""Every kind of input that others give: how a valid one is made, changed, and read."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mutation
import mutation_hdf5
from click.testing import CliRunner
from mutation import Mutate
from sample_nets import CROP, GENERATOR, MANY, TINY, V1
from valid import (
    Make,
    archives,
    finished,
    hdf5_net,
    images,
    net,
    numbers,
    stacks,
    texts,
    torch_net,
    v0,
    words,
)

from cnnpref.cli import main
from cnnpref.images.index import find_images, read_images
from cnnpref.images.pictures import Frame, UnreadableError
from cnnpref.jobs.act_range import load_bounds
from cnnpref.jobs.image_files import fit, read_pictures
from cnnpref.jobs.nets import read_statistics
from cnnpref.nets import describe, open_net
from cnnpref.nets.caffe.files.mean import read_mean
from cnnpref.nets.zoo.archive import UnfitError, unpack
from cnnpref.planning.config import read_config
from cnnpref.planning.plan import make_plan
from cnnpref.results.reference_file import read_nature, read_references
from cnnpref.results.unit_file import check_unit, read_unit


@dataclass(frozen=True)
class Kind:
    """One kind of input. Both functions find the working directory to be that of the input.

    Attributes:
        make: writes valid files.
        target: a pattern of paths; one of those that it finds is changed.
        changes: the ways to change it.
        read: what users do with it; raises UserError where it is bad.
        strict: whether it may not even try to write elsewhere: nobody has named a file to write.
    """

    make: Make
    target: str
    changes: tuple[Mutate, ...]
    read: Callable[[Path], Any]
    strict: bool = True


def command(*words: str) -> None:
    """Run `cnnpref`; anything but its own exits comes out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        CliRunner().invoke(main, words, catch_exceptions=False)


def commands(*names: str) -> Callable[[Path], None]:
    """Commands with the config of the run, one after the other."""

    def run(_: Path) -> None:
        for name in names:
            command(*name.split(), "--config", "run.yaml")

    return run


def read_net(_: Path) -> None:
    section = {"prototxt": "net.prototxt", "caffemodel": "net.caffemodel"}
    describe(section)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = open_net(section)
    if len(loaded.input_shape) == 3:
        for last in list(loaded.layers)[-1:]:
            loaded.receptive_field(last)


def read_torch_net(path: Path) -> None:
    sys.path[:0] = ["."]
    open_net({"torch": "vision:build", "input_shape": [3, 8, 8], "weights": str(path)})


def show(place: str) -> None:
    """As a job that shows references to a net does."""
    frames = (Frame((8, 8)), Frame((8, 8), 1, 10))
    for _, content in read_images(find_images([place]).images):
        for frame in frames:
            with suppress(UnreadableError):
                frame.show(content)


def take_out(path: Path) -> None:
    show(str(path))
    with suppress(UnfitError):
        unpack(path, "photos/1.png", Path("taken.png"))


def read_mean_of(path: Path) -> None:
    read_mean(str(path))


def read_pictures_of(path: Path) -> None:
    for picture in read_pictures(path.parent if path.suffix in SHOWN else path):
        fit(picture, (8, 8))


SHOWN = (".png", ".jpg", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm")


def both(path: Path) -> None:
    """As references, and for bounds."""
    show(str(path))
    Path("alone").mkdir()
    alone = Path("alone", path.name)
    path.rename(alone)
    read_pictures_of(alone)


def plan_of(_: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = make_plan(read_config("run.yaml"), describe)
    assert len(made.series) < 10**5
    command("plan", "--quick", "--config", "run.yaml")


def say(path: Path) -> None:
    given = json.loads(path.read_text())
    spoken = given if isinstance(given, list) else [given]
    words = [each for each in map(str, spoken) if "\0" not in each]
    if not {"timm", "torchvision"} & set(":".join(words).split(":")):
        command(*words)


def read_unit_file(path: Path) -> None:
    check_unit(path)
    commands("check", "collect", "sheet", "pages")(path)
    read_unit(path)


def read_reference_file(path: Path) -> None:
    commands("check", "pages", "scores")(path)
    read_references(path)


def read_nature_file(path: Path) -> None:
    commands("check")(path)
    read_statistics(path, 8)
    read_nature(path)


BYTES, TEXT, JSON, HDF5 = (
    mutation.bytes_of,
    mutation.text_of,
    mutation.json_of,
    mutation_hdf5.hdf5_of,
)
FIELDS, WEIGHTS = mutation.prototxt_of, mutation.caffemodel_of

KINDS: dict[str, Kind] = {
    "prototxt": Kind(net(MANY), "*.prototxt", (TEXT, FIELDS, FIELDS), read_net),
    "prototxt of a generator": Kind(net(GENERATOR), "*.prototxt", (TEXT, FIELDS), read_net),
    "prototxt V1": Kind(net(V1), "*.prototxt", (TEXT, FIELDS), read_net),
    "prototxt V0": Kind(v0, "*.prototxt", (TEXT, FIELDS), read_net),
    "prototxt of a crop": Kind(net(CROP), "*.prototxt", (TEXT, FIELDS), read_net),
    "caffemodel": Kind(net(TINY), "*.caffemodel", (BYTES, WEIGHTS), read_net),
    "caffemodel V0": Kind(v0, "*.caffemodel", (BYTES, WEIGHTS), read_net),
    "caffemodel in HDF5": Kind(hdf5_net, "*.caffemodel", (BYTES, HDF5, HDF5), read_net),
    "safetensors": Kind(torch_net, "*.safetensors", (BYTES,), read_torch_net),
    "torch.save": Kind(torch_net, "*.pt", (BYTES,), read_torch_net),
    "index of shards": Kind(torch_net, "*.json", (TEXT, JSON), read_torch_net),
    "mean": Kind(numbers, "mean.*", (BYTES,), read_mean_of),
    "act range": Kind(numbers, "bounds.*", (BYTES, TEXT), load_bounds),
    "stack": Kind(stacks, "stack.npy", (BYTES,), both),
    "stack in HDF5": Kind(stacks, "stack.h5", (BYTES, HDF5, HDF5), both),
    "image": Kind(images, "*.[!y]*", (BYTES,), both),
    "archive": Kind(archives, "*.*", (BYTES,), take_out),
    "config": Kind(texts, "run.yaml", (TEXT, mutation.yaml_of, mutation.yaml_of), plan_of),
    "labels": Kind(texts, "classes.txt", (TEXT, BYTES), plan_of),
    "list of images": Kind(texts, "images.txt", (TEXT, BYTES), plan_of),
    "command line": Kind(words, "*.json", (JSON,), say, strict=False),
    "unit file": Kind(finished, "results/mine/units/*/*/*.h5", (BYTES, HDF5, HDF5), read_unit_file),
    "layer file": Kind(
        finished,
        "results/mine/layers/*.h5",
        (BYTES, HDF5, HDF5),
        commands("check", "sheet", "pages", "export --format npy --out exported --best"),
    ),
    "references": Kind(
        finished, "results/mine/references/conv1.h5", (BYTES, HDF5, HDF5), read_reference_file
    ),
    "shard of references": Kind(
        finished,
        "results/mine/references/shards/*.h5",
        (BYTES, HDF5, HDF5),
        commands("check", "merge-references", "references"),
    ),
    "nature": Kind(
        finished, "results/mine/references/nature.h5", (BYTES, HDF5, HDF5), read_nature_file
    ),
    "scores": Kind(
        finished,
        "results/mine/scores/**/*.parquet",
        (BYTES,),
        commands("check", "scores", "join-scores", "scores --sort gain", "sheet", "pages"),
    ),
    "manifest": Kind(
        finished,
        "results/mine/pictures/*/manifest.json",
        (TEXT, JSON, JSON),
        commands("check", "pages", "gallery", "share"),
    ),
    "memory of images": Kind(
        finished, "cache/**/images/*.json", (TEXT, JSON), commands("reference-images")
    ),
}
