"""What torchvision and timm say of the images that their models take, and of the classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import floor
from typing import Any

from cnnpref.geometry import Shape
from cnnpref.nets.net import Resize
from cnnpref.nets.pytorch.importing import imported

# Transforms of torchvision that feed one image, and what they call its size.
_SIZES = {"ImageClassification": "crop_size", "SemanticSegmentation": "resize_size"}


@dataclass(frozen=True)
class Metadata:
    """What a library says of a model.

    Attributes:
        input_shape: (C, H, W) of its images; None: unknown.
        mean, std: of each channel, on the scale 0..1; None: unknown.
        labels: of the units of its last layer; none: unknown.
        resize: what photographs are scaled to before the middle is taken, see `Net`; None: unknown,
            or just so that they cover the image.
    """

    input_shape: Shape | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    labels: tuple[str, ...] = ()
    resize: Resize = None

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments of `load_torch`, and keys of a config's section, that it knows."""
        told = asdict(self)
        return {k: list(told[k]) for k in ("input_shape", "mean", "std") if told[k] is not None}

    def resize_for(self, shape: Shape) -> Resize:
        """The same share of photographs for images (C, H, W) of another size."""
        if self.resize is None or self.input_shape is None or len(shape) != len(self.input_shape):
            return None
        (_, *old), (_, *new) = self.input_shape, shape
        if isinstance(self.resize, int):
            return round(self.resize * max(n / o for n, o in zip(new, old, strict=True)))
        down, across = (r * n / o for r, n, o in zip(self.resize, new, old, strict=True))
        return round(down), round(across)


def of_weights(weights: Any) -> Metadata:
    """Of weights of torchvision, a member of a `WeightsEnum`."""
    transforms = weights.transforms()
    size = getattr(transforms, _SIZES.get(type(transforms).__name__, ""), None)
    labels = tuple(weights.meta.get("categories", ()))
    if not size:
        return Metadata(labels=labels)
    mean, std = tuple(transforms.mean), tuple(transforms.std)
    height, width = size * (2 // len(size))  # of one number or two
    larger = transforms.resize_size if hasattr(transforms, "crop_size") else ()
    resize = None if not larger else larger[0] if len(larger) == 1 else tuple(larger)
    return Metadata((len(mean), height, width), mean, std, labels, resize)


def of_timm(told: Mapping[str, Any]) -> Metadata:
    """Of the `pretrained_cfg` of a model of timm, without the labels."""
    shape, mean, std = (tuple(told[key]) for key in ("input_size", "mean", "std"))
    down, across = (floor(size / told.get("crop_pct", 1)) for size in shape[1:])
    ways = {"center": min(down, across), "squash": (down, across)}  # as timm's transforms do
    return Metadata(shape, mean, std, resize=ways.get(told.get("crop_mode", "center")))


def timm_labels(told: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the classes, of the `pretrained_cfg` of a model of timm."""
    data = imported("timm.data", "pip install 'cnnpref[timm]'")
    names, texts = told.get("label_names"), told.get("label_descriptions") or {}
    if isinstance(names, Mapping):  # from indices, which JSON has as texts
        names = [name for _, name in sorted((int(index), name) for index, name in names.items())]
    if not names and (subset := data.infer_imagenet_subset(dict(told))):
        info = data.ImageNetInfo(subset)
        return tuple(info.index_to_description(unit) for unit in range(info.num_classes()))
    if not names or len(names) != told.get("num_classes", len(names)):
        return ()
    return tuple(str(texts.get(name, name)) for name in names)


def of_module(module: Any) -> Metadata:
    """Of a module that timm made; of another one nothing is known."""
    told = getattr(module, "pretrained_cfg", None)
    return of_timm(told) if isinstance(told, Mapping) and "input_size" in told else Metadata()
