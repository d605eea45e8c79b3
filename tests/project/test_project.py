"""What holds for the project as a whole: imports, sizes of files, needed packages."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from places import ROOT

SOURCES = sorted(ROOT.glob("cnnpref/**/*.py"))

# Which packages of ours each one may import; single modules are packages of their own.
FACTS = {
    *("errors", "geometry", "unit_map", "input_space", "display", "atomic", "foreign"),
    *("interruption", "status"),
}
PLAN = FACTS | {"methods", "planning", "images"}
ASCENT = FACTS | {"optim", "nets", "ascent"}
MAXIMISE = ASCENT | {"methods", "maximisation"}
MAY_IMPORT: dict[str, set[str]] = {
    **{fact: {"errors"} for fact in FACTS - {"errors"}},
    "display": {"errors", "input_space"},
    "unit_map": {"errors", "geometry"},
    "errors": set(),
    "optim": FACTS,
    "nets": FACTS,
    "ascent": ASCENT - {"ascent"},
    "methods": ASCENT,
    "maximisation": ASCENT | {"methods"},
    "images": FACTS,
    "statistics": FACTS | {"images", "nets"},
    "planning": FACTS | {"methods", "images", "nets"},  # of nets the types alone
    "results": PLAN | {"statistics"},
    "scoring": PLAN | {"nets", "statistics", "results"},
    "show": PLAN | {"results"},
    "jobs": PLAN | MAXIMISE | {"results", "statistics", "scoring"},
    "commands": PLAN | MAXIMISE | {"results", "show", "jobs"},
    "cli": {"errors", "interruption", "commands"},
    "original": MAXIMISE,
    "prefer_img": MAXIMISE | {"original"},
    "utils": MAXIMISE,
    "__init__": MAXIMISE | {"utils"},
}
# These, and all that they import, work without PyTorch.
WITHOUT_TORCH = ("cli", "images", "planning", "methods", "results", "show", "commands")


def module_of(path: Path) -> str:
    """`planning.plan` from its file; a package is its `__init__`."""
    return ".".join(path.relative_to(ROOT / "cnnpref").with_suffix("").parts)


def package_of(module: str) -> str:
    """The row of `MAY_IMPORT`."""
    top = module.partition(".")[0]
    return "prefer_img" if top.startswith("prefer_img_") else top


@cache
def own_imports(path: Path) -> frozenset[str]:
    """The modules of ours that a file imports: at its top, later, or for its types alone."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    inside = {name.removeprefix("cnnpref.") for name in found if name.startswith("cnnpref.")}
    return frozenset(filter(None, map(existing, inside)))


def existing(name: str) -> str | None:
    """The module that a dotted name lies in: `errors` for `errors.UserError`."""
    while name:
        if (ROOT / "cnnpref" / f"{name.replace('.', '/')}.py").is_file():
            return name
        if (ROOT / "cnnpref" / name.replace(".", "/") / "__init__.py").is_file():
            return f"{name}.__init__"
        name = name.rpartition(".")[0]
    return None


ARROWS = {module_of(path): own_imports(path) for path in SOURCES}


@pytest.mark.parametrize("module", ARROWS)
def test_imports_go_one_way(module: str) -> None:
    package = package_of(module)
    others = {package_of(name) for name in ARROWS[module]} - {package}
    assert others <= MAY_IMPORT[package]


def test_no_modules_import_each_other_in_a_circle() -> None:
    sorter = TopologicalSorter({m: ours - {m} for m, ours in ARROWS.items()})
    try:
        sorter.prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_no_packages_import_each_other_in_a_circle() -> None:
    TopologicalSorter(MAY_IMPORT).prepare()


@pytest.mark.parametrize("package", WITHOUT_TORCH)
def test_what_needs_no_torch_does_not_load_it(package: str) -> None:
    ours = [m.removesuffix(".__init__") for m in ARROWS if package_of(m) == package]
    lines = ["import sys", *(f"import cnnpref.{module}" for module in ours)]
    code = "; ".join([*lines, "sys.exit('torch' in sys.modules)"])
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_files_are_small() -> None:
    patterns = ["cnnpref/**/*.py", "tests/**/*.py", "nets/**/*.py", "workflow/**/*.smk"]
    files = [path for pattern in patterns for path in ROOT.glob(pattern)]
    assert {f.name: n for f in files if (n := f.read_text().count("\n")) > 320} == {}


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
