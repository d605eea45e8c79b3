"""Frames of an ascent: how many, when, what they show; and that they change nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from calling import call, net_of, succeed

from cnnpref import Generator, Objective, load_caffe, maximise, resolve
from cnnpref.nets import describe
from cnnpref.planning.config import resolve_config
from cnnpref.planning.estimate import unit_bytes, unit_memory
from cnnpref.planning.plan import Plan, make_plan
from cnnpref.results.unit_file import check_unit, read_unit

STEPS: dict[str, dict[str, Any]] = {
    "spectral": {"steps": 20},
    "gd": {"iter_n": 20},
    "dgn_gd": {"iter_n": 20},
    "lbfgs": {"maxiter": 30, "initial_image": None},
    "dgn_lbfgs": {"maxiter": 30},
}


def solve(folder: Path, method: str, units: list[int], **how: Any) -> Any:
    net, generator = (load_caffe(**net_of(folder, name)) for name in ("tiny", "generator"))
    options = resolve(method, "higher", STEPS[method])
    maker = Generator(generator) if method.startswith("dgn") else None
    objective = Objective.units(net, "fc", units)
    return maximise(net, objective, method, options, generator=maker, **how)


@pytest.mark.parametrize("method", STEPS)
def test_frames_go_evenly_from_the_first_evaluation_to_the_last(
    method: str, tiny_net: Path
) -> None:
    made = solve(tiny_net, method, [0, 3], keep_frames=5)
    for row in range(2):
        steps, frames = made.frame_steps[row], made.frames[row]
        length = len(made.activations[row])
        assert (frames.dtype, frames.shape) == (np.uint8, (len(steps), 12, 12, 3))
        assert len(steps) == min(5, length)
        assert steps[0] == 1
        assert length - steps[-1] <= length / 5
        assert np.ptp(np.diff(steps)) <= (1 if "lbfgs" not in method else length / 4 + 1)
    if "lbfgs" not in method:
        assert steps[-1] == 20
        last = np.rint(made.images[row]).clip(0, 255)
        assert np.abs(frames[-1] - last).max() <= ("dgn" in method)  # sums in another order


@pytest.mark.parametrize("method", STEPS)
def test_they_change_no_image_and_do_not_depend_on_the_batch(method: str, tiny_net: Path) -> None:
    plain = solve(tiny_net, method, [0, 1, 3])
    filmed = solve(tiny_net, method, [0, 1, 3], keep_frames=3)
    alone = solve(tiny_net, method, [3], keep_frames=3)
    assert plain.frames is None
    assert np.array_equal(plain.images, filmed.images)
    assert np.array_equal(filmed.frame_steps[2], alone.frame_steps[0])
    assert np.array_equal(filmed.frames[2], alone.frames[0])


@pytest.mark.usefixtures("in_tmp_path")
def test_unit_files_keep_them_and_keys_do_not_change(tiny_config: dict[str, Any]) -> None:
    config = {**tiny_config, "layers": {"conv1": {"units": "0-1"}}, "keep_frames": 2}
    without = {**config, "keep_frames": 0}
    old, new = plan(without), plan(config)
    assert old.series[0].digest == new.series[0].digest
    succeed("generate", without, "--units", "0")
    succeed("generate", config)
    first, second = new.series[0].paths()
    with h5py.File(first) as file:
        assert "frames" not in file  # it was valid, and was left as it is
    kept = read_unit(second)
    assert check_unit(second) is None
    assert kept.frame_step is not None
    assert kept.frame_step.tolist() == [1, 3]
    assert kept.frames is not None
    assert kept.frames.shape == (2, 12, 12, 3)
    assert call("collect", config).exit_code == 0


def plan(config: dict[str, Any]) -> Plan:
    return make_plan(resolve_config(config, "x"), describe)


def test_they_count_in_estimates(tiny_config: dict[str, Any]) -> None:
    few, many = (plan({**tiny_config, "keep_frames": n}) for n in (0, 1000))
    series = few.series[0]
    grown = unit_bytes(many, many.series[0]) - unit_bytes(few, series)
    assert grown == 1000 * 3 * 12 * 12
    taken = [unit_memory(each.series[0], each.nets["net"]) for each in (few, many)]
    assert taken[1] - taken[0] == 2 * grown
