"""The networks of a config, on the device of a job."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch

from cnnpref.ascent.variables import Generator
from cnnpref.jobs.act_range import load_bounds
from cnnpref.nets import Net, fetched_sha256, open_net, with_zoo_files
from cnnpref.planning.config import BLOB_KEYS, Config
from cnnpref.planning.series import Origin, Series


class Nets:
    """The networks of a config, read when they are first needed."""

    def __init__(self, config: Config, device: torch.device) -> None:
        self._config, self._device = config, device
        self._fetched: dict[str, dict[str, str]] = {}  # digests of files, by section

    @cached_property
    def net(self) -> Net:
        """The one whose units are wanted."""
        return self._open("net")

    @cached_property
    def generator(self) -> Generator:
        """The one that makes images, for the methods that need it."""
        section, net = with_zoo_files(self._config["generator"]), self._open("generator")
        given = {key: section[key] for key in BLOB_KEYS if key in section}
        bounds = {key: _bound(section[key]) for key in ("lower", "upper") if key in section}
        return Generator(net, resize=section.get("resize", False), **given, **bounds)

    def origin(self, series: Series) -> Origin:
        """The series', with the digests of the weights that were fetched for it.

        A plan knows the weights of the zoo by what is published of them.
        """
        return {name: told | self._fetched.get(name, {}) for name, told in series.origin.items()}

    def _open(self, name: str) -> Net:
        section = self._config[name]
        net = open_net(section, self._device)
        self._fetched[name] = fetched_sha256(section)
        return net


def _bound(value: Any) -> Any:
    return load_bounds(value) if isinstance(value, str) else value
