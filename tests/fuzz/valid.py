"""Valid inputs of every kind, written into the working directory."""

from __future__ import annotations

import json
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import h5py
import numpy as np
import torch
import yaml
from builders import SOURCE
from calling import call
from PIL import Image
from safetensors.torch import save_file
from sample_nets import TINY, V0, save_v0, to_hdf5
from small_nets import write_net

from cnnpref.nets.caffe.files.schema import SCHEMA

Make = Callable[[], None]
SHOWING = ("sheet", "pages", "gallery", "share")


def net(text: str) -> Make:
    return lambda: write_net(Path("net.prototxt"), text)


def v0() -> None:
    Path("net.prototxt").write_text(V0)
    save_v0(Path("net.caffemodel"))


def hdf5_net() -> None:
    net(TINY)()
    to_hdf5(Path("net.caffemodel"))


def torch_net() -> None:
    Path("vision.py").write_text(SOURCE)
    sys.path[:0] = ["."]
    torch.manual_seed(0)
    state = import_module("vision").build().state_dict()
    save_file(state, "net.safetensors")
    torch.save({"state_dict": state, "epoch": 3}, "net.pt")
    index = {"metadata": {}, "weight_map": dict.fromkeys(state, "net.safetensors")}
    Path("net.safetensors.index.json").write_text(json.dumps(index))


def numbers() -> None:
    random = np.random.default_rng(0)
    np.save("mean.npy", random.uniform(0, 255, (3, 5, 5)).astype(np.float32))
    np.save("bounds.npy", random.uniform(0, 9, 7).astype(np.float32))
    Path("bounds.txt").write_text(" ".join(map(str, random.uniform(0, 9, 7).round(4))) + "\n")
    blob = SCHEMA["BlobProto"]()
    blob.num, blob.channels, blob.height, blob.width = 1, 3, 2, 2
    blob.data.append(random.uniform(0, 255, 12).astype("<f4").tobytes())
    Path("mean.binaryproto").write_bytes(blob.SerializeToString())


def stacks() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (4, 9, 9, 3), np.uint8)
    np.save("stack.npy", pictures)
    with h5py.File("stack.h5", "w") as file:
        file.create_dataset("images", data=pictures, chunks=(1, 9, 9, 3), compression="gzip")
        file["labels"] = np.arange(4)


def images() -> None:
    random = np.random.default_rng(0)
    pixels = Image.fromarray(random.integers(0, 256, (12, 15, 3), np.uint8))
    for suffix in ("png", "jpg", "gif", "bmp", "webp", "tif", "ppm"):
        pixels.save(f"image.{suffix}")
    pixels.convert("RGBA").save("alpha.png")
    Image.fromarray(random.integers(0, 65536, (9, 9), np.uint16)).save("deep.png")
    pixels.save("packed.tiff", compression="tiff_lzw")
    pixels.convert("P").save("palette.png", transparency=0)


def archives() -> None:
    Path("photos").mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (12, 12, 3), np.uint8)
        Image.fromarray(pixels).save(f"photos/{number}.png")
    for kind in ("zip", "tar", "gztar", "bztar", "xztar"):
        shutil.make_archive("photos", kind, ".", "photos")
    with zipfile.ZipFile("stored.zip", "w") as archive:
        archive.write("photos/0.png")
        archive.write("photos/1.png", "../../outside.png")
    with tarfile.open("links.tar", "w") as linked:
        linked.add("photos/0.png", "../outside.png")
        entry = tarfile.TarInfo("link.png")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/hostname"
        linked.addfile(entry)


def texts() -> None:
    net(TINY)()
    archives()
    Path("classes.txt").write_text("tench, Tinca tinca\ngoldfish\nzebra\nspider\nbanana\n")
    Path("images.txt").write_text("# mine\nphotos/0.png 3\nphotos/1.png\nphotos.zip\n")
    net_of = {"prototxt": "net.prototxt", "caffemodel": "net.caffemodel", "mean": [104, 117, 123]}
    config = {
        "run": "mine",
        "net": net_of,
        "methods": ["gd", "spectral"],
        "layers": {"conv1": {"units": "0-3", "position": [1, 2]}, "fc": {"units": ["zebra", 1]}},
        "labels": "classes.txt",
        "batch": 4,
        "seeds": 2,
        "options": {"gd": {"iter_n": 3}},
        "references": {"images": ["images.txt", "photos"], "top": 3, "resize": 12},
        "sheets": {"units": 9, "under": ["label", "gain"]},
        "evaluate": [net_of],
        "judge": {**net_of, "layer": "fc", "labels": list("abcde"), "classes": {"0": 1}},
    }
    Path("run.yaml").write_text(yaml.safe_dump(config))


def words() -> None:
    finished()
    lines = [
        "plan --quick --config run.yaml",
        "check --config run.yaml",
        "sheet --config run.yaml --layer conv1 --out a.png --units 0-2 --sort activation --top 2",
        "export --config run.yaml --format npy --out exported --layer conv1 --method gd --best",
        "scores run.yaml --layer conv1 --sort gain --top 3",
        "info --prototxt net.prototxt --caffemodel net.caffemodel",
        "act-range --prototxt net.prototxt --caffemodel net.caffemodel --mean 1,2,3"
        " --images photos --layer fc --k 2 --out bounds --device cpu",
        "generate --config run.yaml --layer conv1 --method gd --units 0-1 --device cpu --threads 1",
        "look net.prototxt conv1 --units 0-1 --method gd --out look.png --device cpu --keep kept",
        "init net.prototxt --caffemodel net.caffemodel --mean 1,2,3",
        "clean --config run.yaml --dry-run",
        "references --config run.yaml --shard 0 --device cpu",
        "pages --config run.yaml --layer conv1",
        "nets",
    ]
    for number, line in enumerate(lines):
        Path(f"{number}.json").write_text(json.dumps(line.split()))


def finished() -> None:
    """A run of three units with references, pages and scores."""
    net(TINY)()
    archives()
    config = {
        "run": "mine",
        "net": {"prototxt": "net.prototxt", "caffemodel": "net.caffemodel"},
        "methods": ["gd"],
        "layers": {"conv1": {"units": "0-2", "labels": list("abcdef")}},
        "options": {"gd": {"iter_n": 2}},
        "keep_frames": 2,
        "references": {"images": "photos", "top": 2},
    }
    Path("run.yaml").write_text(yaml.safe_dump(config))
    for name in ("generate", "references", "collect", "scores", "join-scores", *SHOWING):
        result = call(name, "--config", "run.yaml")
        assert result.exit_code == 0, result.output
