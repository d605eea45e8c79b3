"""How long jobs take on this machine: a few iterations of a few units, timed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from time import perf_counter

import torch
from tqdm import tqdm

from cnnpref.ascent.objective import Objective
from cnnpref.ascent.task import Moment
from cnnpref.jobs.nets import Nets
from cnnpref.maximisation import maximise
from cnnpref.nets import Net, without_fetching
from cnnpref.planning.batches import batch_size
from cnnpref.planning.estimate import evaluation_seconds, evaluations
from cnnpref.planning.outlook import Share, Time
from cnnpref.planning.plan import Plan
from cnnpref.planning.series import Series

ITERATIONS = 5
BUDGET = 5.0  # seconds for the timing of a series, by its estimate: decides for how many units
IMPORTS = 5.0  # seconds in which a job starts Python and loads PyTorch
LIMIT = 10.0  # seconds after which the timing of a series ends


class _EnoughError(Exception):
    """The time is up."""


def measure(
    plan: Plan, shares: Sequence[Share], device: torch.device
) -> tuple[list[Time], list[str]]:
    """Times of the series of a plan that have units to do; nothing is fetched or written.

    Returns:
        A time for each share; and the sections of the config whose weights are random, for they
        are not on this machine.
    """
    started = perf_counter()
    nets, absent = _open_nets(plan, device)
    job = IMPORTS + perf_counter() - started
    with tqdm(shares, unit="series", leave=False, disable=None) as bar:
        return [_time(plan, share, nets, job) for share in bar], absent


def _time(plan: Plan, share: Share, nets: Nets, job: float) -> Time:
    series = share.series
    if not share.missing:
        return Time(0, job, True)
    seconds = _unit_seconds(plan, series, nets)
    known = evaluation_seconds(plan, series) if seconds is None else seconds
    return Time(known * evaluations(series), job, seconds is not None)


def _open_nets(plan: Plan, device: torch.device) -> tuple[Nets, list[str]]:
    """The nets of a plan, to measure with; nothing is fetched.

    Returns:
        The nets, and the sections whose weights are not on this machine: these are random.
    """
    config = plan.config
    here = {name: without_fetching(config[name]) for name in plan.nets}
    absent = [name for name in here if here[name] is not config[name]]
    nets = Nets({**config, **here}, device)
    for name in here:
        net = nets.net if name == "net" else nets.generator.net
        if name in absent:
            _randomise(net)
    return nets, absent


def _unit_seconds(plan: Plan, series: Series, nets: Nets) -> float | None:
    """Seconds per evaluation of a unit in a job of its series; None if they are not worth it.

    They are not where a look at the shapes says that timing them takes longer than `LIMIT`.
    """
    batch = min(batch_size(plan, series), len(series.units))
    if nets.net.device.type != "cpu":
        return _time_evaluation(series, nets, batch) / batch
    each = evaluation_seconds(plan, series)
    if 2 * each > LIMIT:
        return None
    rows = min(batch, max(2, int(BUDGET / each / ITERATIONS)))
    return _time_evaluation(series, nets, rows) / rows


def _time_evaluation(series: Series, nets: Nets, rows: int) -> float:
    """Seconds from one evaluation of some rows to the next, after the first."""
    times = [perf_counter()]

    def observe(moment: Moment) -> None:
        moment.activations.sum().item()  # waits for the GPU
        times.append(perf_counter())
        if times[-1] - times[0] > LIMIT:
            raise _EnoughError

    chosen = series.units[:rows]
    weight = series.options.feature_weight
    target = Objective.units(nets.net, series.layer, chosen, series.position, weight)
    generator = nets.generator if series.how.needs_generator else None
    options = series.how.shortened(series.options, ITERATIONS)
    with suppress(_EnoughError):
        maximise(nets.net, target, series.method, options, series.seed, generator, observe=observe)
    first = 1 if len(times) > 2 else 0  # the first one also prepares
    return (times[-1] - times[first]) / (len(times) - 1 - first)


def _randomise(net: Net) -> None:
    """Weights that keep values of a usual size on their way through the net."""
    noise = torch.Generator().manual_seed(0)
    for weight in net.parameters():
        if weight.ndim > 1:
            values = torch.randn(weight.shape, generator=noise)
            weight.copy_(values * (2 / weight[0].numel()) ** 0.5)
