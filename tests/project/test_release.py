"""What a release consists of beside the code: citation, containers, types."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib

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


def test_every_kind_of_torch_that_the_containers_offer_is_refused_or_known() -> None:
    script = (CONTAINER / "Dockerfile").read_text()
    case = re.search(r"case .*?esac", script, re.DOTALL)
    assert case
    for torch, code in (("cpu", 0), ("cuda", 0), ("rocm", 1)):
        words = f"TORCH={torch}; " + case[0].replace("\\\n", "\n")
        done = subprocess.run(["bash", "-c", words], capture_output=True, text=True)
        assert done.returncode == code, done.stderr
        assert ("allowed: cpu, cuda" in done.stderr) == bool(code)


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
