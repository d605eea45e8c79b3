"""The command line: what it says when it cannot."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from calling import Config, call, fail, unit_files

pytestmark = pytest.mark.usefixtures("in_tmp_path")


def edited(tmp_path: Path, config: Config, old: str, new: str) -> Config:
    """The config with another prototxt: some text of it replaced."""
    text = Path(config["net"]["prototxt"]).read_text()
    assert old in text
    path = tmp_path / "edited.prototxt"
    path.write_text(text.replace(old, new))
    return {**config, "net": {**config["net"], "prototxt": str(path)}}


def truncated(tmp_path: Path, config: Config) -> Config:
    whole = Path(config["net"]["caffemodel"]).read_bytes()
    path = tmp_path / "short.caffemodel"
    path.write_bytes(whole[: len(whole) // 2])
    return {**config, "net": {**config["net"], "caffemodel": str(path)}}


BAD: dict[str, tuple[Callable[[Path, Config], Config], list[str]]] = {
    "unknown layer": (
        lambda _, c: {**c, "layers": {"conv2": {}}},
        ["no layer 'conv2'", "did you mean 'conv1'"],
    ),
    "unit out of range": (
        lambda _, c: {**c, "layers": {"conv1": {"units": [6]}}},
        ["got 6", "'conv1' has 6 units"],
    ),
    "unknown key": (
        lambda _, c: {**c, "methdos": ["gd"]},
        ["unknown key 'methdos'", "did you mean 'methods'"],
    ),
    "missing caffemodel": (
        lambda _, c: {**c, "net": {**c["net"], "caffemodel": "no.caffemodel"}},
        ["no.caffemodel"],
    ),
    "truncated caffemodel": (truncated, ["short.caffemodel"]),
    "missing prototxt": (
        lambda _, c: {**c, "net": {**c["net"], "prototxt": "no.prototxt"}},
        ["no.prototxt"],
    ),
    "prototxt with a syntax error": (
        lambda p, c: edited(p, c, 'type: "ReLU"', 'type "ReLU"'),
        ["edited.prototxt", "7:28"],
    ),
    "unknown layer type": (
        lambda p, c: {
            **edited(p, c, 'type: "ReLU"', 'type: "Relux"'),
            "layers": {"fc": {}},
        },
        ["layers: 'fc' of", "cannot be computed: it depends on layer 'relu1'"],
    ),
    "undefined variable": (
        lambda _, c: {**c, "net": {**c["net"], "prototxt": "${CNNPREF_NOWHERE}/a"}},
        ["net.prototxt", "CNNPREF_NOWHERE is not set"],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_line(case: str, tiny_config: Config, tmp_path: Path) -> None:
    change, parts = BAD[case]
    line = fail("generate", change(tmp_path, tiny_config))
    assert [part for part in parts if part not in line] == []
    assert not unit_files()


@pytest.mark.parametrize(
    ("option", "part"),
    [
        (["--layer", "conv2"], "no layer 'conv2' (did you mean 'conv1'?); the config has conv1"),
        (["--method", "lbfgs"], "no method 'lbfgs'; the config has gd"),
        (["--units", "4-9"], "got '4-9'; the config asks for the units 0-5 of layer 'conv1'"),
        (["--units", "x"], "units: got 'x'; allowed: ranges such as '0-24,30'"),
        (["--device", "cuda:77"], "no device 'cuda:77'"),
        (["--device", "toaster"], "no device 'toaster'"),
    ],
)
def test_bad_options(option: list[str], part: str, tiny_config: Config) -> None:
    assert part in fail("generate", tiny_config, *option)


def test_usage_errors_exit_with_2(tiny_config: Config) -> None:
    assert call("generate").exit_code == 2
    assert call("generate", tiny_config, "--thread", "2").exit_code == 2
    assert call("info").exit_code == 2


@pytest.mark.parametrize("command", ["generate", "references", "scores", "plan"])
def test_more_threads_than_any_machine_has(command: str, tiny_config: Config) -> None:
    result = call(command, tiny_config, "--threads", "9007199254740992")
    assert result.exit_code == 2
    assert "9007199254740992 is not in the range 1<=x<=1024" in result.stderr


def test_a_file_in_place_of_the_results_folder(tiny_config: Config) -> None:
    Path("results").write_text("")
    assert "results: 'results' is a file; name a folder" in fail("generate", tiny_config)


def test_a_file_in_place_of_a_run(tiny_config: Config) -> None:
    Path("results").mkdir()
    Path("results/tiny").write_text("")
    assert "cannot write into results/tiny/units/conv1" in fail("generate", tiny_config)


def test_a_read_only_results_folder(tiny_config: Config, tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "none", str(results)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a read-only folder is not permitted here")
    try:
        line = fail("generate", tiny_config)
    finally:
        subprocess.run(["umount", str(results)], check=True)
    assert "cannot write into results/tiny/units/conv1" in line
    assert "Read-only file system" in line
