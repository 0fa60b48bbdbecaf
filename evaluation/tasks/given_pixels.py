"""Which pixels of a clip are given and must come out as they are. All measures are our choice: unpublished.

Lengths are fractions of the frame's side.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...world.scene import Scene
from ..judge.filming import clip_times
from ..prompts import Prompt
from .task import ClipSize, Material

PADDING = 0.1  # of a hole, around all that the object sweeps
MOST_HOLE = 0.9  # of the frame's area
LARGEST_ERROR = 1e-6  # of a known pixel in [-1, 1]: float32's rounding on the way to [0, 1] and back


def known_frames(size: ClipSize, indices: Sequence[int]) -> np.ndarray:
    """(T, H, W) bool: True in these frames."""
    known = np.zeros(size, bool)
    known[list(indices)] = True
    return known


def swept_box(size: ClipSize, scene: Scene) -> np.ndarray:
    """(H, W) bool: the one box, PADDING wider on all sides, that holds the scene's objects in all frames."""
    side = min(size.height, size.width)
    low, high = np.full(2, np.inf), np.full(2, -np.inf)  # x, y
    for actor in scene.actors:
        track = actor.motion.track(clip_times(size.frames))
        centers, reach = np.stack([track.x, track.y], axis=1), track.reach[:, None]
        low = np.minimum(low, (centers - reach).min(0) - PADDING)
        high = np.maximum(high, (centers + reach).max(0) + PADDING)
    x, y = ((np.arange(length) + 0.5 - (length - side) / 2) / side for length in (size.width, size.height))
    columns, rows = ((at >= start) & (at <= end) for at, start, end in zip((x, y), low, high, strict=True))
    return rows[:, None] & columns


def leaves_surroundings(prompt: Prompt) -> bool:
    """Whether a hole for its object leaves enough of the clip to be given."""
    return bool(swept_box(ClipSize(80, 64, 64), prompt.scene).mean() <= MOST_HOLE)


def is_exact(material: Material, frames: np.ndarray) -> bool:
    """Whether the known pixels are the given ones: equal in 8 bits, and within LARGEST_ERROR in [-1, 1]."""
    made, given = frames[material.known], material.frames[material.known]
    same_bytes = np.array_equal(np.rint(made * 255), np.rint(given * 255))
    return bool(same_bytes and np.abs(2 * made - 2 * given).max(initial=0) <= LARGEST_ERROR)
