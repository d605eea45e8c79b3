"""Ctrl-C and SIGTERM: a job ends within 5 s, with one line, and what was finished is there."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from calling import net_of, unit_files
from long_run import NET
from small_nets import write_net

from cnnpref.results.unit_file import check_unit

SECONDS = 20  # 5 are promised where the machine is not busy with other tests
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
Process = subprocess.Popen[str]


def start(config: dict[str, Any], *arguments: str) -> Process:
    words = [sys.executable, "-c", "from cnnpref.cli import main; main()", "generate"]
    words += ["--config", json.dumps(config), "--device", "cpu", "--threads", "1", *arguments]
    return subprocess.Popen(
        words,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def wait_for(process: Process, what: Callable[[str], bool]) -> list[str]:
    """The lines that it tells, up to one of that kind."""
    assert process.stderr
    lines = []
    for line in process.stderr:
        lines.append(line)
        if what(line):
            return lines
    raise AssertionError("".join(lines))


def end(process: Process, number: signal.Signals) -> list[str]:
    """The lines that it tells after a signal; it ends in time, as the convention is."""
    started = time.monotonic()
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert time.monotonic() - started < SECONDS
    assert process.returncode == CODES[number]
    assert "Traceback" not in told
    *before, last = told.splitlines()
    assert last.startswith("cnnpref: ended by ")
    assert last.endswith("; what was finished is saved: run it again to go on")
    assert not any(line.startswith("cnnpref:") for line in before)
    return before


@pytest.mark.parametrize("number", CODES)
@pytest.mark.usefixtures("in_tmp_path")
def test_a_job_ends_in_the_middle_of_a_batch(
    number: signal.Signals, tiny_config: dict[str, Any]
) -> None:
    config = {**tiny_config, "batch": 3, "options": {"gd": {"iter_n": 20}}}
    slow = {"units": "3-5", "options": {"gd": {"iter_n": 10**6}}}
    config["layers"] = {"fire/expand": {"units": "0-2"}, "conv1": slow}
    process = start(config)
    wait_for(process, lambda line: line.startswith("conv1/gd: 3 units at once"))
    time.sleep(0.5)
    end(process, number)
    assert set(unit_files()) == {f"fire=expand/{unit}" for unit in range(3)}
    assert all(check_unit(path) is None for path in unit_files().values())
    assert not list(Path().rglob("*.tmp"))


@pytest.mark.usefixtures("in_tmp_path")
def test_what_is_finished_is_written_even_if_the_signal_comes_meanwhile() -> None:
    write_net(Path("wide.prototxt"), NET.format(300))
    layers, options = {"fc": {}}, {"gd": {"iter_n": 2}}
    config = {"net": net_of(Path(), "wide"), "methods": ["gd"], "layers": layers}
    process = start({**config, "options": options, "batch": 20})
    at_once = wait_for(process, lambda line: " units at once" in line)[-1].split()[1]
    wait_for(process, lambda line: line.startswith("fc/gd unit 0:"))
    end(process, signal.SIGTERM)
    assert len(unit_files()) == int(at_once)


def test_a_signal_that_is_ignored_stays_so(tiny_config: dict[str, Any], tmp_path: Path) -> None:
    """As in the background of a shell without job control, or under nohup."""
    config = {**tiny_config, "results": str(tmp_path), "options": {"gd": {"iter_n": 400}}}
    code = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); from cnnpref.cli import"
    words = ["generate", "--config", json.dumps(config), "--device", "cpu", "--units", "0-1"]
    process = subprocess.Popen(
        [sys.executable, "-c", f"{code} main; main()", *words, "--layer", "conv1"],
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(process, lambda line: ": evaluation " in line)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert len(list(tmp_path.rglob("*.h5"))) == 2
