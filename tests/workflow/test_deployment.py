"""Jobs in environments of their own: `--sdm conda`, as far as it goes without conda's channels.

The stand-in does what Snakemake asks conda for: it makes an environment, empty but for our
dependencies (a virtual environment that sees this one's packages), and activates it. That the
channels have the packages of environment.yml is not tested here.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from places import ROOT
from running import LAYER_FILE, Project

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

CONDA = """#!/bin/bash
set -euo pipefail
case "$1 ${{2-}}" in
"info --json") echo '{{"conda_prefix": "{base}", "platform": "linux-64"}}' ;;
"config --get") echo '{{"get": {{"channel_priority": "strict"}}}}' ;;
"env create")
    for word in "$@"; do
        case "$word" in /*.yaml) grep -q "^name: cnnpref" "$word" ;; /*) prefix=$word ;; esac
    done
    {python} -m venv "$prefix"
    printf '%s\\n' {packages} > "$prefix"/lib/python3.{minor}/site-packages/packages.pth ;;
*) echo "conda 25.1.0" ;;
esac
"""
# Nothing on the PATH but the environment: no job can take another cnnpref.
ACTIVATE = 'export PATH="$1/bin:/usr/bin:/bin"\n'


@pytest.fixture
def conda(tmp_path: Path, fresh: Project) -> Project:
    """The workflow of few units, with the stand-in on the PATH."""
    base = tmp_path / "base"
    (base / "bin").mkdir(parents=True)
    packages = " ".join(path for path in sys.path if path.endswith("site-packages"))
    script = CONDA.format(
        base=base, python=sys.executable, minor=sys.version_info.minor, packages=packages
    )
    (base / "bin" / "conda").write_text(script)
    (base / "bin" / "conda").chmod(0o755)
    (base / "bin" / "activate").write_text(ACTIVATE)
    fresh.environment = {
        **{name: text for name, text in os.environ.items() if name != "PYTHONPATH"},
        "PYTHONPATH": str(ROOT),  # of Snakemake itself; not of jobs: it takes it from them
        "PATH": f"{base / 'bin'}:{os.environ['PATH']}",
        "PIP_NO_BUILD_ISOLATION": "0",  # which means: build with the hatchling that is here
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    return fresh


@pytest.mark.skipif(not find_spec("hatchling"), reason="hatchling builds the package")
def test_jobs_run_the_checkout_in_an_environment_that_snakemake_made(conda: Project) -> None:
    conda.succeed("--sdm", "conda", "--conda-prefix", "envs", LAYER_FILE)
    assert (conda.folder / LAYER_FILE).exists()
    (command,) = (conda.folder / "envs").glob("*/bin/cnnpref")
    link = next(command.parents[1].glob("lib/python*/site-packages/_editable_impl_cnnpref.pth"))
    assert link.read_text().strip() == str(ROOT)


def test_a_container_that_was_not_built_is_told_before_any_job(fresh: Project) -> None:
    done = fresh.snakemake("--sdm", "apptainer")
    assert done.returncode == 1
    assert "cnnpref: there is no" in done.stderr
    assert "apptainer build" in done.stderr
