"""What a user should know though the run goes on: Python's warnings, or for whoever listens closer."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# Of what runs in this context and no other: a server shows each of its nodes what that node has to say.
_LISTENER: ContextVar[Callable[[str], None] | None] = ContextVar("lumiere_listener", default=None)


def warn(text: str) -> None:
    """Tell the listener; where there is none, Python's warnings, which show the same text once in a process."""
    listener = _LISTENER.get()
    if listener is None:
        warnings.warn(text, stacklevel=3)
    else:
        listener(text)


@contextmanager
def heard_by(listener: Callable[[str], None]) -> Iterator[None]:
    """What is warned of meanwhile goes to `listener`, every time, and nowhere else."""
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


def is_heard() -> bool:
    """Whether somebody listens."""
    return _LISTENER.get() is not None
