"""Files that are whole or not there, and whether they can be written at all, asked before the work."""

from __future__ import annotations

import os
import re
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError


def require_writable(path: Path) -> None:
    """Raise ValueError unless a file or folder of that name can be put in place; tried, and left as it was."""
    parent = path.absolute().parent
    while not parent.exists():
        parent = parent.parent
    try:
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        raise ValueError(f"{path}: cannot write into {parent} ({error.strerror}). Choose another folder.") from error


def require_file(path: Path) -> None:
    """Raise ValueError unless a file of that name can be put in place, where nothing but a file may be now."""
    require_writable(path)
    if path.exists() and not path.is_file():
        raise ValueError(f"{path}: a file is to be written here, and there is something else. Choose another name.")


@contextmanager
def clear_write_errors(path: Path) -> Iterator[None]:
    """Turn what the system says of a failed write, and safetensors in its own class, into one ValueError."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        why = getattr(error, "strerror", None) or error
        raise ValueError(
            f"{path}: it could not be written ({why}); what was there before is as it was. Make room or choose another "
            "folder, and start again."
        ) from error


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Write to the path it gives; on success that file replaces `path`, on error nothing is left."""
    with _temporary_beside(Path(path)) as (temporary, mode):
        yield temporary
        temporary.chmod(mode)
        os.replace(temporary, path)


def write_new(paths: Iterator[Path], write: Callable[[Path], None]) -> Path:
    """`write(path)` a file that replaces none: it gets the first of these names that is free when it is whole.

    Returns that name. Others may write files of the same names meanwhile: each name is taken once.
    """
    path = next(paths)
    with _temporary_beside(path) as (temporary, mode):
        write(temporary)
        temporary.chmod(mode)
        while not _take(temporary, path):
            path = next(paths)
    return path


def remove_half_written(path: Path) -> None:
    """Remove what killed processes left of `atomic_path(path)`. For those who know that nobody else writes it now."""
    name = re.compile(rf"{re.escape(f'.{path.stem}.')}[0-9a-f]{{16}}{re.escape(path.suffix)}")
    for file in path.parent.iterdir():
        if name.fullmatch(file.name):
            file.unlink(missing_ok=True)


@contextmanager
def _temporary_beside(path: Path) -> Iterator[tuple[Path, int]]:
    """An empty hidden file in the same folder, deleted at the end, and the mode that new files have there.

    Some writers leave theirs to its owner alone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(8)}{path.suffix}")
    try:
        temporary.touch()  # here, and not by tempfile: a signal that comes between leaves nothing
        yield temporary, temporary.stat().st_mode
    finally:
        temporary.unlink(missing_ok=True)


def _take(temporary: Path, path: Path) -> bool:
    """Give the file that name, if it is free: at once, as no check before it could be."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError:  # a drive without hard links: an empty file holds the name for a moment
        return _take_by_placeholder(temporary, path)
    return True


def _take_by_placeholder(temporary: Path, path: Path) -> bool:
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    os.replace(temporary, path)
    return True
