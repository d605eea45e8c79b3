"""One job: the units of a batch whose files are missing, computed and written."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property
from importlib.metadata import version
from tempfile import TemporaryFile
from time import perf_counter
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from cnnpref.act_range import load_bounds
from cnnpref.atomic import refusal
from cnnpref.config import BLOB_KEYS, Config
from cnnpref.errors import UserError
from cnnpref.gpus import gpus_to_share, lease
from cnnpref.maximisation import Moment, maximise
from cnnpref.memory import is_exhausted, rows_at_once
from cnnpref.nets import Net, complete, fetched_sha256, open_net
from cnnpref.nets.kernels import find_device
from cnnpref.nets.pycaffe import as_net
from cnnpref.objective import Objective
from cnnpref.param import Generator
from cnnpref.plan import needs_generator
from cnnpref.series import Batch, Origin, Series
from cnnpref.solution import Solution, Status
from cnnpref.store import UnitResult, check_unit, write_unit

log = logging.getLogger("cnnpref")


def pick_device(name: str, threads: int | None = None) -> torch.device:
    """The device of that name; "auto" is the first GPU, or the CPU where there is none.

    Args:
        name: "auto", "cpu", "cuda" or "cuda:1".
        threads: how many CPU threads torch may use; None leaves that to torch.

    Raises:
        UserError: there is no such device.
    """
    if threads:
        torch.set_num_threads(threads)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return find_device(name)


@contextmanager
def job_device(name: str, threads: int | None = None) -> Iterator[torch.device]:
    """The device of that name for a job; with "auto", a GPU that no other job has.

    Args:
        name: as for `pick_device`.
        threads: the same.

    Raises:
        UserError: there is no such device, or GPUs cannot be locked.
    """
    gpus = gpus_to_share(torch.cuda.device_count(), os.environ) if name == "auto" else []
    if not gpus:
        yield pick_device(name, threads)
        return
    with lease(gpus) as place:
        yield pick_device(f"cuda:{place}", threads)


class Nets:
    """The networks of a config, read when they are first needed."""

    def __init__(self, config: Config, device: torch.device) -> None:
        self._config, self._device = config, device
        self._fetched: dict[str, dict[str, str]] = {}  # digests of files, by section

    @cached_property
    def net(self) -> Net:
        """The one whose units are wanted."""
        return self._open("net")

    @cached_property
    def generator(self) -> Generator:
        """The one that makes images, for the methods that need it."""
        section, net = complete(self._config["generator"]), self._open("generator")
        given = {key: section[key] for key in BLOB_KEYS if key in section}
        bounds = {key: _bound(section[key]) for key in ("lower", "upper") if key in section}
        space = net.space if {"mean", "std"} & section.keys() else None
        return Generator(net, space=space, **given, **bounds)

    def origin(self, series: Series) -> Origin:
        """The series', with the digests of the weights that were fetched for it.

        A plan knows the weights of the zoo by what is published of them.
        """
        return {name: told | self._fetched.get(name, {}) for name, told in series.origin.items()}

    def _open(self, name: str) -> Net:
        section = self._config[name]
        net = open_net(section, self._device)
        self._fetched[name] = fetched_sha256(section)
        return net


def _bound(value: Any) -> Any:
    return load_bounds(value) if isinstance(value, str) else value


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
    _try_writing(series)
    failures = []
    for portion, solution, seconds in _solutions(nets, series, units, attempt):
        common = _common_attributes(series, nets, seconds / len(portion))
        results = (
            _result(solution, row, {**common, "unit": unit}) for row, unit in enumerate(portion)
        )
        failures += [line for result in results if (line := _write(series, result))]
    return failures


def _solutions(
    nets: Nets, series: Series, units: list[int], attempt: int
) -> Iterator[tuple[list[int], Solution, float]]:
    """Units and their solution and its seconds, as many at once as memory allows."""
    others = [nets.generator.net] if needs_generator(series.method) else []
    room = rows_at_once(nets.net, series.layer, map(as_net, others))
    most = max(1, min(len(units), room) // 2 ** (attempt - 1))
    log.info("%s/%s: %d units at once", series.layer, series.name, most)
    while units:
        portion, started = units[:most], perf_counter()
        try:
            solution = _maximise(nets, series, portion)
        except Exception as error:
            if not is_exhausted(error):
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
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return count // 2


def _is_valid(series: Series, unit: int) -> bool:
    path = series.path(unit)
    fault = check_unit(path, series.digest)
    if fault and path.exists():
        log.warning("warning: %s is not valid (%s): computing it again", path, fault)
    return fault is None


def _try_writing(series: Series) -> None:
    """Fail before the work, not after it."""
    try:
        series.folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=series.folder):
            pass
    except OSError as error:
        raise UserError(f"cannot write into {series.folder}: {refusal(error)}") from None


def _maximise(nets: Nets, series: Series, units: Sequence[int]) -> Solution:
    weight = series.options.feature_weight
    objective = Objective.units(nets.net, series.layer, units, series.position, weight)
    generator = nets.generator if needs_generator(series.method) else None
    with _Progress(series) as progress:
        return maximise(
            nets.net,
            objective,
            series.method,
            series.options,
            series.seed,
            generator=generator,
            observe=progress,
        )


class _Progress:
    """A bar over iterations on a terminal, about ten lines elsewhere."""

    def __init__(self, series: Series) -> None:
        self.name = f"{series.layer}/{series.name}"
        chosen = asdict(series.options)
        self.total = chosen.get("iter_n") or chosen["maxiter"]
        self.bar = tqdm(
            total=self.total, desc=self.name, unit="it", disable=not sys.stderr.isatty()
        )

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def __call__(self, moment: Moment) -> None:
        mean = float(moment.activations.nanmean())
        if not self.bar.disable:
            self.bar.set_postfix(activation=f"{mean:.4g}", refresh=False)
            self.bar.update(moment.count - self.bar.n)
        elif moment.count % -(-self.total // 10) == 0:
            log.info("%s: evaluation %d, mean activation %.4g", self.name, moment.count, mean)


def _common_attributes(series: Series, nets: Nets, seconds: float) -> dict[str, Any]:
    net = nets.net
    shape = net.layers[series.layer]
    where = np.ones(shape, bool) if series.position == "all" else series.position
    return {
        "net": net.name,
        "sha256": nets.origin(series),
        "layer": series.layer,
        "position": series.position,
        "receptive_field": net.receptive_field(series.layer, where),
        "method": series.method,
        "options": asdict(series.options),
        "seed": series.seed,
        "versions": {name: version(name) for name in ("cnnpref", "torch", "numpy")},
        "device": _device_name(net.device),
        "seconds": seconds,
        "digest": series.digest,
    }


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
            "score": float(solution.scores[row]),
            "score_best": float(solution.scores_best[row]),
        },
        None if solution.latents is None else solution.latents[row],
    )


def _write(series: Series, result: UnitResult) -> str | None:
    """Write a unit's file; None, or what went wrong."""
    told = result.attributes
    name = f"{series.layer}/{series.name} unit {told['unit']}"
    try:
        write_unit(series.path(told["unit"]), result)
    except UserError as error:
        log.error("%s: %s", name, error)
        return f"{name}: {error}"
    level = logging.INFO if told["status"] == Status.OK else logging.WARNING
    log.log(level, "%s: %s, activation %.4g", name, told["status"], told["score"])
    return None
