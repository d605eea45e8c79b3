"""`cnnpref look` and `init`: what is had of a net without a config."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from builders import state, write_plain
from calling import Config, call, fail, succeed
from PIL import Image
from small_nets import write_net

from cnnpref.methods import METHODS
from cnnpref.results.layer_file import open_layer
from cnnpref.results.unit_file import read_unit

pytestmark = pytest.mark.usefixtures("in_tmp_path")

MEAN = ("--mean", "104,117,123")


@pytest.fixture
def net(tiny_net: Path) -> str:
    return str(tiny_net / "tiny.prototxt")


def size(path: str) -> tuple[int, int]:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return image.size


def test_a_sheet_of_a_caffe_net_whose_weights_lie_beside_it(net: str) -> None:
    told = succeed("look", net, "fc", *MEAN)
    assert told.splitlines()[-1] == "sheet: fc.png"
    assert "fc/spectral: 5 of 5 units to do" in told
    assert "warning" not in told
    assert size("fc.png") > (200, 200)
    assert [path.name for path in Path().iterdir()] == ["fc.png"]


def test_units_labels_method_and_results_that_are_kept(net: str) -> None:
    Path("names.txt").write_text("tench, Tinca tinca\ngoldfish\nshark\nray\nhen")
    named = ("--labels", "names.txt", "--method", "gd", "--keep", "kept", "--out", "new/one.png")
    told = succeed("look", net, "fc", "--units", "Tench", "--units", "3", *named)
    assert "fc/gd: 2 of 2 units to do" in told
    assert "warning: no --mean: NET gets images as they are" in told
    assert size("new/one.png") > (200, 200)
    told = succeed("look", net, "fc", "--units", "0-1", *named)
    assert "fc/gd: 1 of 2 units to do, 1 already valid" in told
    with open_layer(Path("kept/tiny/layers/fc.h5")) as methods:
        assert [row.label for row in methods["gd"].rows()] == ["tench, Tinca tinca", "goldfish"]


@pytest.mark.filterwarnings("default:.*its transform_param is used")
def test_a_mean_that_the_prototxt_states_is_not_missed(net: str) -> None:
    text = Path(net).read_text()
    stated = text.replace('type: "Input"', 'type: "Input" transform_param { mean_value: 104 }', 1)
    assert stated != text
    Path("stated.prototxt").write_text(stated)
    given = ("--caffemodel", str(Path(net).with_suffix(".caffemodel")), "--units", "0")
    told = succeed("look", "stated.prototxt", "fc", "--method", "gd", *given)
    assert "no --mean" not in told


@pytest.mark.parametrize("method", [name for name, m in METHODS.items() if not m.needs_generator])
def test_fewer_steps(net: str, method: str) -> None:
    few = ("--steps", "3", "--method", method, "--keep", "kept", "--units", "0")
    succeed("look", net, "fc", *few)
    (path,) = Path("kept").rglob("units/**/0.h5")
    assert read_unit(path).activation.size <= 20  # a line search may ask several times


@pytest.mark.usefixtures("vision")
def test_a_pytorch_module_with_weights_of_ones_own() -> None:
    weights = str(write_plain(Path("mine"), state()))
    given = ("--input-shape", "3,8,8", "--mean", "0.5,0.4,0.3", "--std", "0.1,0.2,0.4")
    few = ("--units", "1", "--method", "gd", "--keep", "kept")
    told = succeed("look", "vision:build", "5", *given, "--weights", weights, *few)
    assert "warning: no --weights" not in told
    (path,) = Path("kept").rglob("units/**/1.h5")
    assert "weights" in read_unit(path).attributes["sha256"]["net"]
    assert "warning: no --weights" in succeed("look", "vision:build", "5", *given, *few)
    assert len(list(Path("kept").rglob("units/**/1.h5"))) == 2


def test_without_a_layer_it_lists_them(net: str) -> None:
    result = call("look", net)
    assert result.exit_code == 0
    assert "fire/expand" in result.stdout
    assert "now name a layer" in result.stderr
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["zoo:alexnot"], "the zoo has no net 'alexnot' (did you mean 'alexnet'"),
        (["alexnet"], "got 'alexnet', which is no file (did you mean 'zoo:alexnet'"),
        (["missing.prototxt", "fc"], "got 'missing.prototxt', which is no file"),
        (["vision:build", "5"], "vision:build needs the shape of its images: --input-shape"),
        (["vision:build", "--input-shape", "3x8x8"], "net.input_shape: got '3x8x8'; allowed: [c"),
        (["alone.prototxt", "fc"], "--caffemodel PATH; there is no alone.caffemodel"),
        (
            ["alone.prototxt", "fc", "--weights", "w"],
            "--weights is for PyTorch nets; alone.prototxt",
        ),
        (["zoo:alexnet", "--std", "1,1,1"], "takes --input-shape, --caffemodel, --mean"),
        (["vision:build", "--caffemodel", "w"], "takes --weights, --input-shape, --mean, --std"),
        (["NET", "fcc"], "has no layer 'fcc' (did you mean 'fc'?)"),
        (["NET", "fc", "--units", "0-5"], "units: got 0-5; allowed: 0-4"),
        (["NET", "fc", "--units", "shark"], "got 'shark', and 'fc' has no labels"),
        (["NET", "fc", "--labels", "alone.prototxt"], "labels: got 1 of alone.prototxt"),
        (["NET", "fc", "--out", "sheet.jpg"], "--out: got 'sheet.jpg'; a sheet is a PNG"),
        (["NET", "fc", "--out", "alone.prototxt/x.png"], "cannot write into alone.prototxt"),
        (["NET", "fc", "--std", "1,1,1"], "--std is for PyTorch nets"),
        (["NET", "fc", "--device", "tpu"], "tpu"),
    ],
)
def test_refusals(net: str, arguments: list[str], part: str) -> None:
    Path("alone.prototxt").write_text("name")
    assert part in fail("look", *(net if each == "NET" else each for each in arguments))


def test_a_path_may_hold_what_a_config_takes_for_variables(net: str) -> None:
    for kind in ("prototxt", "caffemodel"):
        shutil.copy(Path(net).with_suffix(f".{kind}"), f"a $HOME.{kind}")
    succeed("look", "a $HOME.prototxt", "fc", "--units", "0", "--method", "gd")
    Path("my.yaml").write_text(call("init", "a $HOME.prototxt").stdout)
    succeed("plan", "--config", "my.yaml", "--quick")


@pytest.mark.slow
def test_an_interrupt_leaves_nothing_behind(net: str, tmp_path: Path) -> None:
    run = subprocess.Popen(
        [sys.executable, "-c", "from cnnpref.cli import main; main()", "look", net, "conv1"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
    )
    while not list(tmp_path.rglob("units")):
        assert run.poll() is None
        time.sleep(0.02)
    run.send_signal(signal.SIGINT)
    _, told = run.communicate()
    assert run.returncode == 130
    assert "Traceback" not in told
    assert "ended by Ctrl-C; nothing is kept" in told.splitlines()[-1]
    assert not list(tmp_path.rglob("units"))


def printed(*arguments: str) -> tuple[str, Config]:
    text = call("init", *arguments).stdout
    Path("my.yaml").write_text(text)
    return text, yaml.safe_load(text)


def test_init_prints_a_config_that_is_taken_at_once(net: str) -> None:
    text, config = printed(net, *MEAN)
    assert config["net"]["mean"] == [104, 117, 123]
    assert config["layers"] == {"fc": {"units": {"count": 5}}}
    assert "# conv1: {}" in text
    assert "# 6 units of 6 x 8 x 8, field 5 x 5" in text
    assert "unit files 5 (0 there)" in call("plan", "--config", "my.yaml", "--quick").stdout


def test_all_layers_of_it_can_be_switched_on(tiny_net: Path) -> None:
    text = (tiny_net / "tiny.prototxt").read_text()
    awkward = {"conv1": "1", "relu1": "on", "fire/expand": "a: # b", "fc": "x" * 200 + " 'y'"}
    for name, other in awkward.items():
        text = text.replace(f'name: "{name}"', f'name: "{other}"')
    write_net(Path("odd.prototxt"), text)
    shown, config = printed("odd.prototxt")
    assert list(config["layers"]) == [awkward["fc"]]
    Path("my.yaml").write_text(shown.replace("\n  # ", "\n  "))
    assert list(yaml.safe_load(Path("my.yaml").read_text())["layers"]) == list(awkward.values())
    succeed("plan", "--config", "my.yaml", "--quick")


@pytest.mark.usefixtures("vision")
def test_init_of_a_pytorch_module() -> None:
    given = ("--input-shape", "3,8,8", "--std", "0.1,0.2,0.4")
    _, config = printed("vision:build", *given)
    shape, std = [3, 8, 8], [0.1, 0.2, 0.4]
    assert config["net"] == {"torch": "vision:build", "input_shape": shape, "std": std}
    assert config["layers"] == {"5": {"units": {"count": 5}}}
    succeed("plan", "--config", "my.yaml", "--quick")
