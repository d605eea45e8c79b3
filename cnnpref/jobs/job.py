"""One job: the units of a batch whose files are missing, computed and written."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from time import perf_counter
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from cnnpref.ascent.objective import Objective
from cnnpref.ascent.solution import Solution
from cnnpref.ascent.task import Moment
from cnnpref.atomic import try_writing
from cnnpref.errors import UserError
from cnnpref.interruption import finishing
from cnnpref.jobs.memory import is_out_of_memory, release_memory, rows_at_once
from cnnpref.jobs.nets import Nets
from cnnpref.maximisation import maximise
from cnnpref.planning.series import Batch, Series
from cnnpref.results.unit_file import UnitResult, check_unit, write_unit
from cnnpref.status import Status

log = logging.getLogger("cnnpref")

WRITERS = 4  # threads that write a portion of units while a GPU computes the next one


def run_batch(batch: Batch, nets: Nets, attempt: int = 1) -> list[str]:
    """Compute and write those units of a batch whose files are not valid.

    Args:
        batch: the units.
        nets: of the same config.
        attempt: each after the first works on half as many units at once as the one before.

    Returns:
        What went wrong: a line for each unit that could not be written.

    Raises:
        UserError: the results folder cannot be written, or the net cannot be maximised.
    """
    series, name = batch.series, f"{batch.series.layer}/{batch.series.name}"
    units = [unit for unit in batch.units if not _is_valid(series, unit)]
    todo, wanted = len(units), len(batch.units)
    log.info("%s: %d of %d units to do, %d already valid", name, todo, wanted, wanted - todo)
    if not units:
        return []
    _ = nets.net  # a net that cannot be read leaves no folder behind
    try_writing(series.folder)
    failures: list[str] = []
    written: Iterator[str | None] = iter(())
    with ThreadPoolExecutor(WRITERS) as writers:
        # On a CPU writing would take the time from computing, and threads take memory.
        each_of = _now if nets.net.device.type == "cpu" else writers.map
        for portion, solution, seconds in _solutions(nets, series, units, attempt):
            failures += filter(None, written)  # waits for the portion before
            with finishing():  # what the writers have got is written, whatever comes
                common = _common_attributes(series, nets, seconds / len(portion))
                results = (
                    _result(solution, row, {**common, **_unit_attributes(series, unit)})
                    for row, unit in enumerate(portion)
                )
                written = each_of(partial(_write, series), results)
        failures += filter(None, written)
    return failures


def _now(
    work: Callable[[UnitResult], str | None], results: Iterable[UnitResult]
) -> Iterator[str | None]:
    return iter([work(result) for result in results])


def _solutions(
    nets: Nets, series: Series, units: list[int], attempt: int
) -> Iterator[tuple[list[int], Solution, float]]:
    """Units and their solution and its seconds, as many at once as memory allows."""
    generator = nets.generator.net if series.how.needs_generator else None
    room = rows_at_once(series, nets.net, generator)
    most = max(1, min(len(units), room) // 2 ** (attempt - 1))
    log.info("%s/%s: %d units at once", series.layer, series.name, most)
    while units:
        portion, started = units[:most], perf_counter()
        try:
            solution = _maximise(nets, series, portion)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            most = _fewer(series, len(portion))
            continue
        yield portion, solution, perf_counter() - started
        units = units[len(portion) :]


def _fewer(series: Series, count: int) -> int:
    """Half as many units, after so many were too many at once.

    Raises:
        UserError: it was a single one.
    """
    name = f"{series.layer}/{series.name}"
    if count == 1:
        raise UserError(
            f"{name}: out of memory with a single unit; use a device that has more, or run fewer"
            " jobs beside this one"
        )
    log.warning("%s: out of memory with %d units at once: going on with half", name, count)
    release_memory()
    return count // 2


def _is_valid(series: Series, unit: int) -> bool:
    path = series.path(unit)
    fault = check_unit(path, series.digest)
    if fault and path.exists():
        log.warning("warning: %s is not valid (%s): computing it again", path, fault)
    return fault is None


def _maximise(nets: Nets, series: Series, units: Sequence[int]) -> Solution:
    weight = series.options.feature_weight
    objective = Objective.units(nets.net, series.layer, units, series.position, weight, series.sign)
    generator = nets.generator if series.how.needs_generator else None
    with _Progress(series) as progress:
        return maximise(
            nets.net,
            objective,
            series.method,
            series.options,
            series.seed,
            generator=generator,
            observe=progress,
            statistics=nets.statistics(series),
            keep_frames=series.keep_frames,
        )


class _Progress:
    """A bar over iterations on a terminal, about ten lines elsewhere; ten looks at values."""

    def __init__(self, series: Series) -> None:
        self.name = f"{series.layer}/{series.name}"
        self.total = series.how.iterations(series.options)
        self.bar = tqdm(
            total=self.total, desc=self.name, unit="it", disable=not sys.stderr.isatty()
        )

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def __call__(self, moment: Moment) -> None:
        told = moment.count % -(-self.total // 10) == 0
        mean = float(moment.activations.nanmean()) if told else 0.0  # a look stalls a GPU
        if told and not self.bar.disable:
            self.bar.set_postfix(activation=f"{mean:.4g}", refresh=False)
        elif told:
            log.info("%s: evaluation %d, mean activation %.4g", self.name, moment.count, mean)
        self.bar.update(moment.count - self.bar.n)


def _common_attributes(series: Series, nets: Nets, seconds: float) -> dict[str, Any]:
    net = nets.net
    shape = net.layers[series.layer]
    where = np.ones(shape, bool) if series.position == "all" else series.position
    return {
        "net": net.name,
        "sha256": nets.origin(series),
        "layer": series.layer,
        "position": series.position,
        "sign": series.sign,
        "receptive_field": net.receptive_field(series.layer, where),
        "method": series.method,
        "options": asdict(series.options),
        "seed": series.seed,
        "versions": {name: version(name) for name in ("cnnpref", "torch", "numpy")},
        "device": _device_name(net.device),
        "seconds": seconds,
        "digest": series.digest,
        **({"statistics": series.statistics or "built-in"} if series.how.uses_statistics else {}),
    }


def _unit_attributes(series: Series, unit: int) -> dict[str, Any]:
    label = series.label(unit)
    return {"unit": unit, "label": label} if label else {"unit": unit}


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _result(solution: Solution, row: int, attributes: dict[str, Any]) -> UnitResult:
    return UnitResult(
        solution.images[row],
        solution.images_best[row],
        solution.activations[row],
        {
            **attributes,
            "status": str(solution.status[row]),
            **_attempts(solution.earlier[row]),
            "score": float(solution.scores[row]),
            "score_best": float(solution.scores_best[row]),
        },
        None if solution.latents is None else solution.latents[row],
        None if solution.importance is None else solution.importance[row],
        None if solution.frames is None else solution.frames[row],
        None if solution.frame_steps is None else solution.frame_steps[row],
    )


def _attempts(earlier: Sequence[Status]) -> dict[str, Any]:
    """How often a unit was tried, and how the attempts before the last went."""
    told = {"attempts_status": [str(status) for status in earlier]} if earlier else {}
    return {"attempts": len(earlier) + 1, **told}


def _write(series: Series, result: UnitResult) -> str | None:
    """Write a unit's file; None, or what went wrong.

    A valid one that another job has written meanwhile stays: it has the same content, and what was
    made of it would count as older.
    """
    told = result.attributes
    name, path = f"{series.layer}/{series.name} unit {told['unit']}", series.path(told["unit"])
    if check_unit(path, series.digest) is None:
        log.info("%s: another job has written it", name)
        return None
    try:
        write_unit(path, result)
    except UserError as error:
        log.error("%s: %s", name, error)
        return f"{name}: {error}"
    level = logging.WARNING if Status(told["status"]).failed else logging.INFO
    log.log(level, "%s: %s, activation %.4g", name, told["status"], told["score"])
    return None
