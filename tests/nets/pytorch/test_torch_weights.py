"""Weights of PyTorch modules in a config: the files that are read, and those that are not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import NET, answer, refusal, state, write_plain
from safetensors.torch import save_file
from torch import Tensor, nn

import cnnpref
from cnnpref.nets import describe, open_net

pytestmark = pytest.mark.usefixtures("vision")


def write_nested(path: Path, values: dict[str, Tensor]) -> Path:
    torch.save({"state_dict": values, "epoch": 3}, path.with_suffix(".pt"))
    return path.with_suffix(".pt")


def write_parallel(path: Path, values: dict[str, Tensor]) -> Path:
    return write_plain(path, {f"module.{key}": value for key, value in values.items()})


def write_compiled(path: Path, values: dict[str, Tensor]) -> Path:
    """Of `torch.compile` and `DistributedDataParallel`."""
    return write_plain(path, {f"_orig_mod.module.{key}": value for key, value in values.items()})


def write_compiled_in_part(path: Path, values: dict[str, Tensor]) -> Path:
    names = {key: key.replace(".", "._orig_mod.", 1) for key in values}
    return write_plain(path, {names[key]: value for key, value in values.items()})


def write_lightning(path: Path, values: dict[str, Tensor]) -> Path:
    """With a part of the training that is no part of the net."""
    inner = {f"model.{key}": value for key, value in values.items()}
    state = {**inner, "loss.weight": torch.ones(5)}
    optimizer = {"state": {0: {"exp_avg": torch.zeros(4, 3, 3, 3)}}, "param_groups": [{"lr": 0.1}]}
    torch.save({"state_dict": state, "optimizer_states": [optimizer]}, path.with_suffix(".ckpt"))
    return path.with_suffix(".ckpt")


def write_net(path: Path, values: dict[str, Tensor]) -> Path:
    torch.save({"net": values, "acc": 0.9, "ema": None}, path.with_suffix(".pt"))
    return path.with_suffix(".pt")


def write_double(path: Path, values: dict[str, Tensor]) -> Path:
    return write_plain(path, {key: value.double() for key, value in values.items()})


def write_shards(path: Path, values: dict[str, Tensor]) -> Path:
    names = {key: f"shard-{number % 2}.safetensors" for number, key in enumerate(values)}
    for shard in set(names.values()):
        save_file({k: v for k, v in values.items() if names[k] == shard}, path.with_name(shard))
    index = path.with_name("model.safetensors.index.json")
    index.write_text(json.dumps({"metadata": {}, "weight_map": names}))
    return index


def write_old(path: Path, values: dict[str, Tensor]) -> Path:
    """Before PyTorch counted batches."""
    return write_plain(path, {k: v for k, v in values.items() if "num_batches" not in k})


def write_safe(path: Path, values: dict[str, Tensor]) -> Path:
    save_file(values, path.with_suffix(".safetensors"))
    return path.with_suffix(".safetensors")


@pytest.mark.parametrize(
    "write",
    [
        *(write_plain, write_nested, write_net, write_parallel, write_compiled),
        *(write_compiled_in_part, write_lightning, write_old, write_safe, write_double),
        write_shards,
    ],
)
def test_weights(write: Callable[[Path, dict[str, Tensor]], Path], tmp_path: Path) -> None:
    expected = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(16, 5),
    ).eval()  # fmt: skip
    expected.load_state_dict(state())
    path = write(tmp_path / "weights", state())
    x = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(answer({**NET, "weights": str(path)}), expected(x).detach())


def without(values: dict[str, Tensor]) -> dict[str, Tensor]:
    del values["0.weight"], values["5.bias"]
    return values


def renamed(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """As in a net of another class."""
    return {f"layer{key}": value for key, value in values.items()}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (without(state()), "w.pt: not the weights of vision:build: missing: 0.weight, 5.bias"),
        (
            renamed(state()),
            "missing: 0.weight, 0.bias, 1.weight and 5 more; unknown: layer0.weight, layer0.bias, "
            "layer1.weight and 6 more",
        ),
        (
            {**state(), "0.bias": torch.zeros(5)},
            "vision:build: of other shapes: 0.bias [5] for [4]",
        ),
        (
            {"model": {**state(), "0.bias": torch.zeros(5)}, "ema": without(state())},
            "w.pt: not the weights of vision:build, under 'model': of other shapes: 0.bias [5] for",
        ),
        ([1, 2], "w.pt: holds no tensors by name; save module.state_dict()"),
        ({"epoch": 3}, "w.pt: holds no tensors by name"),
        (nn.Linear(2, 2), "w.pt: cannot be read as weights: it holds other things than tensors"),
        (b"not weights", "w.pt: cannot be read as weights: it holds other things than tensors, or"),
        (b"PK\x03\x04half", "w.pt: cannot be read as weights: PytorchStreamReader failed"),
        (None, "w.pt: no such file; give the weights' path"),
    ],
)
def test_files_that_are_not_the_weights(content: Any, told: str) -> None:
    if isinstance(content, bytes):
        Path("w.pt").write_bytes(content)
    elif content is not None:
        torch.save(content, "w.pt")
    assert told in refusal({**NET, "weights": "w.pt"})


def test_a_damaged_safetensors_file() -> None:
    Path("w.safetensors").write_bytes(b"\x10\x00\x00")
    assert "w.safetensors: cannot be read as weights: Error while deserializing" in refusal(
        {**NET, "weights": "w.safetensors"}
    )


def test_several_weights_that_fit_are_asked_for() -> None:
    other = {key: value + 1 for key, value in state().items()}
    torch.save({"model": state(), "model_ema": {"module": other}, "epoch": 3}, "w.pt")
    given = {**NET, "weights": "w.pt"}
    assert refusal(given) == (
        "w.pt: holds several weights that fit vision:build, under 'model', 'model_ema.module';"
        " choose by weights_key: model"
    )
    first, second = (answer({**given, "weights_key": k}) for k in ("model", "model_ema.module"))
    write_plain(Path("alone"), other)
    torch.testing.assert_close(second, answer({**NET, "weights": "alone.pth"}))
    assert not torch.equal(first, second)
    assert "w.pt: weights_key: it has no place 'modle' (did you mean 'model'" in refusal(
        {**given, "weights_key": "modle"}
    )
    assert "not the weights of vision:build, under 'model.0': missing" in refusal(
        {**given, "weights_key": "model.0"}
    )


def test_half_precision_is_taken_as_float32() -> None:
    half = {key: value.half() for key, value in state().items()}
    write_plain(Path("half"), half)
    write_plain(Path("whole"), {key: value.float() for key, value in half.items()})
    found = answer({**NET, "weights": "half.pth"})
    assert found.dtype == torch.float32
    assert torch.equal(found, answer({**NET, "weights": "whole.pth"}))


def test_nothing_in_a_file_is_run() -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (Path("touched"),))

    torch.save({"state_dict": state(), "extra": Evil()}, "w.pt")
    assert "cannot be read as weights: it holds other things" in refusal({**NET, "weights": "w.pt"})
    assert not Path("touched").exists()


def test_shards_that_are_missing_or_change(tmp_path: Path) -> None:
    index = write_shards(tmp_path / "w", state())
    section = {**NET, "weights": str(index)}
    before = describe(section).sha256["weights"]
    assert before == describe(section).sha256["weights"]
    save_file({"0.bias": torch.ones(4)}, tmp_path / "shard-1.safetensors")
    assert describe(section).sha256["weights"] != before
    (tmp_path / "shard-1.safetensors").unlink()
    assert f"{index}: beside it, shard-1.safetensors missing" in refusal(section)
    index.write_text("{}")
    assert f"{index}: cannot be read as an index of weights ('weight_map')" in refusal(section)


LAZY = {"torch": "vision:lazy", "input_shape": [3, 8, 8]}


@pytest.mark.parametrize("weights", [False, True])
def test_lazy_modules(weights: bool) -> None:
    section = LAZY
    if weights:
        module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 5))
        write_plain(Path("w"), module.state_dict())
        section = {**LAZY, "weights": "w.pth"}
    described, net = describe(section), open_net(section)
    assert described.layers == net.layers
    assert net.layers["3"] == (5,)
    x = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = net.activations(x, "3")
        expected = module(x) if weights else open_net(section).activations(x, "3")
    torch.testing.assert_close(found, expected)


def test_a_lazy_module_from_python() -> None:
    module = nn.Sequential(nn.LazyConv2d(8, 3), nn.Dropout(), nn.Flatten(), nn.LazyLinear(5))
    net = cnnpref.load_torch(module, (3, 8, 8))
    assert net.layers["3"] == (5,)
    assert module.training
