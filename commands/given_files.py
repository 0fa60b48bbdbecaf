"""What is given of a clip, read from files for the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from ..lumiere_core.conditioning.fitting import join_images
from ..lumiere_core.conditioning.given import Given
from ..lumiere_core.video.files import read_video, resample_fps


def read_given(
    fps: float,
    *,
    image: Path | None = None,
    keyframes: Sequence[tuple[int, Path]] = (),
    extend: Path | None = None,
    inpaint: Path | None = None,
    region: Path | None = None,
    mask: Path | None = None,
    **options,
) -> Given | None:
    """The one thing that is given, or None. fps: of the clip; videos of another rate are resampled.

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
    pixels = None if mask is None else read_mask(mask)
    if mode == "keyframes":
        indices = tuple(index for index, _ in keyframes)
        images = join_images([read_video(path)[0][:1] for _, path in keyframes])
        return Given(mode, images, indices, pixels, **given_options)
    if mode in ("extend", "inpaint"):
        return Given(mode, read_clip(modes[mode], fps), mask=pixels, **given_options)
    return Given(mode, read_video(modes[mode])[0][:1], mask=pixels, **given_options)


def read_clip(path: Path, fps: float) -> torch.Tensor:
    """Frames (T, H, W, 3) in [0, 1] of a video, at `fps` frames per second."""
    return resample_fps(*read_video(path), fps)


def read_mask(path: Path) -> torch.Tensor:
    """A mask (1 or T, H, W) in [0, 1] from an image or a video: white is generated, black is kept."""
    return read_video(path)[0].mean(-1)
