"""Calls of the command line, in the working directory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from cnnpref.cli import main

Config = dict[str, Any]


def net_of(folder: Path, name: str = "tiny") -> dict[str, str]:
    """The section of a config for one of the nets in the folder."""
    return {key: str(folder / f"{name}.{key}") for key in ("prototxt", "caffemodel")}


def call(*args: str | Config) -> Result:
    """Run `cnnpref` with these arguments; a dict stands for `--config` and itself as JSON."""
    texts = [["--config", json.dumps(a)] if isinstance(a, dict) else [a] for a in args]
    return CliRunner().invoke(main, [text for part in texts for text in part])


def succeed(*args: str | Config) -> str:
    result = call(*args)
    assert result.exit_code == 0, result.output
    return result.stderr


def fail(*args: str | Config) -> str:
    """The one line that a failing call prints."""
    result = call(*args)
    assert result.exit_code == 1, result.output
    *before, last = result.stderr.splitlines()
    assert last.startswith("cnnpref: ")
    assert not any(line.startswith(("cnnpref: ", "Traceback")) for line in before)
    return last


def unit_files() -> dict[str, Path]:
    """Paths by "layer/unit"."""
    return {f"{p.parts[-3]}/{p.stem}": p for p in sorted(Path("results").rglob("units/**/*.h5"))}
