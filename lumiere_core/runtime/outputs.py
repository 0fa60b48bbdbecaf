"""Files that are whole or not there, and whether they can be written at all, asked before the work."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
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


class atomic_path:
    """Context manager: write to the path it gives; on success that file replaces `path`, on error nothing is left."""

    def __init__(self, path: str | Path):
        self.path = Path(path)

    def __enter__(self) -> Path:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.stem}.", suffix=self.path.suffix)
        os.close(handle)
        self.temporary = Path(name)
        return self.temporary

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                os.chmod(self.temporary, 0o666 & ~_umask())
                os.replace(self.temporary, self.path)
        finally:
            self.temporary.unlink(missing_ok=True)


def remove_half_written(path: Path) -> None:
    """Remove what killed processes left of `atomic_path(path)`. For those who know that nobody else writes it now."""
    drawn = rf"({re.escape(path.stem)}\.[a-z0-9_]{{8}}|[0-9a-f]{{16}})"  # with the file's name, as here, or without
    for file in path.parent.iterdir():
        if re.fullmatch(rf"\.{drawn}{re.escape(path.suffix)}", file.name):
            file.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
