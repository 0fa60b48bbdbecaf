"""One training at a time in a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..runtime.outputs import clear_write_errors


def is_first() -> bool:
    """Whether this is the one of a training's processes that writes; known before they know of each other."""
    return int(os.environ.get("RANK", 0)) == 0


@contextmanager
def sole_use(folder: Path, name: str = ".lock") -> Iterator[None]:
    """Hold a folder, made where there is none, until the block ends. Raises ValueError where another process holds it.

    By filelock, which torch brings along: the system lets go of the lock when the process ends, however it ends, so a
    killed one is in nobody's way. Of the processes of one training (torchrun numbers them) the first holds it for all.
    """
    if not is_first():
        yield
        return
    is_new, lock = not folder.exists(), _acquire(folder, name)
    try:
        yield
    finally:
        # While it is held, so that nobody has it yet; Windows removes it with the release.
        with suppress(OSError):
            (folder / name).unlink(missing_ok=True)
        lock.release()
        if is_new:
            with suppress(OSError):  # there is something in it
                folder.rmdir()


def _acquire(folder: Path, name: str):
    from filelock import FileLock, Timeout

    lock = FileLock(folder / name)
    with clear_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise ValueError(
                f"{folder}: another process is training in this folder. Wait for its end, or choose another folder."
            ) from error
    return lock
