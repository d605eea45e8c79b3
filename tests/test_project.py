"""What holds for the project as a whole: imports, sizes of files, needed packages."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.util import resolve_name
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from cnnpref.options import METHODS

ROOT = Path(__file__).parents[1]
SOURCES = sorted(ROOT.glob("cnnpref/**/*.py"))

# Which modules of ours each one may import; the name of a package stands for all that is in it.
FACTS = {"errors", "image", "geometry", "schedule", "solution", "options", "heap"}
ASK = {"config", "selection", "series", "plan"}  # what is wanted
ASCEND = {
    "nets.net",
    "nets.readout",
    "nets.pycaffe",
    "nets.kernels",
    "objective",
    "param",
    "transform",
    "optim",
    "recipe",
}
DO = {"param", "objective", "maximisation", "memory"}
SHOW = {"atomic", "store", "sheet", "gallery"}
MAY_IMPORT: dict[str, set[str]] = {
    **{name: set() for name in FACTS},
    **{name: {"errors"} for name in ("atomic", "gpus", "options", "config", "selection")},
    "series": {"options", "selection"},
    "plan": {"errors", "options", "config", "selection", "series"},
    "transform": {"schedule", "optim.problem"},
    "optim": {"schedule", "solution"},
    "nets": {"errors", "geometry", "image", "atomic"},
    "objective": {"errors", "geometry", "nets.net", "nets.pycaffe"},
    "param": {"errors", "image", "geometry", "nets.net", "nets.pycaffe", "nets.readout"},
    "recipe": {"options", "param", "schedule", "transform", "optim"},
    "maximisation": {*FACTS, *ASCEND},
    "store": {"errors", "solution", "atomic"},
    "sheet": {"errors", "image", "geometry", "store", "atomic"},
    "gallery": {"errors", "image", "geometry", "store", "atomic", "sheet"},
    "memory": {"nets", "estimate"},
    "run": {*FACTS, *ASK, *DO, "atomic", "gpus", "nets", "store", "act_range"},
    "pictures": {"errors"},
    "act_range": {"errors", "atomic", "nets", "pictures"},
    "estimate": {"plan", "series"},
    "zoo_commands": {"errors", "nets.zoo"},
    "arguments": {"config", "plan", "nets"},
    "check": {"errors", "plan", "series", "store"},
    "clean": {"errors", "plan"},
    "mend": {"check", "plan", "selection", "series", "store"},
    "outlook": {"estimate", "plan", "series"},
    "calibrate": {
        *ASK,
        "estimate",
        "maximisation",
        "nets",
        "objective",
        "options",
        "outlook",
        "run",
    },
    "run_commands": {
        *("arguments", "calibrate", "check", "clean", "errors"),
        *("outlook", "plan", "run", "selection"),
    },
    "cli": {
        *(*FACTS, *ASK, *SHOW, "nets", "run", "pictures", "act_range"),
        *("arguments", "run_commands", "zoo_commands"),
    },
    "utils": {"errors", "image", "transform", "nets"},
    "faces": {*FACTS, *ASCEND, "maximisation"},
    **{f"prefer_img_{method}": {"nets", "param", "faces"} for method in METHODS},
    "__init__": {*FACTS, *ASCEND, "nets", "maximisation"},
}


def name_of(path: Path) -> str:
    return "/".join(path.relative_to(ROOT / "cnnpref").with_suffix("").parts)


def own_imports(path: Path) -> Iterator[str]:
    """The modules of ours that a file imports, lazily or not, without the leading `cnnpref.`."""
    package = ".".join(path.parent.relative_to(ROOT).parts)
    for node in ast.walk(ast.parse(path.read_text())):
        names: Iterable[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            source = resolve_name("." * node.level + (node.module or ""), package)
            names = [f"{source}.{alias.name}" for alias in node.names]
        yield from (name.removeprefix("cnnpref.") for name in names if name.startswith("cnnpref."))


def is_part_of(name: str, modules: Iterable[str]) -> bool:
    return any(f"{name}.".startswith(f"{module}.") for module in modules)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_data_flows_one_way(path: Path) -> None:
    top, *below = name_of(path).split("/")
    allowed = MAY_IMPORT[top] | ({top} if below else set()) | {"__version__"}
    assert [name for name in own_imports(path) if not is_part_of(name, allowed)] == []


@pytest.mark.parametrize(
    "module",
    [
        "cli",
        "plan",
        "gpus",
        "check",
        "clean",
        "mend",
        "estimate",
        "outlook",
        "store",
        "sheet",
        "gallery",
        "act_range",
    ],
)
def test_what_needs_no_torch_does_not_load_it(module: str) -> None:
    code = f"import sys, cnnpref.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_files_are_small() -> None:
    patterns = ["cnnpref/**/*.py", "tests/**/*.py", "nets/**/*.py", "workflow/**/*.smk"]
    files = [path for pattern in patterns for path in ROOT.glob(pattern)]
    assert {f.name: n for f in files if (n := f.read_text().count("\n")) >= 300} == {}


CONDA_NAMES = {"torch": "pytorch", "snakemake": "snakemake-minimal"}


def needs(lines: Iterable[str]) -> dict[str, str]:
    """Version ranges by package."""
    requirements = [Requirement(line) for line in lines]
    return {r.name: str(r.specifier) for r in requirements}


def test_the_conda_environment_is_that_of_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = needs([*project["dependencies"], *project["optional-dependencies"]["workflow"]])
    wanted = {CONDA_NAMES.get(name, name): versions for name, versions in wanted.items()}
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    assert needs(environment) == {**wanted, "python": project["requires-python"], "pip": ""}


def test_constraints_pin_every_direct_dependency_within_its_range() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = needs(line.lower() for line in lines if not line.startswith("#"))
    extras = project["optional-dependencies"].values()
    for line in [*project["dependencies"], *(line for extra in extras for line in extra)]:
        wanted = Requirement(line)
        if wanted.name != "cnnpref":
            version = pins[wanted.name.lower()].removeprefix("==")
            assert wanted.specifier.contains(version), wanted
