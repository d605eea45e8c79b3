"""The drawings of the embedded net, as arrays and as files."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from places import ROOT

import cnnpref

SHAPES = ROOT / "nets" / "shapes"
NET = {"prototxt": str(SHAPES / "shapes.prototxt"), "caffemodel": str(SHAPES / "shapes.caffemodel")}
MEAN = [128, 128, 128]

Bytes = npt.NDArray[np.uint8]


def drawings(count: int, seed: int = 7) -> Bytes:
    """(count, 64, 64, 3)."""
    spec = importlib.util.spec_from_file_location("draw", SHAPES / "draw.py")
    assert spec
    assert spec.loader
    module = sys.modules["draw"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return np.asarray(module.draw(count, seed)[0])


def shapes_net() -> cnnpref.Net:
    return cnnpref.load_caffe(NET["prototxt"], NET["caffemodel"], mean=MEAN)


def write_pngs(folder: Path, pictures: Bytes, first: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(pictures, first):
        Image.fromarray(picture).save(folder / f"{number:04d}.png")
