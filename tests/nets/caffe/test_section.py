"""The `net` section of a config: what of a Caffe net goes into the keys of its results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from basics import refusal
from prototxts import INPUT, layer

from cnnpref.nets import describe, open_net
from cnnpref.nets.caffe import write_caffemodel
from cnnpref.planning.config import resolve_config

CONV = layer("conv", "Convolution", "data", "convolution_param { num_output: 2 kernel_size: 3 }")
PLAIN = INPUT + CONV
STATED = (
    layer("data", "Input", [], "input_param { shape { dim: 1 dim: 3 dim: 8 dim: 9 } } %s") + CONV
)
FILES = {"prototxt", "caffemodel"}


def section(folder: Path, text: str, **keys: Any) -> dict[str, Any]:
    (folder / "net.prototxt").write_text(text)
    weights = [("conv", "Convolution", [np.ones((2, 3, 3, 3)), np.zeros(2)])]
    write_caffemodel(folder / "net.caffemodel", "net", weights)
    paths = {"prototxt": folder / "net.prototxt", "caffemodel": folder / "net.caffemodel"}
    return {**{key: str(path) for key, path in paths.items()}, **keys}


@pytest.mark.parametrize(
    "keys", [{}, {"mean": [1, 2, 3]}, {"scale": 0.5}, {"input_shape": [3, 16, 16]}]
)
def test_a_net_is_known_by_its_files_and_the_keys_of_its_section(
    tmp_path: Path, keys: dict[str, Any]
) -> None:
    assert describe(section(tmp_path, PLAIN, **keys)).sha256.keys() == FILES


def test_a_transform_param_that_counts_goes_into_the_key(tmp_path: Path) -> None:
    text = STATED % "transform_param { scale: 0.5 mean_value: 7 }"
    with pytest.warns(UserWarning, match="its transform_param is used"):
        told = describe(section(tmp_path, text)).sha256
    assert told["transform_param"] == "mean 7.0 7.0 7.0, scale 0.5"
    given = section(tmp_path, text, mean=[0, 0, 0], scale=1)
    assert describe(given).sha256.keys() == FILES


def test_a_state_and_bilinear_fillers_go_into_the_key(tmp_path: Path) -> None:
    assert describe(section(tmp_path, 'state { stage: "a" }' + PLAIN)).sha256["state"] == (
        "level 0, stages a"
    )
    filler = 'num_output: 2 kernel_size: 4 weight_filler { type: "bilinear" }'
    up = layer("up", "Deconvolution", "data", f"convolution_param {{ {filler} }}")
    assert describe(section(tmp_path, PLAIN + up)).sha256["bilinear"] == "up"
    stored = up.replace('name: "up"', 'name: "conv"').replace('top: "up"', 'top: "conv"')
    assert describe(section(tmp_path, INPUT + stored)).sha256.keys() == FILES


def test_an_opened_net_is_as_its_section_says(tmp_path: Path) -> None:
    text = PLAIN + 'input: "info" input_shape { dim: 1 dim: 2 }' + layer("r", "ReLU", "info")
    keys = {"mean": [1, 2, 3], "scale": 0.5, "input_shape": [3, 20, 20], "inputs": {"info": 4}}
    given = section(tmp_path, text, **keys)
    net, told = open_net(given), describe(given)
    assert (net.space.mean, net.space.scale) == ((1, 2, 3), (0.5,) * 3)
    assert net.input_shape == told.input_shape == (3, 20, 20)
    assert net.layers == told.layers == {"conv": (2, 18, 18), "r": (2,)}
    assert net.forward({}, ["r"])["r"].tolist() == [[4, 4]]


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"mean": [1, 2]}, "mean: 3 values or channels (BGR) wanted, got shape (2,)"),
        ({"scale": [1, 2]}, "scale: got [1, 2]; allowed: a number other than 0, or 3 of them"),
        ({"inputs": {"info": 1}}, "inputs: 'made' has no input 'info' beside its image 'data'"),
    ],
)
def test_what_does_not_fit_the_net_is_told_at_plan_time(
    tmp_path: Path, keys: dict[str, Any], told: str
) -> None:
    assert told in refusal(describe, section(tmp_path, PLAIN, **keys))


NET = {"prototxt": "a", "caffemodel": "b"}


@pytest.mark.parametrize(
    "keys",
    [
        {"scale": 0.017},
        {"scale": [1, 2, 3, 4]},
        {"mean": [1]},
        {"input_shape": [4, 9, 9]},
        {"inputs": {"info": [1, [2]], "label": 3}},
    ],
)
def test_keys_that_a_config_may_have(keys: dict[str, Any]) -> None:
    for given in (NET, {"zoo": "alexnet"}):
        net = {**given, **keys}
        assert resolve_config({"net": net, "layers": "all"}, "run")["net"] == net


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"scale": 0}, "net.scale: got 0; allowed: a number other than 0"),
        ({"scale": "small"}, "net.scale: got 'small'"),
        ({"inputs": {"info": "x"}}, "net.inputs.info: got 'x'; allowed: a number, or a list"),
        ({"input_shape": [3, 0, 4]}, "net.input_shape.1: got 0"),
        ({"args": {}}, "the other keys go with torch"),
        ({"torch": "a:b", "input_shape": [3, 8, 8]}, "neither zoo nor Caffe's keys"),
    ],
)
def test_keys_that_a_config_may_not_have(keys: dict[str, Any], told: str) -> None:
    config = {"net": {**NET, **keys}, "layers": "all"}
    assert told in refusal(resolve_config, config, "run")
