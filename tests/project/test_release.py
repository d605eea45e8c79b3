"""What a release consists of beside the code: citation, containers, types."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from calling import net_of
from places import ROOT

from cnnpref.nets import describe
from cnnpref.planning.config import resolve_config
from cnnpref.planning.plan import make_plan

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONTAINER = ROOT / "workflow/container"


def test_the_citation_names_the_version_and_the_licence_of_the_package() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])


def test_both_containers_copy_what_the_package_is_built_from_and_take_the_same_pins() -> None:
    docker, apptainer = ((CONTAINER / name).read_text() for name in ("Dockerfile", "cnnpref.def"))
    for text in (docker, apptainer):
        for needed in ("constraints.txt", "pyproject.toml", "README.md", "LICENSE", "cnnpref"):
            assert re.search(rf"^(COPY|    ).*\b{re.escape(needed)}\b", text, re.MULTILINE), needed
        assert text.count("--constraint constraints.txt") == text.count("pip install") == 2
    base = re.compile(r"^From:? (\S+)", re.IGNORECASE | re.MULTILINE)
    assert base.findall(docker) == base.findall(apptainer)


def steps(name: str, torch: str) -> str:
    """What a container is built with, as a script of `sh`: builders have no other shell."""
    text = (CONTAINER / name).read_text()
    if name == "Dockerfile":
        assert not re.search(r"^SHELL", text, re.MULTILINE), "images of podman know no SHELL"
        return "\n".join(re.findall(r"^RUN ((?:.*\\\n)*.*)", text, re.MULTILINE))
    post = text.split("%post")[1].split("%environment")[0].replace("{{ TORCH }}", torch)
    return "set -e\n" + post.replace("cd /opt/cnnpref", "")


@pytest.mark.parametrize("name", ["Dockerfile", "cnnpref.def"])
@pytest.mark.parametrize("torch", ["cpu", "cuda", "rocm"])
def test_the_containers_install_torch_of_a_known_kind_and_then_the_package(
    name: str, torch: str, tmp_path: Path
) -> None:
    """With stand-ins for the programs; the images themselves need the internet."""
    for program in ("pip", "useradd", "chmod"):
        (tmp_path / program).write_text('#!/bin/sh\necho "${0##*/} $*"\n')
        (tmp_path / program).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "TORCH": torch}
    words = ["sh", "-c", steps(name, torch)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    if torch == "rocm":
        assert (done.returncode, done.stdout) == (1, "")
        assert "allowed: cpu, cuda" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    index = "--index-url https://download.pytorch.org/whl/cpu " if torch == "cpu" else ""
    assert done.stdout.splitlines()[:2] == [
        f"pip install --no-cache-dir --constraint constraints.txt --no-deps {index}torch",
        "pip install --no-cache-dir --constraint constraints.txt .[slurm]",
    ]


KEYS = {"gd": "60495139", "lbfgs": "b3b40cce", "dgn_gd": "c5ee6e91", "dgn_lbfgs": "bebc837e"}


def test_results_keep_their_names_from_version_to_version() -> None:
    """Whoever changes these must say so in the changelog: all runs of the past start anew."""
    shapes = ROOT / "nets" / "shapes"
    net = {**net_of(shapes, "shapes"), "mean": [128, 128, 128]}
    config = {"net": net, "generator": net_of(shapes, "generator"), "methods": [*KEYS]}
    plan = make_plan(resolve_config({**config, "layers": {"fc8": {}}}, "kept"), describe)
    assert {series.method: series.digest[:8] for series in plan.series} == KEYS


def test_types_are_part_of_the_package() -> None:
    assert (ROOT / "cnnpref/py.typed").is_file()


def test_the_dockerfile_has_no_finding_of_hadolint() -> None:
    hadolint = shutil.which("hadolint") or shutil.which("hadolint", path=ROOT / ".venv/bin")
    if hadolint is None:
        pytest.skip("hadolint is not installed: it comes with `make lint`")
    done = subprocess.run([hadolint, CONTAINER / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
