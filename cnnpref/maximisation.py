"""Activation maximisation of a batch of units: where net, objective and method meet."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cnnpref.ascent.film import Film
from cnnpref.ascent.malloc import held_memory
from cnnpref.ascent.objective import Objective
from cnnpref.ascent.solution import Solution, look_alike
from cnnpref.ascent.statistics import NaturalStatistics
from cnnpref.ascent.task import Initial, Moment, Scene, Task
from cnnpref.ascent.variables import Draws, Generator
from cnnpref.errors import UserError
from cnnpref.methods import Method, Options, find_method, resolve
from cnnpref.nets.independence import check_readout
from cnnpref.nets.kernels import check_precision, faithful_kernels, fast_kernels, without_gaps
from cnnpref.nets.net import FullReadout, Net
from cnnpref.nets.pycaffe import AnyNet, as_net
from cnnpref.nets.readout import Readout
from cnnpref.optim.problem import Optimum, per_row
from cnnpref.status import Status


def maximise(
    net: AnyNet,
    objective: Objective,
    method: str = "gd",
    options: Options | None = None,
    seeds: int | Sequence[int] = 0,
    generator: Generator | None = None,
    initial: Initial = None,
    draws: Sequence[Draws] | None = None,
    observe: Callable[[Moment], None] | None = None,
    faithful: bool = False,
    statistics: NaturalStatistics | None = None,
    keep_frames: int = 0,
) -> Solution:
    """The images that the objective's units prefer, one per row of the objective.

    A row's result depends on net, target, method, options and seed alone, not on the batch. Rows
    that get nowhere start anew from noise of their own, as often as the options say.

    Args:
        net: the network, or a live pycaffe net.
        objective: B targets of one layer.
        method: "spectral", "maco", "gd", "lbfgs", "dgn_gd" or "dgn_lbfgs".
        options: of the method, see `resolve`; None is the preset for the kind of target.
        seeds: one for all rows, or one per row; with the target it seeds the row's own stream.
        generator: makes the images, for the methods dgn_*.
        initial: where to start, one per row: RGB images (H, W, 3) 0..255, or generator features;
            rows that have a gradient there, but are stuck, stay.
        draws: random sources to use in place of the rows' own streams, one per row.
        observe: called after each iteration or evaluation.
        faithful: compute what Caffe computes, to its last digits: its kernels instead of the
            fastest ones, the whole layer from the whole image whatever the units see, all of the
            generator's image, and a batch of one as a batch of one.
        statistics: of images as the net knows them, for the methods that draw on what natural
            images are like (spectral, maco); None: of photographs.
        keep_frames: how many images of each ascent to keep, evenly spaced on its evaluations.

    Returns:
        B images, their activation traces and how each optimisation went; a row that fails is said
        so in `Solution.status` and leaves the others as they are.

    Raises:
        UserError: the image cannot influence the layer; the units depend on the other images of a
            batch, or on chance; something does not fit the objective, the net or the method.
    """
    net, chosen = as_net(net), find_method(method)
    _ = net.image_size  # it takes images
    options = _options(chosen, options, net, objective)
    failed = {Status.ZERO_GRADIENT}
    if options.revive == "all" and initial is None:
        failed.add(Status.STUCK)
    if initial is None and (image := chosen.initial(options)) is not None:
        initial = [image] * len(objective)
    each = [seeds] * len(objective) if isinstance(seeds, int) else list(seeds)
    for what, given in (("seeds", each), ("initial", initial), ("draws", draws)):
        if given is not None and len(given) != len(objective):
            raise UserError(f"{len(given)} {what} for {len(objective)} targets; give one for each")
    _check_statistics(chosen, net, statistics)
    check_precision(chosen.precision(options), net.device)
    readout = _readout(net, objective, faithful)
    variables = chosen.variables(options, Scene(net, readout.box, generator, faithful, statistics))
    sources = _streams(objective, each) if draws is None else list(draws)
    task = Task(net, objective, readout, variables, sources, initial)
    kernels = _kernels(chosen.precision(options), faithful)
    with held_memory(), kernels, without_gaps(net.device):
        if not faithful:
            check_readout(net, objective.layer, readout, len(objective))
        company = not faithful and draws is None
        solution = _solve(chosen, options, task, company, observe, keep_frames)
        _start_anew(solution, chosen, options, task, each, failed, keep_frames)
    return solution


def _start_anew(
    solution: Solution,
    method: Method[Any],
    options: Options,
    task: Task,
    seeds: Sequence[int],
    failed: set[Status],
    keep_frames: int,
) -> None:
    """Put other attempts, from noise, in the place of the rows that failed so."""
    awake = options.revive == "all"
    for attempt in range(1, options.retries + 1):
        rows = [row for row, status in enumerate(solution.status) if status in failed]
        if not rows:
            break
        objective, readout = task.objective.rows(rows), task.readout.rows(rows)
        draws = _streams(objective, [seeds[row] for row in rows], attempt)
        retry = Task(task.net, objective, readout, task.variables, draws, awake=awake)
        solution.replace(rows, _solve(method, options, retry, True, None, keep_frames))
        if awake:  # where no gradient was found even so, there is none
            failed = failed - {Status.ZERO_GRADIENT}


def _options(
    method: Method[Any], options: Options | None, net: Net, objective: Objective
) -> Options:
    """Those that were given, or the preset for the kind of target."""
    if options is None:
        where = "center" if objective.index.shape[1] == 1 else "all"
        units = net.maps.get(objective.layer)
        shape = units.units_first if units else objective.shape
        return resolve(method.name, method.default_preset(shape, where))
    if type(options) is not method.options:
        raise UserError(
            f"method {method.name!r} takes {method.options.__name__}, got"
            f" {type(options).__name__}; make them by cnnpref.resolve({method.name!r}, preset)"
        )
    return options


def _check_statistics(method: Method[Any], net: Net, statistics: NaturalStatistics | None) -> None:
    """Raise UserError if there are statistics that the method or the net cannot have."""
    if statistics and not method.uses_statistics:
        raise UserError(f"method {method.name!r} uses no natural statistics: leave them out")
    if statistics and len(statistics.mean) != net.input_shape[0]:
        raise UserError(
            f"natural statistics of {len(statistics.mean)} channels for the net {net.name!r},"
            f" whose images have {net.input_shape[0]}"
        )


def _readout(net: Net, objective: Objective, faithful: bool) -> Readout:
    if faithful:
        return FullReadout.of(net, objective.layer, objective.index)
    return net.readout(objective.layer, objective.index)


def _kernels(precision: str, faithful: bool) -> AbstractContextManager[None]:
    return faithful_kernels() if faithful else fast_kernels(precision)


def _streams(objective: Objective, seeds: Sequence[int], attempt: int = 0) -> list[Draws]:
    """One random stream per row, from its seed and target."""
    return [_stream(seed, attempt, objective.identity(row)) for row, seed in enumerate(seeds)]


def _stream(seed: int, attempt: int, identity: bytes) -> np.random.RandomState:
    digest = hashlib.sha256(f"{seed}/{attempt}:".encode() + identity).digest()
    words = np.frombuffer(digest, "<u4").tolist()
    return np.random.RandomState(np.random.MT19937(np.random.SeedSequence(words)))


def _solve(
    method: Method[Any],
    options: Options,
    task: Task,
    in_company: bool,
    observe: Callable[[Moment], None] | None = None,
    keep_frames: int = 0,
) -> Solution:
    """The batch's solution.

    The CPU's kernels for a batch of 1 sum in another order than those for larger ones, and those in
    bfloat16 for the last image of a batch: with `in_company` such batches run with one more row, a
    copy, so each row is bit-identical to the same one in any batch.
    """
    rows = len(task.objective)
    lone = rows == 1 and task.net.needs_company
    if in_company and (lone or method.precision(options) == "bf16"):
        task = task.in_company()
    film = Film(keep_frames, method.length(options)) if keep_frames else None
    if observers := [each for each in (observe, film) if each]:
        task.watched(lambda moment: _tell(observers, moment), method.shows_update, rows)
    optimum = method.optimise(options, task)
    task.watch = None  # it refers to the task: what that holds on a GPU would stay for long
    with nullcontext() if method.precision(options) == "float32" else fast_kernels():
        solution = _solution(task, optimum).first(rows)
    return _with_frames(solution, film) if film else solution


def _tell(observers: Sequence[Callable[[Moment], None]], moment: Moment) -> None:
    for observe in observers:
        observe(moment)


def _with_frames(solution: Solution, film: Film) -> Solution:
    lengths = map(len, solution.activations)
    frames, steps = zip(*(film.cut(row, n) for row, n in enumerate(lengths)), strict=True)
    return replace(solution, frames=list(frames), frame_steps=list(steps))


def _solution(task: Task, optimum: Optimum) -> Solution:
    """Images and honest scores: both iterates are evaluated as they are, in single precision."""
    (last, worth), (best, best_worth) = map(task.activation, (optimum.x, optimum.best))
    is_better = worth > best_worth
    better = torch.where(per_row(is_better, optimum.x), optimum.x, optimum.best)
    traces = optimum.values.cpu().numpy()
    images = task.variables.images(optimum.x)
    still = look_alike(task.variables.images(task.begun), images)
    return Solution(
        images=images,
        images_best=task.variables.images(better),
        activations=[trace[~np.isnan(trace)] for trace in traces],
        scores=last.cpu().numpy(),
        scores_best=torch.where(is_better, last, best).cpu().numpy(),
        status=[
            Status.STUCK if status == Status.OK and is_still else status
            for status, is_still in zip(optimum.status, still, strict=True)
        ],
        earlier=[()] * len(images),
        latents=task.variables.latents(optimum.x),
        importance=_bytes(task.importance),
    )


def _bytes(importance: Tensor | None) -> npt.NDArray[np.uint8] | None:
    if importance is None:
        return None
    return np.asarray((255 * importance).round().byte().cpu().numpy())
