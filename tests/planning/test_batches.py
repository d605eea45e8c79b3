"""`batch: auto`: jobs that last, of the plan alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import ROOT
from planning import NET, description, message, plan

from cnnpref.nets import describe
from cnnpref.planning.batches import JOB_MINUTES, batch_size, batches, split
from cnnpref.planning.config import read_config
from cnnpref.planning.estimate import runtime_minutes, usual_seconds
from cnnpref.planning.plan import Plan, make_plan
from cnnpref.planning.series import Batch

START_UP = 8.0  # seconds, at most, in which a job loads PyTorch, CUDA and the net
LARGE = description({"fc": (4096,)}, (3, 227, 227), {"fc": 200_000_000})


@pytest.fixture(scope="module")
def alexnet() -> Plan:
    """10,568 units by 4 methods."""
    return make_plan(read_config(str(ROOT / "config" / "alexnet.yaml")), describe)


def changed(made: Plan, **changes: Any) -> Plan:
    return Plan({**made.config, **changes}, made.series, made.nets)


def work(made: Plan) -> float:
    """Seconds of all units, one after the other."""
    return sum(len(each.units) * usual_seconds(made, each) for each in made.series)


def overhead(made: Plan) -> float:
    """The part of the time of all jobs in which they start."""
    starting = START_UP * len(batches(made))
    return starting / (starting + work(made))


@pytest.mark.parametrize(
    ("speed", "before", "jobs", "after"), [(1, 0.002, 1075, 0.007), (100, 0.16, 38, 0.022)]
)
def test_alexnet_on_a_cpu_and_on_a_gpu(
    alexnet: Plan, speed: float, before: float, jobs: int, after: float
) -> None:
    fixed, made = (changed(alexnet, batch=batch, speed=speed) for batch in (128, "auto"))
    assert (len(batches(fixed)), len(batches(made))) == (332, pytest.approx(jobs, rel=0.1))
    assert overhead(fixed) == pytest.approx(before, rel=0.1)
    assert overhead(made) == pytest.approx(after, rel=0.1)
    for batch in batches(made):
        size, each = len(batch.units), usual_seconds(made, batch.series)
        assert size * each <= 60 * JOB_MINUTES
        is_alone = size == len(batch.series.units)  # a series of few units is one job
        assert is_alone or 0.05 * size * each > START_UP


def test_jobs_on_a_gpu_have_hundreds_of_units(alexnet: Plan) -> None:
    made = changed(alexnet, speed=100)
    sizes = {each.layer: batch_size(made, each) for each in made.select(method="lbfgs")}
    assert sizes["fc6"] > 1000
    assert sizes["conv1"] == 96


def test_a_job_on_a_gpu_reserves_less_time(alexnet: Plan) -> None:
    cpu, gpu = (changed(alexnet, batch=128, speed=speed) for speed in (1, 100))
    units = Batch(alexnet.select("fc8", "gd")[0], tuple(range(128)))
    assert runtime_minutes(gpu, units) < runtime_minutes(cpu, units) / 5


def test_the_units_of_a_series_are_shared_out_evenly() -> None:
    made = plan(LARGE, layers={"fc": {}})
    sizes = [len(batch.units) for batch in batches(made)]
    assert len(sizes) > 2
    assert sizes[-1] > sizes[0] - len(sizes)


@given(
    st.floats(1e-6, 1e6, exclude_min=True),
    st.sampled_from(["gd", "lbfgs", "spectral"]),
    st.integers(1, 4096),
)
def test_every_unit_is_in_one_job(speed: float, method: str, count: int) -> None:
    layers = {"fc": {"units": {"count": count}}}
    made = plan(LARGE, layers=layers, speed=speed, methods=[method])
    units = [unit for batch in batches(made) for unit in batch.units]
    assert units == list(made.series[0].units)


def test_a_number_of_units_is_what_it_says() -> None:
    made = plan(LARGE, layers={"fc": {}}, batch=100, speed=50)
    some = Batch(made.series[0], made.series[0].units[:150])
    assert {len(batch.units) for batch in batches(made)} == {100, 96}
    assert [len(batch.units) for batch in split(made, some)] == [100, 50]


@pytest.mark.parametrize("change", [{"batch": "auto"}, {"batch": 7}, {"speed": 300}])
def test_unit_files_keep_their_names(change: dict[str, Any]) -> None:
    assert plan(batch=1).series == plan(**change).series


@pytest.mark.parametrize("speed", [0, -1, 2e6, "fast"])
def test_bad_speeds(speed: object) -> None:
    assert "speed: got" in message(NET, speed=speed)
    assert "how many times as fast as one core" in message(NET, speed=speed)
