"""What is released, used as users do: in an empty environment, far from the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest
from calling import net_of
from places import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not find_spec("hatchling"), reason="hatchling builds the package"),
]


def run(*words: str | Path, cwd: Path) -> str:
    """Without any variable that could lead back to the checkout."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    done = subprocess.run(words, cwd=cwd, env=kept, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made of the source distribution, as a packager would."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", folder, cwd=ROOT)
    (source,) = folder.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        archive.extractall(folder, filter="data")
    (checkout,) = (path for path in folder.iterdir() if path.is_dir())
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=checkout)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an environment with the wheel in it, and this one's packages behind it.

    PyTorch and the rest are not installed anew, which would take minutes and gigabytes: a .pth file
    names the folders where they are. An editable cnnpref there cannot win: it works through a .pth
    file of its own, and such files count in an environment's own folder alone.
    """
    place = tmp_path_factory.mktemp("env")
    run(sys.executable, "-m", "venv", place, cwd=place)
    (packages,) = place.glob("lib/python*/site-packages")
    others = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "behind.pth").write_text("\n".join(others))
    install = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel)
    run(place / "bin" / "python", *install, cwd=place)
    return place / "bin"


def test_the_package_is_that_of_the_wheel(programs: Path, tmp_path: Path) -> None:
    code = "import cnnpref; print(cnnpref.__file__, cnnpref.load_caffe.__module__)"
    file, module = run(programs / "python", "-c", code, cwd=tmp_path).split()
    assert Path(file).is_relative_to(programs.parent)
    assert (Path(file).parent / "py.typed").is_file()
    assert module.startswith("cnnpref.nets.caffe")
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert run(programs / "cnnpref", "--version", cwd=tmp_path).split()[-1] == version


def test_a_run_from_the_config_to_the_gallery(
    programs: Path, tiny_net: Path, tmp_path: Path
) -> None:
    """Which needs every kind of file beside the code: schemas, Caffe's format, templates."""
    config = json.dumps(
        {
            "run": "far",
            "net": net_of(tiny_net),
            "methods": ["spectral", "gd"],
            "layers": {"conv1": {"units": "0-1"}},
            "options": {"gd": {"iter_n": 2}, "spectral": {"steps": 2}},
        }
    )
    for command in (
        "plan",
        "generate",
        "collect",
        "scores",
        "sheet",
        "pages",
        "gallery",
        "share",
        "check",
    ):
        run(programs / "cnnpref", command, "--config", config, cwd=tmp_path)
    assert (tmp_path / "results/far/sheets/conv1.png").is_file()
    assert (tmp_path / "results/far/index.html").is_file()


def test_the_zoo_is_part_of_it(programs: Path, tmp_path: Path) -> None:
    config = json.dumps({"net": {"zoo": "alexnet"}, "layers": "all"})
    told = run(programs / "cnnpref", "plan", "--quick", "--config", config, cwd=tmp_path)
    assert "layers 23" in told
