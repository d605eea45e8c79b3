"""Any PyTorch module as a Net: what must hold for it, and what it says of its images itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import isfinite
from typing import Any

import torch
from torch import nn

from cnnpref.errors import UserError
from cnnpref.geometry import Shape
from cnnpref.input_space import InputSpace
from cnnpref.nets.kernels import find_device
from cnnpref.nets.pytorch.lazy import build_lazy
from cnnpref.nets.pytorch.metadata import Metadata, of_module, of_weights
from cnnpref.nets.pytorch.net import TorchNet

_QUANTIZED = re.compile(r"^torch\.ao\.nn\.(\w+\.)*quantized\.")  # modules that make modules
_FILM = 4  # axes: channels, times, rows, columns
_MOST = 4  # channels of images; of more, they are a generator's features


def load_torch(
    module: nn.Module,
    input_shape: Sequence[int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    device: str | torch.device | None = None,
    name: str | None = None,
    space: InputSpace | None = None,
    weights: Any = None,
) -> TorchNet:
    """Any PyTorch module as a net.

    Its layers are its modules, by path, a module's further calls `path_1` ..., and each tensor of a
    module that gives several: `path.0`, `path.key`; and the functions and operators in the code of
    one's own modules, under the names of `torch.fx` and torchvision's feature extraction
    (`layer1.0.add`; in place or not). Layers are values for which a gradient with respect to the
    input exists, with an entry for each image along one axis, whichever that is; it is moved to the
    front. `refused` says why others are none. Units are along the axis of the channels, which is
    the last one of tokens (T, D) and of maps (H, W, C); see `maps`.

    If the module fails on images of that shape, the layers before are there nevertheless.

    The module is not changed: each pass puts it in eval mode with parameters that need no gradient,
    watches it by forward hooks, and restores what was. Where a batch normalisation takes the
    statistics of a batch, each image has its own; other code must give each image of a batch its
    own result, whatever the batch. (On a CPU, PyTorch computes attention, and convolutions on maps
    of a pixel, in another order for few images: their values then differ by 1e-7 of the largest.)

    Args:
        module: its `forward` takes the images (N, *input_shape), float32, and gives anything.
        input_shape: (C, H, W) of the images, RGB for C = 3; (n,) or (C, H, W) for a generator. A
            module of timm knows its own: where the shape is left out, it, and mean and std unless
            they are given, are those of its `pretrained_cfg`.
        mean: what is subtracted from the images, a number for each channel, on the scale 0..1; of
            a generator, from those that it makes.
        std: what they are divided by then. By default the module takes images in 0..1.
        device: where it computes, and where the module must be: "cpu", "cuda:1"; None is wherever
            its parameters are.
        name: what to call it; None is its class.
        space: how it wants its images, in place of `mean` and `std`: for a module that takes BGR.
        weights: those of torchvision that it has, such as `ResNet50_Weights.DEFAULT`: what is not
            given of input_shape, mean and std is as their `transforms()` say.

    Raises:
        UserError: no module, or a compiled one; the shape of its images is not known; its
            parameters are elsewhere or not float32; it fails on images of that shape before its
            first layer; no layer depends on them.
    """
    if not isinstance(module, nn.Module):
        raise UserError(f"load_torch: an nn.Module wanted, got {_kind(module)}")
    module = _unwrapped(module)
    title = name or type(module).__name__
    _require_python(title, module)
    known = _known(module, weights) if weights or input_shape is None else Metadata()
    shape = _checked_shape(title, known.input_shape if input_shape is None else input_shape)
    build_lazy(module, shape)
    place = _place(title, module, device)
    given = space or mean is not None or std is not None
    mean, std = known.mean if mean is None else mean, known.std if std is None else std
    net = TorchNet(module, shape, space or input_space(shape, mean, std), place, title)
    net.makes = net.space if given else None
    net.resize = known.resize_for(shape)
    return net


def _known(module: nn.Module, weights: Any) -> Metadata:
    if weights is None:
        return of_module(module)
    if not hasattr(weights, "transforms"):
        raise UserError(
            f"load_torch: weights: got {weights!r}; allowed: a member of one of torchvision's"
            " enumerations, such as ResNet50_Weights.DEFAULT"
        )
    return of_weights(weights)


def input_space(
    shape: Shape, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
) -> InputSpace:
    """The space of images `(rgb / 255 - mean) / std`.

    Args:
        shape: of the images; or of features, from which images of 3 channels are made.
        mean: of each channel; None is 0.
        std: of each channel; None is 1.

    Raises:
        UserError: not a finite number for each channel; a standard deviation is not above 0.
    """
    channels = shape[0] if len(shape) == 3 else 3
    if channels > _MOST and 3 in (len(mean or ()), len(std or ())):
        channels = 3
    means = _numbers("mean", (0.0,) * channels if mean is None else mean, channels)
    stds = _numbers("std", (1.0,) * channels if std is None else std, channels)
    order = tuple(range(channels))
    return InputSpace(order, tuple(255 * m for m in means), tuple(1 / (255 * s) for s in stds))


def _numbers(what: str, values: Sequence[float], channels: int) -> Sequence[float]:
    numbers = all(isinstance(v, int | float) and isfinite(v) for v in values)
    positive = what == "std"
    if len(values) == channels and numbers and not (positive and min(values) <= 0):
        return values
    above = " above 0" if positive else ""
    wanted = f"three numbers{above} (red, green, blue)"
    if channels != 3:
        wanted = f"{channels} numbers{above}, one for each channel"
    raise UserError(f"{what}: got {list(values)}; allowed: {wanted}, on the scale 0..1")


def _unwrapped(module: nn.Module) -> nn.Module:
    """What a module is that several devices share, whose copies nobody can watch."""
    while isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        module = module.module
    return module


def _require_python(name: str, module: nn.Module) -> None:
    for path, part in module.named_modules():
        if _QUANTIZED.search(type(part).__module__):
            raise UserError(
                f"{name}: {repr(path) if path else 'it'} is quantized, {type(part).__name__}: no"
                " gradient goes through it; give the module in float32 that it was made of"
            )
        if isinstance(part, torch.jit.ScriptModule) or hasattr(part, "_orig_mod"):
            raise UserError(
                f"{name}: {repr(path) if path else 'it'} is compiled, by torch.jit or "
                "torch.compile: nobody can watch it; give the module that it was made of"
            )


def _checked_shape(name: str, shape: Sequence[int] | None) -> Shape:
    if shape is None:
        raise UserError(
            f"{name}: the shape of its images is not known; give input_shape=(C, H, W), such as"
            " (3, 224, 224), or weights= those of torchvision that it has"
        )
    sizes = tuple(shape) if isinstance(shape, Sequence) else ()
    if len(sizes) == _FILM and all(isinstance(size, int) for size in sizes):
        raise UserError(
            f"{name}: input_shape: got {shape!r}, films; allowed: (C, H, W), images: wrap it in a"
            f" module that makes films of them, x.unsqueeze(2).expand(-1, -1, {sizes[1]}, -1, -1)"
        )
    if not sizes or any(not isinstance(size, int) or size < 1 for size in sizes):
        raise UserError(
            f"{name}: input_shape: got {shape!r}; allowed: (C, H, W) for images or features, (n,) "
            "for a generator's features, without the batch"
        )
    return sizes


def _place(name: str, module: nn.Module, device: str | torch.device | None) -> torch.device:
    """The device of all parameters and buffers, which must be float32 where they are floats."""
    tensors = dict(module.named_parameters()) | dict(module.named_buffers())
    given = None if device is None else find_device(device)
    place = given or next((t.device for t in tensors.values()), torch.device("cpu"))
    for key, tensor in tensors.items():
        if tensor.device != place:
            raise UserError(
                f"{name}: {key!r} is on {tensor.device}, not on {place}; move the module there "
                f"with .to({str(place)!r}), or give another device"
            )
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            raise UserError(f"{name}: {key!r} is {tensor.dtype}; make the module .float()")
    return place


def _kind(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
