"""The jobs of a run: which units are computed together.

Sizes depend on the config and the nets alone: each job of a cluster expands the plan again, on its
own machine, and must find itself there.
"""

from __future__ import annotations

from math import ceil

from cnnpref.planning.estimate import usual_seconds
from cnnpref.planning.plan import Plan
from cnnpref.planning.series import Batch, Series

JOB_MINUTES = 20  # how long a job usually takes, and so the most that a restart may lose


def batches(plan: Plan) -> list[Batch]:
    """The units of all series, job by job."""
    return [batch for series in plan.series for batch in split(plan, Batch(series, series.units))]


def split(plan: Plan, units: Batch) -> list[Batch]:
    """Some units of a series, job by job."""
    return units.split(batch_size(plan, units.series))


def batch_size(plan: Plan, series: Series) -> int:
    """How many units of a series a job has, at most.

    With `batch: auto` as many as take `JOB_MINUTES`, and all jobs of a series the same number,
    about. A job that long takes a hundred times as long as it takes to start.
    """
    if plan.config["batch"] != "auto":
        return int(plan.config["batch"])
    most = max(1, int(60 * JOB_MINUTES / usual_seconds(plan, series)))
    jobs = ceil(len(series.units) / most)
    return ceil(len(series.units) / jobs)
