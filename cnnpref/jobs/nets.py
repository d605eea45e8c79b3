"""The networks of a config, on the device of a job."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cnnpref.ascent.statistics import NaturalStatistics
from cnnpref.ascent.variables import Generator
from cnnpref.errors import UserError
from cnnpref.foreign import open_hdf5
from cnnpref.jobs.act_range import load_bounds
from cnnpref.nets import Net, fetched_sha256, open_net, with_zoo_files
from cnnpref.planning.config import BLOB_KEYS, Config
from cnnpref.planning.files import NATURE
from cnnpref.planning.series import Origin, Series
from cnnpref.results.hdf5 import reading


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

    def statistics(self, series: Series) -> NaturalStatistics | None:
        """Those of the run's reference images, if the series is to have them.

        Raises:
            UserError: their file is missing, damaged, or of other images.
        """
        if not series.statistics:
            return None
        path = Path(self._config["results"], self._config["run"], NATURE.path)
        return read_statistics(path, self.net.image_size[1], series.statistics)

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


def read_statistics(path: Path, width: int, images: str | None = None) -> NaturalStatistics:
    """What `references/nature.h5` says of the images' colours and spectrum.

    Args:
        path: of the file.
        width: of the images, in pixels.
        images: their digest, the file's attribute `pixels`; None: of any images.

    Raises:
        UserError: the file is missing, damaged, or of other images.
    """
    with reading(path, "measure the reference images again"), open_hdf5(path) as file:
        found = file.attrs.get("pixels")
        mean, components, magnitude = (
            np.asarray(file[name], np.float64)
            for name in ("colour/mean", "colour/components", "magnitude")
        )
    if images not in (None, found):
        raise UserError(f"{path} is of other images; measure the reference images again")
    return NaturalStatistics(mean, components, magnitude, width)
