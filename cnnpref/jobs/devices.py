"""The device of a job: a GPU that no other job has, or the CPU.

GPUs are taken by file locks, which the kernel lifts when a job ends or is killed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir
from time import sleep
from urllib.parse import quote

import torch
from filelock import FileLock, Timeout

from cnnpref.errors import UserError
from cnnpref.nets.kernels import find_device

log = logging.getLogger("cnnpref")

POLL = 0.5  # seconds between two looks at GPUs that are all taken


def pick_device(name: str, threads: int | None = None) -> torch.device:
    """The device of that name; "auto" is the first CUDA GPU, or the CPU where there is none.

    Apple's GPU must be named: not all methods can do with its single precision.

    Args:
        name: "auto", "cpu", "cuda", "cuda:1" or "mps".
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


def gpus_to_share(count: int, environment: Mapping[str, str]) -> list[str]:
    """Names of the GPUs that the jobs of this machine take turns on.

    Args:
        count: how many GPUs CUDA shows to this process.
        environment: `CUDA_VISIBLE_DEVICES` names these; otherwise they are "0", "1" ... A job of
            Slurm has GPUs of its own: it shares none.

    Returns:
        A name for each of CUDA's devices, in their order; none where there is nothing to share.
    """
    if "SLURM_JOB_ID" in environment:
        return []
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    names = [str(gpu) for gpu in range(count)] if visible is None else visible.split(",")
    return [name.strip() for name in names[:count]]


@contextmanager
def lease(gpus: Sequence[str]) -> Iterator[int]:
    """Hold a GPU that no other job of this user holds; wait for one while all are taken.

    Args:
        gpus: their names, at least one.

    Yields:
        The place in `gpus` of the one that is held until the body ends, or the process.

    Raises:
        UserError: the files that stand for the GPUs cannot be locked.
    """
    folder = Path(gettempdir(), f"cnnpref-{os.getuid()}")
    locks = [FileLock(folder / f"gpu-{quote(gpu, safe='')}.lock") for gpu in gpus]
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        place = _take_one(locks, gpus)
    except OSError as error:
        raise UserError(
            f"cannot lock a GPU in {folder}: {error.strerror or error};"
            " fix that or name the GPU, --device cuda:0"
        ) from None
    log.info("on GPU %s", gpus[place])
    try:
        yield place
    finally:
        locks[place].release()


def _take_one(locks: Sequence[FileLock], gpus: Sequence[str]) -> int:
    if (place := _first_free(locks)) is None:
        log.info("GPU %s: taken by other jobs; waiting", ", ".join(gpus))
    while place is None:
        sleep(POLL)
        place = _first_free(locks)
    return place


def _first_free(locks: Sequence[FileLock]) -> int | None:
    """The place of the first lock that could be taken, if there is one."""
    for place, lock in enumerate(locks):
        try:
            lock.acquire(blocking=False)
        except Timeout:
            continue
        return place
    return None
