"""A video as a folder of PNGs, frame_00000.png and so on, that replaces an earlier one's and nothing else."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from .pictures import open_picture

FRAME_NAME = "frame_{:05d}.png"
_FRAME_PATTERN = re.compile(r"frame_\d{5,}\.png")
# In every frame's PNG: other programs number their frames as we do.
_MARK = ("Software", "Lumiere Video")


def write_frames(path: Path, frames: np.ndarray) -> None:
    """Frames (T, H, W, 3 or 4) uint8 become the folder; after any error it is as it was."""
    with _atomic_folder(path.resolve()) as folder:
        _write_pngs(folder, frames)


def require_replaceable(folder: Path) -> None:
    """A folder is replaced as a whole: raise ValueError where that would delete anything but frames that we wrote."""
    if folder.is_file():
        raise ValueError(f"{folder}: this is a file, so it cannot become a folder of PNGs. Choose another name.")
    entries = sorted(folder.iterdir()) if folder.exists() else ()
    other = next((entry.name for entry in entries if not _is_our_frame(entry)), None)
    if other is not None:
        raise ValueError(
            f"{folder}: the folder holds more than frames that this pack wrote ({other}). Choose another folder, or "
            "empty this one."
        )


def _is_our_frame(file: Path) -> bool:
    key, value = _MARK
    if not _FRAME_PATTERN.fullmatch(file.name) or not file.is_file():
        return False
    try:
        with open_picture(file, formats=["PNG"]) as image:
            return image.info.get(key) == value
    except ValueError:
        return False


@contextmanager
def _atomic_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path` that takes its place on success, and is deleted on any error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as temporary:
        new, old = Path(temporary) / "new", Path(temporary) / "old"
        new.mkdir()
        yield new
        require_replaceable(path)  # again: others may have put something there since
        if path.exists():
            os.replace(path, old)
        try:
            os.replace(new, path)
        except BaseException:
            if old.exists():
                os.replace(old, path)
            raise


def _write_pngs(folder: Path, frames: np.ndarray) -> None:
    from PIL import Image, PngImagePlugin

    mark = PngImagePlugin.PngInfo()
    mark.add_text(*_MARK)
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / FRAME_NAME.format(index), pnginfo=mark)
