"""Prototxts that are refused: the one line that says what is wrong, and where."""

from __future__ import annotations

import time
from pathlib import Path

import basics
import pytest
import torch
from prototxts import INPUT, layer, load, refusal

from cnnpref.errors import UserError
from cnnpref.nets.caffe import load_caffe

RELU = INPUT + layer("r", "ReLU", "data")


def pooling(parameters: str) -> str:
    return INPUT + layer("p", "Pooling", "data", f"pooling_param {{ {parameters} }}")


def convolution(parameters: str) -> str:
    return INPUT + layer("c", "Convolution", "data", f"convolution_param {{ {parameters} }}")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            'layer { name: "x"\n  type "ReLU" }',
            ": not a readable prototxt: 2:8 : '  type \"ReLU\" }'",
        ),
        ('layer {\n  name: "x"\n', 'not a readable prototxt: 2:9 : Expected "}"'),
        (INPUT + "layr { }", ': 4:1 : Message type "cnnpref.caffe.NetParameter" has no field'),
        (pooling("kernel_size: -3"), "Value out of range: -3"),
        (pooling("pool: MAX { } kernel_size: 3"), ": Expected identifier or number, got {"),
    ],
)
def test_what_is_no_prototxt(text: str, told: str) -> None:
    assert told in refusal(text)


def test_a_large_file_that_is_no_prototxt_is_refused_at_its_first_mistake() -> None:
    start = time.process_time()
    assert "not a readable prototxt: 4:15 : " in refusal(
        INPUT + ("layer { name: " + "[" * 2000) * 3000
    )
    assert time.process_time() - start < 3  # measured: 0.1; 13 when all of it was read


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "absent", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(UserError, match=f"{path}: cannot be read: {reason}"):
            load_caffe(path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "net 'net' has no input in phase TEST; give the deploy prototxt"),
        ('layer { name: "d" type: "Data" top: "data" include { phase: TRAIN } }', "has no input"),
        ('input: "data"', "its inputs are data, with 0 shapes; give the deploy prototxt"),
        ('input: "data" input_dim: 1 input_dim: 3', "its inputs are data, with 0 shapes"),
        (INPUT + 'input: "b"', "its inputs are data, b, with 1 shapes"),
        (
            'layer { name: "i" type: "Input" top: "d" }',
            "layer 'i' (Input): its inputs are d, with 0",
        ),
        (INPUT.replace("dim: 3", "dim: 0"), "input 'data' needs positive dimensions, got [1, 0, 8"),
        ('input: "data" input_shape { }', "input 'data' needs positive dimensions, got []"),
    ],
)
def test_inputs_that_are_none(text: str, told: str) -> None:
    assert told in refusal(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            INPUT + layer("c", "ReLU", "dat"),
            "layer 'c' (ReLU): unknown bottom blob 'dat' (did you mean 'data'?); before it there",
        ),
        (
            RELU
            + layer("s", "TanH", "data")
            + layer("s2", "TanH", "s").replace('p: "s2"', 'p: "r"'),
            "layer 's2' (TanH): top blob 'r' is produced by several layers",
        ),
        (
            RELU + layer("t", "TanH", "data").replace('top: "t"', 'top: "data"'),
            "layer 't' (TanH): top blob 'data' is produced by several layers; in place is only",
        ),
        (
            INPUT + layer("r", "ReLU", ["data", "data"]),
            "layer 'r' (ReLU) on [1, 3, 8, 9] [1, 3, 8, 9]: takes 1 bottom blob(s), got 2",
        ),
        (INPUT + layer("r", "ReLU", []), "takes 1 bottom blob(s), got 0"),
        (INPUT + layer("e", "Concat", []), "takes at least 1 bottom blob(s), got 0"),
        (INPUT + layer("s", "Scale", ["data"] * 3), "takes 1 to 2 bottom blob(s), got 3"),
        (RELU.replace('top: "r"', ""), "layer 'r' (ReLU) on [1, 3, 8, 9]: takes 1 top"),
        (RELU.replace('top: "r"', 'top: "r" top: "s"'), "takes 1 top blob(s), got 2"),
        (pooling("pool: AVE kernel_size: 2").replace('top: "p"', 'top: "p" top: "mask"'), "got 2"),
        (
            RELU + layer("r", "TanH", "data"),
            "layer 'r' (TanH): top blob 'r' is produced by several layers",
        ),
    ],
)
def test_layers_that_are_wrongly_connected(text: str, told: str) -> None:
    assert told in refusal(text)


def test_two_layers_with_weights_and_one_name() -> None:
    one = layer("same", "Bias", "data")
    told = refusal(INPUT + one + one.replace('top: "same"', 'top: "other"'))
    assert "two layers with weights are named 'same'" in told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (convolution("kernel_size: 3"), "num_output must be given"),
        (convolution("num_output: 2"), "kernel_size must be given once, or as kernel_h and"),
        (convolution("num_output: 2 kernel_size: [1, 2, 3]"), "kernel_size must be given once"),
        (convolution("num_output: 2 kernel_size: 3 kernel_h: 1 kernel_w: 1"), "but not both"),
        (pooling("kernel_size: 3 stride: 2 stride_h: 1 stride_w: 1"), "but not both"),
        (convolution("num_output: 2 kernel_size: 0"), "kernel must be positive"),
        (convolution("num_output: 2 kernel_size: 1 stride: 0"), "stride must be positive"),
        (convolution("num_output: 2 kernel_size: 1 dilation: 0"), "dilation must be positive"),
        (convolution("num_output: 2 kernel_size: 1 group: 0"), "group must be positive"),
        (convolution("num_output: 2 kernel_size: 1 group: 2"), "group 2 does not divide 3 input"),
        (
            convolution("num_output: 2 kernel_size: 1 group: 3"),
            "group 3 does not divide num_output",
        ),
        (
            convolution("num_output: 2 kernel_size: 10"),
            "kernel of 10 x 10 does not fit a map",
        ),
        (pooling(""), "kernel_size must be given and positive"),
        (pooling("kernel_size: 2 stride: 0"), "stride must be positive"),
        (pooling("kernel_size: 2 pad: 2"), "pad 2 must be smaller than the kernel 2"),
        (pooling("global_pooling: true stride: 2"), "global_pooling needs stride 1"),
    ],
)
def test_parameters_that_a_layer_cannot_have(text: str, told: str) -> None:
    refused = refusal(text)
    assert "on [1, 3, 8, 9]: " in refused
    assert told in refused


def test_unknown_names_at_run_time() -> None:
    net, x = load(RELU), torch.zeros(1, 3, 8, 9)
    calls = {
        "unknown layer 'rr' (did you mean 'r'?)": lambda: net.activations(x, "rr"),
        "unknown blob of 'made': 'dat' (did you mean 'data'?)": lambda: net.forward(
            {"data": x}, ["dat"]
        ),
        "unknown blob of 'made': 'date' (did you mean 'data'?)": lambda: net.forward(
            {"date": x}, ["r"]
        ),
        "net 'made': give its input 'data' too": lambda: net.forward({}, ["r"]),
    }
    for told, call in calls.items():
        assert told in basics.refusal(call)
