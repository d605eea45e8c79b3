"""What tests of the command line and of the workflow share: a small net and a config for it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import SOURCE
from calling import net_of, succeed
from hypothesis import settings
from layers import unit_result
from libraries import Libraries
from running import Project
from serving import Zoo, serving
from small_nets import write_net

from cnnpref.results.unit_file import write_unit

torch.set_num_threads(1)  # the tests' files run side by side
settings.register_profile("cnnpref", deadline=None)  # on machines that may be busy
settings.load_profile("cnnpref")

TINY = """
name: "tiny"
layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 3 dim: 12 dim: 12 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 6 kernel_size: 5 } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "fire/expand" type: "Convolution" bottom: "conv1" top: "fire/expand"
  convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "fc" type: "InnerProduct" bottom: "fire/expand" top: "fc"
  inner_product_param { num_output: 5 } }
"""

GENERATOR = """
name: "tiny generator"
layer { name: "feat" type: "Input" top: "feat" input_param { shape { dim: 1 dim: 7 } } }
layer { name: "draw" type: "InnerProduct" bottom: "feat" top: "draw"
  inner_product_param { num_output: 432 } }
layer { name: "image" type: "Reshape" bottom: "draw" top: "image"
  reshape_param { shape { dim: 0 dim: 3 dim: 12 dim: 12 } } }
"""


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is remembered of reference images is not the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def tiny_net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of two nets.

    tiny has the layers conv1 (6 units), fire/expand (4), fc (5); generator makes its images of 7
    features.
    """
    folder = tmp_path_factory.mktemp("tiny")
    write_net(folder / "tiny.prototxt", TINY)
    write_net(folder / "generator.prototxt", GENERATOR)
    return folder


@pytest.fixture
def tiny_config(tiny_net: Path) -> dict[str, Any]:
    """A config of 10 units in 2 layers that takes no time."""
    return {
        "run": "tiny",
        "net": {**net_of(tiny_net), "mean": [104, 117, 123]},
        "methods": ["gd"],
        "layers": {"conv1": {}, "fire/expand": {"units": "0-3"}},
        "batch": 4,
        "options": {"gd": {"iter_n": 3}},
    }


@pytest.fixture(scope="session")
def few_units(tiny_net: Path) -> dict[str, Any]:
    """A config of 4 units of one layer, in batches of two."""
    layers, options = {"conv1": {"units": "0-3"}}, {"gd": {"iter_n": 3}}
    config: dict[str, Any] = {"net": net_of(tiny_net), "layers": layers, "options": options}
    return {**config, "methods": ["gd"], "batch": 2}


@pytest.fixture
def fresh(tmp_path: Path, few_units: dict[str, Any]) -> Project:
    """A workflow of few units that has not run yet."""
    return Project(tmp_path, few_units)


@pytest.fixture(scope="session")
def finished_run(tiny_net: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A run that is done, by the commands that the workflow calls; nobody changes it."""
    config: dict[str, Any] = {
        **{"run": "mine", "net": net_of(tiny_net), "batch": 2},
        **{"methods": ["gd"], "options": {"gd": {"iter_n": 2}}},
        "layers": {"conv1": {}, "fire/expand": {"units": "0-2"}},
    }
    made = Project(tmp_path_factory.mktemp("finished"), config)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made.folder)
        for command in ("generate", "collect", "scores", "sheet", "pages", "gallery", "share"):
            succeed(command, config)
    return made


@pytest.fixture
def finished(finished_run: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A run that is done, in the working directory, to do something with; its config: mine.yaml."""
    shutil.copytree(finished_run.folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    made = Project(tmp_path, finished_run.config)
    made.change()
    return made


@pytest.fixture
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory is `tmp_path`."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def unit_file(tmp_path: Path) -> Path:
    """That of unit 3, in a folder with no other file."""
    path = tmp_path / "units" / "3.h5"
    write_unit(path, unit_result(3))
    return path


@pytest.fixture
def zoo(tiny_net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Zoo]:
    """A zoo whose weights a server of this machine has; nothing else is ever asked."""
    with serving() as site:
        made = Zoo(tmp_path, site, tiny_net / "tiny.prototxt")
        monkeypatch.setenv("CNNPREF_ZOO", str(made.registry))
        monkeypatch.setenv("CNNPREF_HOME", str(made.cache))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield made


@pytest.fixture
def libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Libraries]:
    """Empty caches of torchvision, timm and the hub, and a server with what they look for."""
    with serving() as site:
        yield Libraries(tmp_path, site, monkeypatch)


@pytest.fixture
def vision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The working directory is `tmp_path`, with the Python module `vision` in it."""
    (tmp_path / "vision.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    yield
    sys.modules.pop("vision", None)
