"""A net that is named on the command line, in place of a config's section."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any

import click

from cnnpref.errors import UserError, suggest
from cnnpref.planning.config import Config, resolve_config

_COLLECTIONS = ("torchvision", "timm")  # of PyTorch models, which know the shape of their images
_OPTIONS = {
    "weights": ("NAME|PATH", "Of a PyTorch net: DEFAULT, pretrained ..., or a file."),
    "input_shape": ("C,H,W", "Of the images that a net takes, such as 3,224,224."),
    "caffemodel": ("PATH", "The weights of a prototxt; default: the file of its name beside it."),
    "mean": ("NUMBERS|PATH", "Subtracted from images: R,G,B of 0..1; Caffe's: B,G,R, or a file."),
    "std": ("NUMBERS", "What the images of a PyTorch net are divided by then: R,G,B."),
}
_FOR = {"weights": "PyTorch", "std": "PyTorch", "caffemodel": "Caffe"}  # the others are for both


def net_argument(command: Callable[..., None]) -> Callable[..., None]:
    """NET and the options that belong to it; the command gets them as `net`, a config's section."""

    @wraps(command)
    def with_net(net: str, **others: Any) -> None:
        options = {key: others.pop(key) for key in _OPTIONS}
        given = {key: text for key, text in options.items() if text is not None}
        command(net=net_section(net, given), **others)

    wrapped: Callable[..., None] = with_net
    for key, (metavar, text) in reversed(_OPTIONS.items()):
        wrapped = click.option(_flag(key), key, metavar=metavar, help=text)(wrapped)
    return click.argument("net")(wrapped)


def _flag(key: str) -> str:
    """As the command line has a key."""
    return "--" + key.replace("_", "-")


def net_section(name: str, options: Mapping[str, str]) -> Config:
    """The section `net` of a config, as it would be written there.

    Args:
        name: "zoo:alexnet", the path of a prototxt, or what builds a PyTorch module.
        options: by the keys of the section, as texts.

    Raises:
        UserError: the name is nothing of these, or no section can be made of it.
    """
    values = {key: numbers_or_path(text) for key, text in options.items()}
    form = _form(name)
    _check_complete(form, options)
    section = {key: as_written(value) for key, value in {**form, **values}.items()}
    resolve_config({"net": section, "layers": "all"}, "net")
    return section


def numbers_or_path(text: str) -> list[float] | str:
    """Numbers with commas between, or the path of a file."""
    try:
        return [int(part) if part.isdecimal() else float(part) for part in text.split(",")]
    except ValueError:
        return text


def as_written(value: Any) -> Any:
    """A value as a config has it, where '$' begins the name of a variable."""
    return value.replace("$", "$$") if isinstance(value, str) else value


def _form(name: str) -> Config:
    kind, _, rest = name.partition(":")
    if kind == "zoo" and rest:
        return {"zoo": rest}
    if Path(name).is_file():
        return {"prototxt": name, "caffemodel": str(Path(name).with_suffix(".caffemodel"))}
    if re.fullmatch(r"[\w.]+", kind) and rest:
        return {"torch": name}
    from cnnpref.nets.zoo import read_zoo

    known = [f"zoo:{each}" for each in read_zoo()]
    raise UserError(
        f"NET: got {name!r}, which is no file{suggest(name, known)}; allowed: torchvision:MODEL,"
        " timm:MODEL, package.module:function, the path of a prototxt, or zoo:NAME"
    )


def _check_complete(form: Config, options: Mapping[str, str]) -> None:
    """What a net needs beside its name is given, or known, and nothing that it cannot have."""
    spec, beside = form.get("torch"), form.get("caffemodel")
    kind = "PyTorch" if spec else "Caffe"
    if strange := [key for key in options if _FOR.get(key, kind) != kind]:
        names = ", ".join(_flag(key) for key in _OPTIONS if _FOR.get(key, kind) == kind)
        raise UserError(
            f"{_flag(strange[0])} is for {_FOR[strange[0]]} nets; {next(iter(form.values()))}"
            f" takes {names}"
        )
    if spec and spec.partition(":")[0] not in _COLLECTIONS and "input_shape" not in options:
        raise UserError(
            f"{spec} needs the shape of its images: --input-shape C,H,W, such as 3,224,224"
        )
    if beside and "caffemodel" not in options and not Path(beside).is_file():
        raise UserError(
            f"{form['prototxt']} needs its weights: --caffemodel PATH; there is no {beside}"
        )
