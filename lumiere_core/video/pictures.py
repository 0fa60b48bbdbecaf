"""Pictures by Pillow, opened so that whatever is wrong with a file is one line that names it."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ..runtime.memory import require_memory
from ..runtime.notices import warn
from .decoding import Frame

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP")  # of others Pillow runs programs: Ghostscript
ANIMATED = ("PNG", "GIF", "WEBP")
# What Pillow raises of a damaged file, beside OSError: its readers check little themselves.
_DAMAGE = (ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, OverflowError, struct.error, zlib.error)
_ORIENTATION, _MIRRORED = 0x0112, (2, 4, 5, 7)  # of EXIF
_BYTES_A_PIXEL = 16  # of a picture as it is decoded, and as float32


class Picture(NamedTuple):
    """What a picture's file says of it. frames: more than one of an animation. milliseconds: how long that takes.

    mirrored: whether it is to be shown mirrored.
    """

    format: str
    frames: int
    milliseconds: float
    mirrored: bool


@contextmanager
def open_picture(path: str | Path, formats: tuple[str, ...] = FORMATS) -> Iterator:
    """A PIL image, to be read inside the context and nothing else.

    formats: Pillow's names of the only ones to be tried. Raises ValueError for a file that is no picture, that is
    damaged, also where that comes out only while it is read, or that would unpack to far too many pixels.
    """
    from PIL import Image, TiffImagePlugin, WebPImagePlugin  # noqa: F401 (makes them known)

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="PIL")  # they name no file: what cannot be read is an error here
            with Image.open(path, formats=formats) as image:
                yield image
    except Image.UnidentifiedImageError as error:
        kinds = ", ".join(formats)
        raise ValueError(f"{path}: not a whole picture of a kind that is read ({kinds}). Replace it.") from error
    except Image.DecompressionBombError as error:
        most = 2 * Image.MAX_IMAGE_PIXELS // 10**6
        raise ValueError(f"{path}: a picture must have at most {most} million pixels. Make it smaller.") from error
    except (OSError, *_DAMAGE) as error:
        raise ValueError(f"{path}: not a whole picture ({error}). Replace it.") from error


def inspect_picture(path: Path) -> Picture:
    """Raises ValueError as `open_picture` does, of all that is to be used, and where the memory does not suffice."""
    with open_picture(path) as image:
        width, height, frames = *image.size, getattr(image, "n_frames", 1)
        mirrored = _is_mirrored(image)
        kind = image.format
    if kind == "TIFF" and frames > 1:
        warn(f"{path}: of its {frames} pages the first is used.")
    require_picture_memory(path, width, height)
    if kind not in ANIMATED:
        frames = 1
    with open_picture(path) as image:
        image.load()
        milliseconds = sum(_duration(image, index) for index in range(frames)) if frames > 1 else 0
    return Picture(kind, frames, milliseconds, mirrored)


def require_picture_memory(path: Path, width: int, height: int) -> None:
    """Raise ValueError where the memory does not suffice to decode a single frame."""
    needed = {torch.device("cpu"): _BYTES_A_PIXEL * width * height}
    require_memory(f"{path}: a picture of {width} x {height} pixels", needed)


def decode_by_pillow(path: Path) -> Iterator[Frame]:
    """One frame at a time."""
    from PIL import ImageOps, ImageSequence

    with open_picture(path) as image:
        for frame in ImageSequence.Iterator(image):
            upright = ImageOps.exif_transpose(frame)
            yield partial(np.array, eight_bits(upright).convert("RGBA" if frame.has_transparency_data else "RGB"))


def eight_bits(image):
    """A PIL image of 16-bit grey as one of 8 bits; others as they are. Pillow itself would cut off what is over 255."""
    from PIL import Image

    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image).clip(0, 65535) / 257).round().astype(np.uint8))


def _is_mirrored(image) -> bool:
    try:
        return image.getexif().get(_ORIENTATION) in _MIRRORED
    except _DAMAGE:  # of what nobody looks at otherwise
        return False


def _duration(image, index: int) -> float:
    image.seek(index)
    image.load()
    return image.info.get("duration", 0)
