"""Ground truth: a scene as a perfect pipeline would film it, and clips as the judge looks at them."""

from __future__ import annotations

import cv2
import numpy as np

from ...world.cast import Cast
from ...world.motions import CLIP_SECONDS
from ...world.render import render_scenes
from ...world.scene import Scene

LARGEST_SIDE = 64  # larger frames are averaged down: sharper ones would not be judged better


def film_scene(cast: Cast, scene: Scene, frames: int, height: int, width: int) -> np.ndarray:
    """The scene's whole motion once, however many frames show it: (T, H, W, 3) float32 in [0, 1]."""
    return render_scenes(cast, [scene], [clip_times(frames)], height, width)[0].permute(1, 2, 3, 0).numpy()


def clip_times(frames: int) -> np.ndarray:
    """Seconds of a clip's frames: they show CLIP_SECONDS, however many they are."""
    return np.arange(frames) * CLIP_SECONDS / frames


def as_float_frames(frames: np.ndarray) -> np.ndarray:
    """Frames (T, H, W, 3), uint8 or float, as float32 in [0, 1]."""
    frames = np.asarray(frames)
    if frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
        raise ValueError(f"as_float_frames: frames must be (T, H, W, 3) and not empty; got shape {frames.shape}.")
    if frames.dtype == np.uint8:
        return frames.astype(np.float32) / 255.0
    return frames.astype(np.float32, copy=False)


def average_down(frames: np.ndarray, side: int = LARGEST_SIDE) -> np.ndarray:
    """Frames (T, H, W, 3) whose short side exceeds `side`, area-averaged to it."""
    height, width = frames.shape[1:3]
    shrink = side / min(height, width)
    if shrink >= 1:
        return frames
    size = round(width * shrink), round(height * shrink)
    return np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames])
