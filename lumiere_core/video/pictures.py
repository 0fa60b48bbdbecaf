"""Pictures by Pillow, opened so that whatever is wrong with a file is one line that names it."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

# What Pillow raises of a damaged file, beside OSError: its readers check little themselves.
_DAMAGE = (ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, OverflowError, struct.error, zlib.error)


@contextmanager
def open_picture(path: str | Path, formats: Sequence[str] | None = None) -> Iterator:
    """A PIL image, to be read inside the context and nothing else.

    formats: Pillow's names of the only ones to be tried. Raises ValueError for a file that is no picture, that is
    damaged, also where that comes out only while it is read, or that would unpack to far too many pixels.
    """
    from PIL import Image

    try:
        with _open(path, formats) as image:
            yield image
    except Image.UnidentifiedImageError as error:
        raise ValueError(f"{path}: not a picture that can be read.") from error
    except Image.DecompressionBombError as error:
        most = 2 * Image.MAX_IMAGE_PIXELS // 10**6
        raise ValueError(
            f"{path}: pictures of more than {most} million pixels are not read. Make it smaller."
        ) from error
    except (OSError, *_DAMAGE) as error:
        raise ValueError(f"{path}: not a whole picture ({error}). Remove it or replace it.") from error


def _open(path: str | Path, formats: Sequence[str] | None):
    from PIL import Image

    with warnings.catch_warnings():  # of half as many pixels as are refused
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(path, formats=formats)
