"""Layers of forks of Caffe: a net loads without them, and says why they are not there."""

from __future__ import annotations

import time
from pathlib import Path

import basics
import numpy as np
import pytest
import torch
from prototxts import INPUT, layer, load, refusal

from cnnpref.nets.caffe import write_caffemodel

CONV = layer("conv", "Convolution", "data", "convolution_param { num_output: 2 kernel_size: 3 }")
FC = layer("fc", "InnerProduct", "conv", "inner_product_param { num_output: 2 }")
AFTER = layer("after", "TanH", "x") + layer("last", "Eltwise", ["conv", "after"])
DEPENDS = "it depends on layer 'x', which cannot be computed"

FOREIGN = {
    layer("x", "DetectionOutput", "conv"): "unknown type 'DetectionOutput'",
    layer("x", "Convolutoin", "conv"): "'Convolutoin' (did you mean 'Convolution'",
    layer("x", "White", "conv", "white_param { a: 1 b { c: [1, 2] } }"): "unknown type 'White'",
    layer("x", "Python", "conv", 'python_param { module: "m" }'): "unknown type 'Python'",
    layer("x", "SoftmaxWithLoss", ["conv", "data"]): "only trains and tests nets",
    layer("x", "Accuracy", ["conv", "data"]): "only trains and tests nets",
    layer("x", "ReLU", "conv", "relu_parm { }"): "type 'ReLU' with unknown fields",
    layer("x", "ReLU", "conv", "relu_param { slope: 1 }"): "may matter: relu_param slope (line 5)",
    layer("x", "Pooling", "conv", "pooling_param { pool: MEDIAN }"): "pool: MEDIAN (line 5)",
    layer("x", "Pooling", "conv", "pooling_param { pool: STOCHASTIC }"): "STOCHASTIC pooling",
    layer("x", "Interp", "conv"): "type 'Interp' on [1, 2, 6, 7]: height and width, zoom_factor or",
}


@pytest.mark.parametrize("foreign", FOREIGN)
def test_a_net_loads_without_what_is_unknown_and_without_what_needs_it(foreign: str) -> None:
    net, plain = load(INPUT + CONV + foreign + AFTER + FC), load(INPUT + CONV + FC)
    assert (dict(net.layers), dict(net.blobs)) == (dict(plain.layers), dict(plain.blobs))
    reason, *others = net.refused.values()
    assert (list(net.refused), others) == (["x", "after", "last"], [DEPENDS] * 2)
    assert FOREIGN[foreign] in reason
    for weight, given in zip(net.parameters(), plain.parameters(), strict=True):
        given.copy_(weight.normal_(generator=torch.Generator().manual_seed(0)))
    x = torch.randn(2, 3, 8, 9, generator=torch.Generator().manual_seed(1))
    assert torch.equal(net.activations(x, "fc"), plain.activations(x, "fc"))


def test_an_old_file_with_an_unknown_type() -> None:
    relu = 'layers { name: "%s" type: %s bottom: "%s" top: "%s" }\n'
    net = load(INPUT + relu % ("a", "RELU", "data", "a") + relu % ("x", "WHITENING", "a", "x"))
    assert (list(net.layers), net.refused) == (["a"], {"x": "unknown type 'Whitening'"})


@pytest.mark.parametrize(
    ("before", "field"),
    [
        ("num_output", "engine: MKL quantization_param { bw: 8 }"),
        ("type:", 'engine: "MKLDNN" quantization_param < bw: 8 , deep { } >;'),
        ("num_output", 'weight_filler { type: "msra" varience_norm: FAN_OUT }'),
        ("type:", "param { lr_mult: 1 sgd_only: true }"),
        ("type:", "transform_param { resize_param { prob: 1 } }"),
    ],
)
def test_fields_that_do_not_change_what_is_computed_are_ignored(before: str, field: str) -> None:
    net = load(INPUT + CONV.replace(before, f"{field} {before}"))
    assert (dict(net.layers), net.refused) == ({"conv": (2, 6, 7)}, {})


def test_a_blob_that_an_unknown_layer_changes_has_no_value_any_more() -> None:
    foreign = layer("x", "White", "conv").replace('top: "x"', 'top: "conv"')
    net = load(INPUT + CONV + foreign + FC)
    assert (list(net.layers), list(net.blobs)) == (["conv"], ["data"])
    assert net.refused["fc"] == DEPENDS
    calls = {
        "layer 'fc' of the net 'made' cannot be computed: it depends on layer 'x'": "fc",
        "layer 'x' of the net 'made' cannot be computed: unknown type 'White'": "x",
    }
    for told, name in calls.items():
        x = torch.zeros(1, 3, 8, 9)
        assert told in basics.refusal(net.activations, x, name)
        assert told in basics.refusal(net.forward, {"data": x}, [name])


def test_weights_of_layers_that_cannot_be_computed_are_ignored(tmp_path: Path) -> None:
    given = [("conv", "Convolution", [np.ones((2, 3, 3, 3)), np.ones(2)])]
    write_caffemodel(tmp_path / "net.caffemodel", "net", [*given, ("x", "White", [np.ones(7)])])
    net = load(INPUT + CONV + layer("x", "White", "conv"), caffemodel=tmp_path / "net.caffemodel")
    assert [weight.sum().item() for weight in net.parameters()] == [54, 2]


def test_a_net_of_which_nothing_can_be_computed_is_refused() -> None:
    told = refusal(INPUT + layer("x", "White", "data") + layer("y", "ReLU", "x"))
    assert told == "net 'made': no layer can be computed: layer 'x': unknown type 'White'"


def test_a_mistake_is_told_rather_than_the_unknown_fields_before_it() -> None:
    foreign = INPUT + layer("x", "White", "data", "white_param { }") + "layer {\n name: }\n"
    assert "not a readable prototxt: 6:8 : ' name: }'" in refusal(foreign)
    assert "not a readable prototxt: 8:1 :" in refusal(INPUT + "layer { white {\n\n\n\n")


def test_lines_and_columns_stay_right_behind_unknown_fields() -> None:
    foreign = INPUT + "layer {\n  white_param {\n a: 1 }\n  type ReLU }"
    assert "not a readable prototxt: 7:8 : '  type ReLU }'" in refusal(foreign)


def test_the_time_that_unknown_fields_take_is_that_of_their_text() -> None:
    ours = f'ours {{ text: "{"x" * 3000}" }}'
    text = INPUT + "".join(layer(f"x{n}", "ReLU", "data", ours) for n in range(1500))
    start = time.process_time()
    assert "'x0': type 'ReLU' with unknown fields, which may matter: ours (line 4)" in refusal(text)
    assert time.process_time() - start < 3  # measured: 0.8; 4.6 with a look at all before each
