"""The background of a clip: which of the world's it is, and what it looks like behind the object.

The temporal median shows whatever does not move, so also an object that stays where it is. Therefore the world's
backgrounds are drawn and compared with it: most of the median is background, and a large patch of it that is unlike the
nearest drawing is the object. Our choice throughout: unpublished.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

from ...world.backgrounds import BACKGROUNDS, KNOBS, SCENES, draw_background

NONE = "none"
MEDIAN_FRAMES = 24  # spread over the clip, whose median is the static picture
COARSE_SIDE = 24  # pixels of the pictures on which backgrounds are compared
DRAWINGS_EACH = 24  # of a drawn scene, with random knobs
LARGEST_DIFFERENCE = 0.3  # RGB distance at which a pixel counts as wholly different: objects say nothing more
FARTHEST = 0.2  # mean of these distances beyond which a background has no name
ROUGH_STEPS = np.arange(0, 1, 1 / 8)  # of a knob, which is tried all around
FINE_STEPS = np.array((0.0, -0.08, -0.04, 0.04, 0.08))
BLURS = (0.5, 0.8, 1.2, 1.8)  # pixels, that generated clips may be less sharp by
BLOB_DIFFERENCE = 0.08  # RGB distance between the median and the drawing in the patch of a resting object
LEAST_BLOB = 0.006  # of the side squared
EDGE = 1 / 12  # of the width on either side, by whose rows an unknown background is guessed


class Backdrop(NamedTuple):
    """name: of BACKGROUNDS or "none". distance: to the nearest drawing, up to LARGEST_DIFFERENCE. image: (h, w, 3)."""

    name: str
    distance: float
    image: np.ndarray


def see_backdrop(frames: np.ndarray) -> Backdrop:
    """The background of frames (T, h, w, 3) float32 in [0, 1]."""
    times = np.unique(np.linspace(0, len(frames) - 1, MEDIAN_FRAMES).round().astype(int))
    static = np.median(frames[times], axis=0)
    name, knobs, distance = nearest_drawing(static)
    if distance > FARTHEST:
        return Backdrop(NONE, distance, behind_object(static, row_profile(static)))
    drawn = draw_background(name, tune_knobs(static, name, knobs), *static.shape[:2])
    return Backdrop(name, distance, behind_object(static, as_sharp(static, drawn)))


def nearest_drawing(static: np.ndarray) -> tuple[str, tuple[float, ...], float]:
    """(name, knobs, distance) of the drawing most like a picture (h, w, 3)."""
    height, width = static.shape[:2]
    shrink = min(1.0, COARSE_SIDE / min(height, width))
    height, width = round(height * shrink), round(width * shrink)
    coarse = cv2.resize(static, (width, height), interpolation=cv2.INTER_AREA)
    labels, drawings = draw_references(height, width)
    distances = robust_distance(coarse, drawings)
    nearest = int(distances.argmin())
    return (*labels[nearest], float(distances[nearest]))


def robust_distance(picture: np.ndarray, drawings: np.ndarray) -> np.ndarray:
    """Mean RGB distance of a picture (h, w, 3) to each of drawings (..., h, w, 3), cut off pixel by pixel: (...)."""
    difference = drawings - picture
    return np.minimum(np.sqrt((difference**2).sum(-1)), LARGEST_DIFFERENCE).mean((-2, -1))


@lru_cache(maxsize=8)
def draw_references(height: int, width: int) -> tuple[list[tuple[str, tuple[float, ...]]], np.ndarray]:
    """All backgrounds, drawn scenes in several variants: [(name, knobs)] and (N, height, width, 3)."""
    rng = np.random.default_rng(0)
    labels = [
        (name, tuple(rng.random(KNOBS).tolist()))
        for name in BACKGROUNDS
        for _ in range(DRAWINGS_EACH if name in SCENES else 1)
    ]
    return labels, np.stack([draw_background(name, knobs, height, width) for name, knobs in labels])


def tune_knobs(static: np.ndarray, name: str, knobs: tuple[float, ...]) -> tuple[float, ...]:
    """The knobs with which a drawn scene is most like a picture: one after the other, first roughly, then finely."""
    if name not in SCENES:
        return knobs
    best = np.array(knobs)
    for steps in (ROUGH_STEPS, FINE_STEPS, FINE_STEPS / 2):
        for knob in np.eye(KNOBS):
            trials = [tuple((best + step * knob) % 1) for step in steps]
            drawings = np.stack([draw_background(name, trial, *static.shape[:2]) for trial in trials])
            best = np.array(trials[int(robust_distance(static, drawings).argmin())])
    return tuple(best)


def as_sharp(static: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """The drawing, blurred as much as makes it most like a picture."""
    blurred = [drawn, *(cv2.GaussianBlur(drawn, (0, 0), sigma) for sigma in BLURS)]
    return blurred[int(robust_distance(static, np.stack(blurred)).argmin())]


def row_profile(static: np.ndarray) -> np.ndarray:
    """Each row as its outermost pixels are: (h, w, 3)."""
    edge = max(1, round(EDGE * static.shape[1]))
    rows = np.median(np.concatenate([static[:, :edge], static[:, -edge:]], axis=1), axis=1, keepdims=True)
    return np.repeat(rows, static.shape[1], axis=1)


def behind_object(static: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """The static picture, but where an object rests in it the drawing, in the light of what surrounds it."""
    covered = resting_object(np.linalg.norm(static - drawn, axis=-1) > BLOB_DIFFERENCE)
    if not covered.any():
        return static
    around = (~covered).astype(np.float32)
    spread = (0, 0), min(static.shape[:2]) / 6
    light = cv2.GaussianBlur((static - drawn) * around[..., None], *spread)
    light /= np.maximum(cv2.GaussianBlur(around, *spread), 1e-3)[..., None]
    return np.where(covered[..., None], drawn + light, static).astype(np.float32)


def resting_object(different: np.ndarray) -> np.ndarray:
    """The hull of the large patches of a mask (h, w), somewhat widened; stars and edges of hills are not large."""
    side = min(different.shape)
    cleaned = cv2.morphologyEx(different.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    cleaned = cv2.morphologyEx(cleaned, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    kept = large_parts(cleaned, LEAST_BLOB * side * side, 0.2)
    if not kept.any():
        return kept.astype(bool)
    hull = cv2.convexHull(cv2.findNonZero(kept))
    filled = cv2.fillConvexPoly(np.zeros_like(kept), hull, 1)
    reach = 2 * max(1, round(side / 24)) + 1
    return cv2.dilate(filled, np.ones((reach, reach), np.uint8)).astype(bool)


def large_parts(mask: np.ndarray, least: float, share: float) -> np.ndarray:
    """The connected parts of a uint8 mask of at least `least` pixels and this share of the largest one."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if count == 1:
        return mask
    sizes = stats[:, cv2.CC_STAT_AREA]
    large = sizes >= max(least, share * sizes[1:].max())
    large[0] = False
    return large[labels].astype(np.uint8)
