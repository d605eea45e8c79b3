"""PyTorch modules as nets: layers, values, blobs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from modules import (
    SHAPE,
    Borrowing,
    Branches,
    Convnext,
    Functional,
    Maker,
    Parts,
    Plain,
    Residual,
    Squeeze,
    Undecided,
    Vit,
    seeded,
)
from torch import Tensor, fx, nn

import cnnpref
from cnnpref.nets.pytorch import TorchNet

KINDS = [Plain, Residual, Branches, Squeeze, Vit, Convnext, Functional, Undecided, Parts]
KINDS += [Borrowing]
TRACED = [Plain, Residual, Branches, Squeeze, Convnext, Functional, Borrowing]


def load(kind: type[nn.Module], **options: Any) -> TorchNet:
    shape = (12,) if kind is Maker else SHAPE
    return cnnpref.load_torch(seeded(kind), shape, **options)


def noise(count: int = 3, shape: tuple[int, ...] = SHAPE) -> Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(count))


class Values(fx.Interpreter):
    """What each node of a symbolic trace gives, before what follows changes it."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.found: list[tuple[str, Tensor]] = []

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n.op != "output" and isinstance(value, Tensor):
            self.found.append((qualified(n), value.clone()))
        return value


def qualified(node: fx.Node) -> str:
    """`layer1.0.add`, without a number."""
    if node.op == "call_module":
        return str(node.target)
    scope = [path.partition("@")[0] for path in node.meta.get("nn_module_stack", {})]
    kind = getattr(node.target, "__name__", str(node.target)).strip("_")
    kind = {"truediv": "div"}.get(kind, kind)
    return ".".join([*scope[-1:], kind])


@pytest.mark.parametrize("kind", TRACED)
def test_every_node_of_a_symbolic_trace_is_a_layer_with_its_value(kind: type[nn.Module]) -> None:
    net = load(kind)
    trace = Values(fx.symbolic_trace(seeded(kind).eval()))
    with torch.no_grad():
        trace.run(noise())
    counts: dict[str, int] = {}
    for base, value in trace.found[1:]:  # the first is the input
        counts[base] = number = counts.get(base, -1) + 1
        name = f"{base}_{number}" if number else base
        if not value.requires_grad and name not in net.layers:
            assert kind in (Functional, Borrowing)  # whose parameters are nodes
            continue
        torch.testing.assert_close(net.activations(noise(), name), value)
    assert set(net.layers) >= {n for n, _ in trace.found[1:] if "weight" not in n}


def test_layers_are_in_the_order_of_execution() -> None:
    block = ["conv1", "bn1", "relu", "conv2", "bn2", "add", "relu_1"]
    blocks = [
        name
        for number in range(2)
        for name in [*(f"layer1.{number}.{part}" for part in block), f"layer1.{number}"]
    ]
    net = load(Residual)
    assert list(net.layers) == ["stem", *blocks, "layer1", "pool", "flatten", "fc"]
    assert net.layers["layer1.0.add"] == (4, 7, 7)
    assert net.layers["fc"] == (5,)
    assert list(net.blobs) == ["image", *net.layers]
    assert net.blobs["image"] == net.input_shape == SHAPE


def test_what_cannot_be_traced_has_layers_too() -> None:
    net = load(Undecided)
    assert list(net.layers) == ["dark", "relu", "add"]
    bright = noise(2) + 1
    expected = torch.relu(seeded(Undecided).bright(bright)) + 1
    torch.testing.assert_close(net.activations(bright, "add"), expected)
    with pytest.raises(cnnpref.UserError, match="'dark': not reached with this input, as it was"):
        net.activations(bright, "dark")


def test_each_tensor_of_a_module_that_gives_several_is_a_layer() -> None:
    assert list(load(Parts).layers) == ["two.conv", "two.mean", "two.0", "two.1", "head"]


def test_transformers_have_their_layers_whether_or_not_a_gradient_is_wanted() -> None:
    net = load(Vit)
    assert [n for n in net.layers if n.startswith("layer.")] == [
        f"layer.{part}"
        for part in (
            "self_attn.0",
            "dropout1",
            "norm1",
            "linear1",
            "dropout",
            "linear2",
            "dropout2",
            "norm2",
        )
    ]
    assert "expand" not in net.layers  # the class token is no answer to an image
    assert net.layers["layer"] == (17, 8)
    module = seeded(Vit).eval()
    for layer, part in (("layer", module.layer), ("layer.linear1", module.layer.linear1)):
        seen: list[Tensor] = []
        part.register_forward_hook(lambda _m, _x, y, seen=seen: seen.append(y))
        module(noise())
        with torch.no_grad():
            torch.testing.assert_close(net.activations(noise(), layer), seen[0])
        torch.testing.assert_close(net.activations(noise(), layer), seen[0])


@pytest.mark.parametrize("kind", [*KINDS, Maker])
def test_the_net_is_the_module(kind: type[nn.Module]) -> None:
    net, module = load(kind), seeded(kind).eval()
    x = noise(3, net.input_shape)
    answer = module(x.clone())
    answer = answer["scores"] if isinstance(answer, dict) else answer
    torch.testing.assert_close(net.activations(x, list(net.layers)[-1]), answer)


@pytest.mark.parametrize("kind", [*KINDS, Maker])
def test_any_batch(kind: type[nn.Module]) -> None:
    net = load(kind)
    x = noise(5, net.input_shape)
    for layer, shape in net.layers.items():
        every = net.activations(x, layer)
        assert every.shape == (5, *shape)
        torch.testing.assert_close(net.activations(x[2:3], layer), every[2:3])


def test_a_layer_is_what_it_gives_before_a_layer_in_place() -> None:
    net, module = load(Plain), seeded(Plain).eval()
    expected = module[1](module[0](noise()))
    assert (expected < 0).any()
    torch.testing.assert_close(net.activations(noise(), "1"), expected)
    torch.testing.assert_close(net.activations(noise(), "2"), expected.relu())
    blobs = net.forward({"image": noise()}, ["0", "1", "2", "3"])
    torch.testing.assert_close(blobs["1"], expected.relu())
    torch.testing.assert_close(blobs["0"], module[0](noise()))


def test_what_follows_a_layer_is_not_computed() -> None:
    net = load(Residual)
    calls: list[str] = []
    for name, part in net.module.named_modules():
        part.register_forward_pre_hook(lambda *_, name=name: calls.append(name))
    net.activations(noise(), "layer1.0.conv2")
    assert calls[-1] == "layer1.0.conv2"
    assert "fc" not in calls
    calls.clear()
    net.forward({"image": noise()}, ["layer1.0.conv2", "stem"])
    assert calls[-1] == "layer1.0.conv2"


def test_blobs_that_change_later_need_the_whole_pass() -> None:
    blobs = load(Residual).forward({"image": noise()}, ["layer1.0.bn2", "layer1.0"])
    torch.testing.assert_close(blobs["layer1.0.bn2"], blobs["layer1.0"])


@pytest.mark.parametrize("kind", KINDS)
def test_blobs_may_be_given_in_place_of_the_image(kind: type[nn.Module]) -> None:
    """What a full pass left under a name, given back, gives the same end; or more is needed."""
    net = load(kind)
    full = net.forward({"image": noise()}, list(net.blobs))
    last, enough = list(net.blobs)[-1], {"image"}
    del full["image"]  # given, it is what it was before the module changed it
    for blob, value in full.items():
        both = net.forward({"image": noise(), blob: value}, [last])
        torch.testing.assert_close(both[last], full[last])
        try:
            torch.testing.assert_close(net.forward({blob: value}, [last])[last], full[last])
            enough.add(blob)
        except cnnpref.UserError as error:
            assert str(error) == f"net {net.name!r}: give its input 'image' too"  # noqa: PT017
    assert enough >= ENOUGH[kind]
    assert not enough & TOO_LITTLE.get(kind, set())


ENOUGH = {
    Plain: {"image", "0", "1", "2", "3", "4", "5", "6", "7"},
    Residual: {"image", "stem", "layer1.0", "layer1.0.add", "layer1.0.bn2", "layer1", "fc"},
    Branches: {"image", "cat", "last"},
    Squeeze: {"hardswish", "mul", "point"},
    Vit: {"patches", "cat", "layer", "add", "head"},
    Convnext: {"image", "add"},
    Functional: {"image", "conv2d", "flatten"},
    Undecided: {"image", "add"},
    Parts: {"image", "two.conv", "two.mean", "head"},
    Borrowing: {"image", "one", "two.relu", "two.conv2d", "relu"},
}
TOO_LITTLE = {
    Residual: {"layer1.0.conv1", "layer1.0.bn1", "layer1.0.conv2"},
    Branches: {"one", "three", "relu", "five", "max_pool2d"},
    Squeeze: {"mean", "sigmoid"},
    Convnext: {"depthwise", "permute_1"},
}


def test_what_does_not_depend_on_what_is_given_needs_no_computation() -> None:
    net = load(Vit)
    with torch.profiler.profile() as profile:
        net.forward({"layer": torch.rand(2, 17, 8)}, ["head"])
    done = {event.key for event in profile.key_averages()}
    assert "aten::convolution" not in {e for e in done if "meta" in e}
    calls = [e for e in profile.events() if e.name == "aten::mkldnn_convolution"]
    assert calls == []


def test_gradients_reach_whatever_is_given() -> None:
    net = load(Residual)
    stem = torch.rand(2, 4, 7, 7, requires_grad=True)
    net.forward({"stem": stem}, ["fc"])["fc"].sum().backward()
    image = noise(2).requires_grad_()
    middle = net.activations(image, "stem")
    (expected,) = torch.autograd.grad(net.forward({"stem": stem}, ["fc"])["fc"].sum(), stem)
    assert stem.grad is not None
    torch.testing.assert_close(stem.grad, expected)
    assert middle.requires_grad


@pytest.mark.parametrize("kind", [*KINDS, Maker])
def test_gradients_are_autograds(kind: type[nn.Module]) -> None:
    net, module = load(kind), seeded(kind).eval()
    x, y = (noise(2, net.input_shape).requires_grad_() for _ in range(2))
    answer = module(y.clone())
    answer = answer["scores"] if isinstance(answer, dict) else answer
    answer.square().sum().backward()
    net.activations(x, list(net.layers)[-1]).square().sum().backward()
    torch.testing.assert_close(x.grad, y.grad)


def test_the_images_given_are_not_changed() -> None:
    x = noise()
    load(Functional).activations(x, "flatten")
    assert torch.equal(x, noise())


def test_the_module_is_left_as_it_was() -> None:
    module = seeded(Residual).train()
    module.layer1[0].eval()
    module.stem.weight.requires_grad_(False)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    flags = [m.training for m in module.modules()], [p.requires_grad for p in module.parameters()]
    net = cnnpref.load_torch(module, SHAPE)
    first = net.activations(noise(), "fc")
    net.receptive_field("layer1")
    module.train()
    torch.testing.assert_close(net.activations(noise(), "fc"), first)
    module.layer1[0].eval()
    assert flags == (
        [m.training for m in module.modules()],
        [p.requires_grad for p in module.parameters()],
    )
    after = module.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in module.modules())
    assert not first.requires_grad


def test_parameters_are_those_of_the_module() -> None:
    net = load(Residual)
    next(net.parameters()).zero_()
    assert not any(p.requires_grad for p in net.parameters())
    assert not net.module.stem.weight.any()  # type: ignore[union-attr]
