"""What a job is said to take: from shapes alone, and enough."""

from __future__ import annotations

import pytest
from calling import Config, succeed, unit_files
from planning import NET, description, plan

from cnnpref.nets import describe
from cnnpref.planning.config import resolve_config
from cnnpref.planning.estimate import memory_mb, runtime_minutes, unit_bytes
from cnnpref.planning.plan import Plan, make_plan
from cnnpref.planning.series import Batch

LARGE = description(
    {"conv": (64, 112, 112), "conv2": (64, 112, 112), "fc": (1000,)},
    (3, 224, 224),
    {"conv": 9472, "conv2": 36_928, "fc": 100_000_000},
)
GENERATOR = description({"up": (256, 4, 4), "image": (3, 256, 256)}, (4096,), {"up": 16_781_312})


def job(of: Plan, rows: int | None = None) -> Batch:
    series = of.series[0]
    return Batch(series, series.units[:rows])


def test_more_units_layers_and_iterations_take_more() -> None:
    low, high = (plan(LARGE, layers={layer: {"units": "0-31"}}) for layer in ("conv", "fc"))
    longer = plan(LARGE, layers={"fc": {}}, options={"gd": {"iter_n": 4000}})
    assert memory_mb(low, job(low, 8)) < memory_mb(low, job(low)) < memory_mb(high, job(high))
    assert runtime_minutes(low, job(low)) < runtime_minutes(high, job(high))
    assert runtime_minutes(high, job(high)) < runtime_minutes(longer, job(longer, 32))


def test_lbfgs_keeps_a_history() -> None:
    gd, lbfgs = (plan(LARGE, layers={"fc": {}}, methods=[method]) for method in ("gd", "lbfgs"))
    history = 20 * 8 * 3 * 224 * 224 / 1e6  # MB: ten pairs of vectors in double precision
    assert memory_mb(lbfgs, job(lbfgs, 32)) > memory_mb(gd, job(gd, 32)) + 32 * history


def test_units_that_come_later_take_time_alone() -> None:
    made = plan(LARGE, layers={"fc": {}})
    assert memory_mb(made, job(made, 64)) == memory_mb(made, job(made, 128))
    assert runtime_minutes(made, job(made, 64)) < runtime_minutes(made, job(made, 128))


def test_a_generator_takes_its_share() -> None:
    alone = plan(LARGE, layers={"fc": {"units": 0}})
    section = {"prototxt": "g.prototxt", "caffemodel": "g.caffemodel"}
    made = plan(
        LARGE, GENERATOR, methods=["dgn_gd"], generator=section, layers={"fc": {"units": 0}}
    )
    assert memory_mb(made, job(made)) >= memory_mb(alone, job(alone)) + 100
    assert unit_bytes(made, made.series[0]) == unit_bytes(alone, alone.series[0]) + 4 * 4096


def test_numbers_are_whole_and_round() -> None:
    small = plan(NET)
    assert (memory_mb(small, job(small)) % 100, runtime_minutes(small, job(small)) % 10) == (0, 0)


@pytest.mark.usefixtures("in_tmp_path")
def test_a_unit_file_has_the_size_that_was_said(tiny_config: Config) -> None:
    wanted = make_plan(resolve_config(tiny_config, "tiny"), describe)
    assert wanted.nets["net"].input_shape == (3, 12, 12)
    assert wanted.nets["net"].weights == {"conv1": 456, "fire/expand": 220, "fc": 725}
    succeed("generate", tiny_config)
    for series in wanted.series:
        for path in series.paths():
            assert path.stat().st_size == pytest.approx(unit_bytes(wanted, series), rel=0.3)
    assert len(unit_files()) == 10
