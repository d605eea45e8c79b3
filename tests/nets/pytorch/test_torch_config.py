"""PyTorch modules from the config: builders, arguments, weights, and what is said when it fails."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from builders import NET, SOURCE, Section, answer, refusal, state, write_plain
from calling import call, fail, succeed, unit_files

from cnnpref.nets import describe, open_net
from cnnpref.planning.config import resolve_config
from cnnpref.planning.plan import make_plan
from cnnpref.results.unit_file import read_unit

pytestmark = pytest.mark.usefixtures("vision")
SIZES = {"in_channels": 3, "out_channels": 2, "kernel_size": 3}


def test_a_net_and_its_description() -> None:
    section = {**NET, "args": {"width": 6}, "mean": [0.5, 0.4, 0.3], "std": [0.1, 0.2, 0.4]}
    net, described = open_net(section), describe(section)
    assert net.layers == described.layers
    assert list(net.layers) == ["0", "1", "2", "3", "4", "5"]
    assert net.layers["1"] == (6, 6, 6)
    assert net.name == "vision:build"
    assert net.space.order == (0, 1, 2)
    assert net.space.mean == pytest.approx([127.5, 102, 76.5])
    assert net.space.scale == pytest.approx([1 / 25.5, 1 / 51, 1 / 102])


def test_random_weights_are_always_the_same() -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = answer(NET)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(2)
    assert torch.equal(answer(NET), first)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"torch": "nowhere.at.all:build"}, "cannot import 'nowhere.at.all': ModuleNotFoundError"),
        ({"torch": "vision:biuld"}, "'vision' has no 'biuld' (did you mean 'build'?)"),
        ({"torch": "vision:constant"}, "vision:constant is no function or class, but int"),
        ({"torch": "vision:number"}, "vision:number gives int; it must give an nn.Module"),
        ({"torch": "vision:fails"}, "vision:fails() failed: RuntimeError: no such luck"),
        ({"args": {"widht": 3}}, "vision:build(widht=3) failed: TypeError: build() got an unexp"),
        (
            {"input_shape": [1, 8, 8]},
            "vision:build, in '0', on [1, 1, 8, 8]: Given groups=1, weight of size [4, 3, 3, 3]",
        ),
        ({"torch": "vision:Half"}, "'weight' is torch.float16; make the module .float()"),
        (
            {
                "torch": "vision:Silent",
                "args": {"in_channels": 3, "out_channels": 2, "kernel_size": 3},
            },
            "no layer of it gives one tensor (N, ...) that depends on its input, with a gradient",
        ),
    ],
)
@pytest.mark.parametrize("use", [open_net, describe])
def test_sections_of_which_no_net_can_be_made(
    change: Section, told: str, use: Callable[[Section], object]
) -> None:
    assert told in refusal({**NET, **change}, use)


def test_packages_of_models_that_are_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    message = refusal({"torch": "timm:resnet50", "input_shape": [3, 64, 64]}, describe)
    assert message.startswith("cannot import 'timm': ModuleNotFoundError: ")
    assert message.endswith("; pip install 'cnnpref[timm]'")


def test_a_description_reads_no_weights_and_computes_nothing() -> None:
    Path("w.pt").write_bytes(b"not weights at all")
    with torch.profiler.profile() as profile:
        described = describe({**NET, "weights": "w.pt"})
    assert len(described.layers) == 6
    assert "aten::mkldnn_convolution" not in {e.name for e in profile.events()}


def test_a_module_that_looks_at_values_is_described_too() -> None:
    section = {**NET, "torch": "vision:Deciding", "args": SIZES}
    assert list(describe(section).layers) == ["conv2d", "mul"]


def digest(section: Section) -> str:
    made = make_plan(resolve_config({"net": section, "layers": {"0": {}}}, "run"), describe)
    return made.series[0].digest


def test_what_changes_the_images_changes_the_folder(tmp_path: Path) -> None:
    write_plain(tmp_path / "a", state())
    given = {**NET, "weights": "a.pth"}
    before = digest(given)
    (tmp_path / "b.pth").write_bytes((tmp_path / "a.pth").read_bytes())
    assert digest({**given, "weights": "b.pth"}) == before
    changes: list[Section] = [
        {"args": {"width": 5}},
        {"input_shape": [3, 9, 9]},
        {"mean": [0.1, 0.1, 0.1]},
        {"std": [0.1, 0.1, 0.1]},
        {"torch": "vision:build.__call__"},
    ]
    assert before not in {digest({**given, **change}) for change in changes}
    write_plain(tmp_path / "a", {**state(), "0.bias": torch.zeros(4)})
    assert digest(given) != before
    (tmp_path / "a.pth").write_bytes((tmp_path / "b.pth").read_bytes())
    assert digest(given) == before
    (tmp_path / "vision.py").write_text(SOURCE + "\n# changed\n")
    assert digest(given) != before


def test_generate_from_modules_by_all_methods(tmp_path: Path) -> None:
    write_plain(tmp_path / "w", state())
    config = {
        "run": "modules",
        "net": {**NET, "weights": "${HERE}/w.pth"},
        "generator": {
            "torch": "vision:Maker",
            "input_shape": [6],
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "output": "view",
        },
        "methods": ["gd", "lbfgs", "dgn_gd", "dgn_lbfgs"],
        "layers": {"1": {"units": [0, 2]}, "5": {"units": [3]}},
        "options": {
            **{method: {"iter_n": 3} for method in ("gd", "dgn_gd")},
            **{method: {"maxiter": 3} for method in ("lbfgs", "dgn_lbfgs")},
        },
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HERE", str(tmp_path))
        succeed("generate", config)
        assert "0 of 2 units to do" in succeed("generate", config)
    assert set(unit_files()) == {"1/0", "1/2", "5/3"}
    found = [read_unit(path) for path in Path("results").rglob("units/5/*/3.h5")]
    assert len(found) == 4
    for result in found:
        assert result.image.shape == (8, 8, 3)
        origin = result.attributes["sha256"]["net"]
        assert len(origin["weights"]) == len(origin["builder"]) == 64
        assert origin["torch"] == "vision:build"
        if result.attributes["method"].startswith("dgn"):
            assert 0 <= result.image.min() <= result.image.max() <= 255


@pytest.mark.slow
def test_info_by_the_installed_command() -> None:
    """Which finds modules in the working directory, as `python -m` does."""
    text = '{"net": {"torch": "vision:build", "input_shape": [3, 8, 8]}, "layers": "all"}'
    command = [str(Path(sys.executable).with_name("cnnpref")), "info", "--config", text]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    title, _, first, *_ = done.stdout.splitlines()
    assert title == "vision:build: input 3 x 8 x 8, 205 weights"
    assert first.split("  ")[-1] == "3 x 3, rows 3-6, columns 3-6"


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ({"torch": "vision:build"}, "the key 'input_shape' in net is missing"),
        (
            {**NET, "prototxt": "x"},
            "allowed: with torch: args, weights, weights_key, inp",
        ),
        ({"prototxt": "x", "caffemodel": "y", "std": [1, 1, 1]}, "the other keys go with torch"),
        ({"weights": "x"}, "at least prototxt and caffemodel, or zoo, or torch and input_shape"),
        ({**NET, "zoo": "alexnet"}, "but neither zoo nor Caffe's keys"),
        ({}, "net: got {}; allowed: at least prototxt and caffemodel, or zoo, or torch and"),
        ({**NET, "torch": "vision"}, "net.torch: got 'vision'; allowed: 'package.module:function'"),
        ({**NET, "mean": "mean.npy"}, "net.mean: got 'mean.npy'; allowed: a number for each"),
        ({**NET, "std": [1, 0, 1]}, "net.std.1: got 0; allowed: a number above 0"),
        ({**NET, "input_shape": [3, 0, 8]}, "net.input_shape.1: got 0; allowed: a whole number"),
        ({**NET, "input_shape": 8}, "net.input_shape: got 8; allowed: [channels, height, width]"),
        (
            {**NET, "wieghts": "w"},
            "unknown key 'wieghts' in net (did you mean 'weights' or",
        ),
        ({**NET, "args": [1]}, "net.args: got [1]; allowed: a mapping"),
    ],
)
def test_bad_sections(section: Section, told: str) -> None:
    assert told in refusal({"net": section, "layers": "all"}, lambda raw: resolve_config(raw, "x"))


def test_an_unknown_layer_and_a_net_without_images() -> None:
    line = fail("generate", {"net": NET, "layers": {"7": {}}})
    assert "vision:build has no layer '7'; 'cnnpref info' lists its 6 layers" in line
    maker = {"torch": "vision:Maker", "input_shape": [6]}
    line = fail("generate", {"net": maker, "layers": {"fc": {}}})
    assert "the net 'vision:Maker' takes [6], not images [C, H, W]" in line
    assert call("info", {"net": maker, "layers": "all"}).exit_code == 0
