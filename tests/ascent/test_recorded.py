"""What is recorded in a CUDA graph, without CUDA: when, what is called then, and what if it fails.

Recordings here are functions in place of graphs; `tests/gpu` has real ones.
"""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import Tensor

import cnnpref
from cnnpref.ascent.recorded import Function, Recording
from cnnpref.ascent.variables import Generator
from cnnpref.methods import METHODS, resolve
from cnnpref.nets.caffe import CaffeNet


def squared(x: Tensor) -> tuple[Tensor, ...]:
    return (x.square().sum(1), 2 * x)


class Tape:
    """Keeps what a function gave for its first argument, and gives that."""

    def __init__(self) -> None:
        self.recorded = 0

    def __call__(self, function: Function, x: Tensor) -> Function:
        self.recorded += 1
        found = function(x)
        return lambda _: found


class Verdicts:
    """A stopwatch that says so, call by call, whether recording pays."""

    def __init__(self, *verdicts: bool | None) -> None:
        self.verdicts, self.timed = list(verdicts), 0

    def call(self, function: Function, x: Tensor) -> tuple[Tensor, ...]:
        self.timed += 1
        return function(x)

    @property
    def pays(self) -> bool | None:
        return self.verdicts.pop(0)


def test_it_is_recorded_once_it_is_known_to_pay_and_then_replayed() -> None:
    tape, stopwatch = Tape(), Verdicts(None, None, True)
    recording = Recording(tape, stopwatch)
    for calls in range(1, 5):
        values, gradient = recording.call(squared, torch.ones(2, 3))
        assert values.tolist() == [3, 3]
        assert torch.equal(gradient, torch.full((2, 3), 2.0))
        assert tape.recorded == (calls > 2)
    assert stopwatch.timed == 2
    assert recording.call(squared, torch.zeros(2, 3))[0].tolist() == [3, 3]  # no call: a replay


def test_where_it_does_not_pay_nothing_is_recorded_nor_asked_again() -> None:
    tape = Tape()
    recording = Recording(tape, Verdicts(None, False))
    for factor in range(4):
        assert recording.call(squared, factor * torch.ones(1, 3))[0].tolist() == [3 * factor**2]
    assert tape.recorded == 0


@pytest.mark.parametrize(
    "error", [RuntimeError("operation not permitted when stream is capturing"), None]
)
def test_where_it_cannot_be_the_function_is_called(
    error: RuntimeError | None, caplog: pytest.LogCaptureFixture
) -> None:
    attempts = []

    def fail(_function: Function, _x: Tensor) -> Function:
        attempts.append(1)
        raise error or torch.OutOfMemoryError("CUDA out of memory")

    recording = Recording(fail, Verdicts(True))
    with caplog.at_level("INFO", "cnnpref"):
        for factor in (1, 2):
            assert recording.call(squared, factor * torch.ones(1, 3))[0].tolist() == [3 * factor**2]
    assert len(attempts) == 1
    assert caplog.messages[0].startswith("no CUDA graph, going on without: ")


def test_a_cpu_records_nothing() -> None:
    recording = Recording.on(torch.device("cpu"))
    for factor in (1, 2):
        assert recording.call(squared, factor * torch.ones(1, 3))[0].tolist() == [3 * factor**2]


@pytest.mark.parametrize("method", METHODS)
def test_what_is_recorded_is_gone_with_its_batch(
    net: CaffeNet, generator: Generator, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU's memory does not wait for Python to look for circles."""
    made: list[weakref.ref[Recording]] = []

    def note(_device: torch.device) -> Recording:
        recording = Recording()
        made.append(weakref.ref(recording))
        return recording

    monkeypatch.setattr(Recording, "on", note)
    objective = cnnpref.Objective.units(net, "conv2", [1, 2])
    options = METHODS[method].shortened(resolve(method, "lower"), 3)
    gc.disable()
    try:
        cnnpref.maximise(
            net, objective, method, options, generator=generator, observe=lambda _: None
        )
        assert made
        assert [each for each in made if each()] == []
    finally:
        gc.enable()
