"""Ctrl-C and SIGTERM: the work ends at once, with what was finished on the disk."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer, current_thread, main_thread
from types import FrameType

GRACE = 4.0  # seconds after which the process ends whatever it does: batch systems wait 5 and more
_SAVED = "what was finished is saved: run it again to go on"
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class InterruptedWork(BaseException):
    """A signal came; no mistake, so nothing but the command line catches it.

    Args:
        number: the signal's.
        kept: what is left, and how to go on.

    Attributes:
        code: with which a process ends that a signal ends: 130 or 143.
    """

    def __init__(self, number: int, kept: str = _SAVED) -> None:
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        super().__init__(f"ended by {name}; {kept}")
        self.number, self.code = number, 128 + number


class _State:
    """Of this process: whether something is being finished, and which signal waits for that."""

    held = False
    waiting: int | None = None


@contextmanager
def ending_on_signals() -> Iterator[None]:
    """Within, Ctrl-C and SIGTERM raise `InterruptedWork`; where they were ignored, they still are.

    In another thread than the main one nothing changes: Python allows it there alone.
    """
    if current_thread() is not main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    heard = [number for number, handler in before.items() if handler is not signal.SIG_IGN]
    try:
        for number in heard:
            signal.signal(number, _interrupt)
        yield
    finally:
        for number in heard:
            signal.signal(number, before[number])


@contextmanager
def finishing() -> Iterator[None]:
    """Within, no signal interrupts: it does so at the end, or ends the process after `GRACE`."""
    _State.held = True
    try:
        yield
    finally:
        _State.held = False
    if number := _State.waiting:
        _State.waiting = None
        raise InterruptedWork(number)


def _interrupt(number: int, _: FrameType | None) -> None:
    end = Timer(GRACE, os._exit, [128 + number])
    end.daemon = True
    end.start()
    if _State.held:
        _State.waiting = number
    else:
        raise InterruptedWork(number)
