"""From the `net` section of a config to a network, or to its description."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cnnpref.errors import UserError
from cnnpref.nets.caffe import load_caffe
from cnnpref.nets.caffe.files import PathLike
from cnnpref.nets.net import Net, Shape


@dataclass(frozen=True)
class NetDescription:
    """What a plan needs to know of a net.

    Attributes:
        layers: ordered {layer: shape without the batch}.
        sha256: {key of the config's section: digest of the file it names}.
    """

    layers: Mapping[str, Shape]
    sha256: Mapping[str, str]


def open_net(section: Mapping[str, Any], device: str | torch.device = "cpu") -> Net:
    """The network of a config's section: {prototxt, caffemodel, mean}.

    Raises:
        UserError: a file is missing, damaged or does not fit the others.
    """
    return load_caffe(
        section["prototxt"], section.get("caffemodel"), mean=section.get("mean"), device=device
    )


def describe(section: Mapping[str, Any]) -> NetDescription:
    """The layers of the same network and the digests of its files; reads no weights.

    Raises:
        UserError: a file is missing, or the prototxt is not one.
    """
    net = load_caffe(section["prototxt"])
    files = {key: path for key, path in section.items() if isinstance(path, str)}
    return NetDescription(net.layers, {key: file_sha256(path) for key, path in files.items()})


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
