"""Clips in the node that makes them: while they form, as core's previews, and afterwards as its picture."""

from __future__ import annotations

from io import BytesIO
from time import monotonic

import torch
from comfy_api.latest import io, ui
from PIL import Image

from ....lumiere_core.video.preview import animated_png, excerpt

PREVIEW_SIDE, PREVIEW_FRAMES = 128, 40
SHOWN_SIDE, SHOWN_FRAMES = 512, 240
LARGEST_SHARE = 0.02  # of a run's time that previews may take


class AnimatedPicture:
    """For core, a picture to send; what is sent is an animated PNG, which the front end plays.

    Core saves what it is given as a preview; it knows still pictures only.
    """

    def __init__(self, png: bytes):
        self.png, self.still = png, Image.open(BytesIO(png))

    def save(self, stream, **_) -> None:
        stream.write(self.png)

    def __getattr__(self, name: str):
        """Whoever looks at the picture rather than sends it sees its first frame."""
        return getattr(self.still, name)


class Previews:
    """A clip while it forms, as often as a small share of the run's time allows."""

    def __init__(self, fps: float):
        self.fps, self.due = fps, 0.0

    def of(self, x0: torch.Tensor) -> tuple | None:
        """A preview of (1, 3, T, H, W) in [-1, 1] as core's progress bars take it; None while none is due."""
        began = monotonic()
        if began < self.due:
            return None
        frames = x0[0].permute(1, 2, 3, 0)
        png = animated_png(*excerpt(frames, self.fps, PREVIEW_SIDE, PREVIEW_FRAMES, black=-1.0))
        done = monotonic()
        self.due = done + (done - began) / LARGEST_SHARE
        return "PNG", AnimatedPicture(png), None


def shown_clip(frames: torch.Tensor, fps: float) -> dict:
    """Keywords of a node's output that leave the finished clip (T, H, W, 3) playing in the node.

    Its timeline (web/timeline.js) takes the number of frames from there where the graph does not tell.
    """
    pixels, rate = excerpt(frames, fps, SHOWN_SIDE, SHOWN_FRAMES)
    saved = ui.ImageSaveHelper.save_animated_webp(
        torch.from_numpy(pixels).float() / 255,
        filename_prefix="lumiere_preview",
        folder_type=io.FolderType.temp,
        cls=None,
        fps=rate,
        lossless=False,
        quality=90,
        method=0,
    )
    images = ui.SavedImages([saved], is_animated=len(pixels) > 1).as_dict()
    return {"ui": {**images, "lumiere_frames": [len(frames)]}}
