"""What torchvision and timm say of the images that their models take, and of the classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cnnpref.geometry import Shape
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
    """

    input_shape: Shape | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    labels: tuple[str, ...] = ()

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments of `load_torch`, and keys of a config's section, that it knows."""
        told = asdict(self)
        return {k: list(told[k]) for k in ("input_shape", "mean", "std") if told[k] is not None}


def of_weights(weights: Any) -> Metadata:
    """Of weights of torchvision, a member of a `WeightsEnum`."""
    transforms = weights.transforms()
    size = getattr(transforms, _SIZES.get(type(transforms).__name__, ""), None)
    labels = tuple(weights.meta.get("categories", ()))
    if not size:
        return Metadata(labels=labels)
    mean, std = tuple(transforms.mean), tuple(transforms.std)
    height, width = size * (2 // len(size))  # of one number or two
    return Metadata((len(mean), height, width), mean, std, labels)


def of_timm(told: Mapping[str, Any]) -> Metadata:
    """Of the `pretrained_cfg` of a model of timm, without the labels."""
    shape, mean, std = (tuple(told[key]) for key in ("input_size", "mean", "std"))
    return Metadata(shape, mean, std)


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
