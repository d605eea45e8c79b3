"""One piece of work in a process of its own: what came of it, in what time and memory."""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cnnpref.errors import UserError

SECONDS = 10  # of the CPU
PATIENCE = 60  # seconds by the clock: the machine may be busy
MEMORY = 2 << 30  # bytes, beside those of the process that starts it
CHANGES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
WRITING = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.chmod")
FORBIDDEN = ("pickle.find_class", "os.system", "os.exec", "os.posix_spawn", "subprocess.Popen")


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        fault: what must not be; "" if all went well.
        refused: the UserError's message; "" if there was none.
        seconds: of the CPU.
        memory: bytes at the peak, beyond those at the start.
    """

    fault: str = ""
    refused: str = ""
    seconds: float = 0.0
    memory: int = 0


def isolated(work: Callable[[], object], folder: Path, strict: bool = True) -> Outcome:
    """Do it in a forked process, which may write into one folder alone.

    Args:
        work: what is done; a UserError is a good end of it.
        folder: where it may write: elsewhere the operating system seems to refuse.
        strict: whether trying to write elsewhere is a fault.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _end_with(_outcome(work, folder, strict), writing)
    os.close(writing)
    told = b"".join(_told(reading, time.monotonic() + PATIENCE))
    os.close(reading)
    if not told:
        os.kill(pid, signal.SIGKILL) if _runs(pid) else None
    _, status = os.waitpid(pid, 0)
    return Outcome(**json.loads(told)) if told else Outcome(_death(status), seconds=SECONDS)


def _runs(pid: int) -> bool:
    """Whether it still runs: it is not reaped here."""
    found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    return found is None


def _told(reading: int, end: float) -> Iterator[bytes]:
    while select.select([reading], [], [], max(0, end - time.monotonic()))[0]:
        data = os.read(reading, 1 << 16)
        if not data:
            return
        yield data


def _death(status: int) -> str:
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if number in (signal.SIGXCPU, signal.SIGKILL):
        return f"longer than {SECONDS} s of the CPU, or {PATIENCE} s"
    return f"died of {signal.Signals(number).name}" if number else "ended without a word"


def _end_with(outcome: Outcome, writing: int) -> None:
    os.write(writing, json.dumps(asdict(outcome)).encode())
    os._exit(0)


def _outcome(work: Callable[[], object], folder: Path, strict: bool) -> Outcome:
    watch = _limit(folder)
    before = _memory("VmRSS")
    refused = fault = ""
    try:
        work()
    except UserError as error:
        refused = str(error)
        fault = _bad_message(error)
    except BaseException:  # whatever comes out
        fault = traceback.format_exc(-12)
    used = resource.getrusage(resource.RUSAGE_SELF)
    memory = max(0, _memory("VmHWM") - before)
    if not fault and memory > MEMORY:
        fault = f"{memory / 2**30:.1f} GiB of memory"
    if watch and (strict or any(each.startswith("ran ") for each in watch)):
        fault = fault or "; ".join(watch)
    return Outcome(fault, refused[:200], used.ru_utime + used.ru_stime, memory)


def _bad_message(error: UserError) -> str:
    """What is wrong with how it was refused; "" if nothing is."""
    cause: BaseException | None = error
    while cause:
        if isinstance(cause, MemoryError) or "can't allocate memory" in str(cause):
            return "".join(traceback.format_exception(error))
        cause = cause.__cause__ or cause.__context__
    return "" if len(str(error).splitlines()) == 1 else f"not one line: {str(error)!r}"


def _limit(folder: Path) -> list[str]:
    """Set the limits; a list that what is forbidden will be added to."""
    os.chdir(folder)
    place = folder / "tmp"
    place.mkdir(exist_ok=True)
    tempfile.tempdir = str(place)
    quiet = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(quiet, number)
    sys.dont_write_bytecode = True
    whole = _memory("VmSize") + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (whole, whole))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    Path("/proc/self/clear_refs").write_text("5")  # the peak is that of now
    seen: list[str] = []
    sys.addaudithook(lambda event, args: _watch(seen, folder, event, args))
    return seen


def _watch(seen: list[str], folder: Path, event: str, args: tuple[Any, ...]) -> None:
    if (event == "open" and args[2] & CHANGES) or event in WRITING:
        paths = [each for each in args[:2] if isinstance(each, str | bytes | Path)]
        for path in paths if event in ("os.rename", "os.link") else paths[:1]:
            place = Path(os.path.abspath(os.fsdecode(path)))  # noqa: PTH100 - no links are followed
            if not (place.is_relative_to(folder) or place == Path(os.devnull)):
                seen.append(f"wrote {place} ({event})")
                raise PermissionError(13, "Permission denied", str(place))
    elif event in FORBIDDEN or (event == "socket.connect" and not _local(args[1])):
        seen.append(f"ran {event} {args!r:.100}")
        raise PermissionError(13, "Permission denied", event)


def _local(address: Any) -> bool:
    return isinstance(address, tuple) and address[0] == "127.0.0.1"


def _memory(name: str) -> int:
    """A figure of /proc, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{name}:"))
