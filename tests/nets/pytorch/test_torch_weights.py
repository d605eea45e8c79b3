"""Weights of PyTorch modules in a config: the files that are read, and those that are not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import NET, answer, refusal, state, write_plain
from safetensors.torch import save_file
from torch import Tensor, nn

pytestmark = pytest.mark.usefixtures("vision")


def write_nested(path: Path, values: dict[str, Tensor]) -> Path:
    torch.save({"state_dict": values, "epoch": 3}, path.with_suffix(".pt"))
    return path.with_suffix(".pt")


def write_parallel(path: Path, values: dict[str, Tensor]) -> Path:
    return write_plain(path, {f"module.{key}": value for key, value in values.items()})


def write_old(path: Path, values: dict[str, Tensor]) -> Path:
    """Before PyTorch counted batches."""
    return write_plain(path, {k: v for k, v in values.items() if "num_batches" not in k})


def write_safe(path: Path, values: dict[str, Tensor]) -> Path:
    save_file(values, path.with_suffix(".safetensors"))
    return path.with_suffix(".safetensors")


@pytest.mark.parametrize(
    "write", [write_plain, write_nested, write_parallel, write_old, write_safe]
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
    return {f"net.{key}": value for key, value in values.items()}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (without(state()), "w.pt: not the weights of vision:build: missing: 0.weight, 5.bias"),
        (
            renamed(state()),
            "missing: 0.weight, 0.bias, 1.weight and 5 more; unknown: net.0.weight, net.0.bias, "
            "net.1.weight and 6 more",
        ),
        (
            {**state(), "0.bias": torch.zeros(5)},
            "vision:build: of other shapes: 0.bias [5] for [4]",
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
