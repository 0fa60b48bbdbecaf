"""What is given of a clip, read from files for the command line: no more of them than the clip needs."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from ..lumiere_core.conditioning.fitting import join_images, shrink_to_cover
from ..lumiere_core.conditioning.given import Given, require_room_to_extend
from ..lumiere_core.video.reading import open_video


@dataclass(frozen=True)
class Wanted:
    """The clip that files are read for.

    fps: videos of another rate are resampled. frames: as asked for, None for the usual number, `usual_frames`.
    size: (height, width) of the largest that is made of the files; larger ones are shrunk as they are read.
    """

    fps: float
    usual_frames: int
    size: tuple[int, int]
    frames: int | None = None

    def read(self, path: Path, first: int | None = None, last: int | None = None) -> torch.Tensor:
        """Frames (T, h, w, 3) in [0, 1]: at most so many from the file's beginning, or to its end."""
        prepare = partial(shrink_to_cover, size=self.size)
        return open_video(path).read(self.fps, first, last, prepare)[..., :3]

    def read_asked(self, path: Path) -> torch.Tensor:
        """As many frames as are asked for; all where nothing is. No frames at all are refused with the clip."""
        return self.read(path, None if self.frames is None else max(1, self.frames))

    def count(self, path: Path) -> int:
        """How many frames the file says that it has; 0 if it does not."""
        return open_video(path).count_at(self.fps)


def read_given(
    wanted: Wanted,
    *,
    image: Path | None = None,
    keyframes: Sequence[tuple[int, Path]] = (),
    extend: Path | None = None,
    inpaint: Path | None = None,
    region: Path | None = None,
    mask: Path | None = None,
    **options,
) -> Given | None:
    """The one thing that is given, or None.

    options: fit, last, grow, feather of `Given`. Raises ValueError for files that cannot be read, for several things at
    once, and for options without anything that they could apply to.
    """
    modes = {"first_frame": image, "keyframes": keyframes, "extend": extend, "inpaint": inpaint, "region": region}
    chosen = [mode for mode, value in modes.items() if value]
    given_options = {name: value for name, value in options.items() if value is not None}
    if not chosen:
        if mask is not None or given_options:
            raise ValueError(
                f"{'mask' if mask else next(iter(given_options))}: there is no image or video to use it on."
            )
        return None
    if len(chosen) > 1:
        raise ValueError(f"only one of {', '.join(chosen)} can be given at once.")
    (mode,) = chosen
    pixels = None if mask is None else wanted.read_asked(mask).mean(-1)
    if mode == "keyframes":
        indices = tuple(index for index, _ in keyframes)
        images = join_images([wanted.read(path, first=1) for _, path in keyframes])
        return Given(mode, images, indices, pixels, **given_options)
    return Given(mode, READERS[mode](wanted, modes[mode], given_options), mask=pixels, **given_options)


def _read_still(wanted: Wanted, path: Path, _options: dict) -> torch.Tensor:
    return wanted.read(path, first=1)


def _read_extended(wanted: Wanted, path: Path, options: dict) -> torch.Tensor:
    last = options.get("last", 0)
    if not last:
        require_room_to_extend(wanted.count(path), wanted.usual_frames if wanted.frames is None else wanted.frames)
    return wanted.read(path, last=last if last > 0 else None)


def _read_inpainted(wanted: Wanted, path: Path, _options: dict) -> torch.Tensor:
    count = wanted.count(path)
    if wanted.frames is not None and 0 < wanted.frames < count:
        warnings.warn(f"{path}: the video has {count} frames; the first {wanted.frames} are used.", stacklevel=2)
    return wanted.read_asked(path)


READERS = {
    "first_frame": _read_still,
    "extend": _read_extended,
    "inpaint": _read_inpainted,
    "region": _read_still,
}
