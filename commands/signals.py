"""Signals that ask a process to end, heard as Ctrl-C is: nothing half-written stays."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_NAMES = ("SIGTERM", "SIGHUP")  # Windows has no SIGHUP
_REPEATED = 2.0  # seconds in which a signal is one with the first: shells repeat to their jobs what a terminal sends


class Ended(KeyboardInterrupt):
    """One of the signals came. What knows how to end at Ctrl-C knows how to end at it."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number  # as shells say it


@contextmanager
def heard_signals() -> Iterator[None]:
    """Raise Ended where the process would just end; what is ignored, as nohup does, stays ignored."""
    if threading.current_thread() is not threading.main_thread():  # only that one can hear
        yield
        return
    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    numbers = [number for number in numbers if signal.getsignal(number) == signal.SIG_DFL]
    handler = _handler()
    for number in numbers:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def _handler():
    owner, heard = os.getpid(), -_REPEATED

    def end(number: int, _) -> None:
        nonlocal heard
        if os.getpid() != owner:  # a worker, which has a copy of this
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif time.monotonic() - heard > _REPEATED:
            heard = time.monotonic()
            raise Ended(number)

    return end
