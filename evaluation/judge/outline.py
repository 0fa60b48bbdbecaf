"""The object of a clip: whatever differs from the background. Its place, its size, and how its outline changes.

Lengths are fractions of the frame's short side, x right and y down from the centred square's top left corner.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from .backdrop import large_parts

FAINT = 0.04  # RGB distance to the background up to which a pixel shows nothing else
NOISE_FACTOR = 2.0  # times the usual distance, where that is more
CLEAR = 0.08  # beyond that, an object for sure
LEAST_AREA = 0.003  # of the side squared: 3 pixels at 32x32
MOST_AREA = 0.62  # of the side squared; the world's largest is 0.5
LEAST_PART = 0.06  # of the largest part's area; smaller ones are specks
LEAST_PRESENCE = 0.6  # of the frames in which an object must be seen
RADII, ANGLES = 20, 128  # samples of the polar pictures
POLAR_REACH = 2.2  # of the radius of an equally large disc
NEARBY_TURNS = (-2, -1, 0, 1, 2)  # polar samples about the best correlation, that overlap may be better at


class Observation(NamedTuple):
    """Measurements before any naming, of frames (T, h, w, 3).

    masks: (T, h, w) soft, holes filled. centers: (T, 2) x, y in pixels, of mass. boxes: (T, 3): the bounding box's
    centre x, y and half of its longer side, in pixels. centroids: (T, 2), areas: (T,), of the side (squared). NaN where
    unseen. seen: (T,) bool.
    """

    masks: np.ndarray
    centers: np.ndarray
    boxes: np.ndarray
    centroids: np.ndarray
    areas: np.ndarray
    seen: np.ndarray

    @property
    def present(self) -> bool:
        return bool(self.seen.mean() >= LEAST_PRESENCE)


def observe(frames: np.ndarray, background: np.ndarray) -> Observation:
    """Separate the object from the background (h, w, 3); frames (T, h, w, 3) float32 in [0, 1]."""
    height, width = frames.shape[1:3]
    side = min(height, width)
    faint = max(FAINT, NOISE_FACTOR * usual_distance(frames, background))
    backgrounds = jittered(background)
    masks = np.stack([object_mask(frame, backgrounds, faint) for frame in frames])
    mass = masks.sum((1, 2))
    seen = (mass > LEAST_AREA * side * side) & (mass < MOST_AREA * side * side)
    safe = np.where(seen, mass, np.nan)
    x = masks.sum(1) @ (np.arange(width) + 0.5) / safe
    y = masks.sum(2) @ (np.arange(height) + 0.5) / safe
    centers = np.stack([x, y], axis=1)
    boxes = np.full((len(frames), 3), np.nan)
    boxes[seen] = np.array([bounding_box(mask) for mask in masks[seen]]).reshape(-1, 3)
    corner = np.array([(width - side) / 2, (height - side) / 2])
    return Observation(masks, centers, boxes, (centers - corner) / side, safe / side**2, seen)


def usual_distance(frames: np.ndarray, background: np.ndarray) -> float:
    """The median distance of smoothed pixels to the background, most of which show it: how unsteady it is."""
    sample = frames[:: max(1, len(frames) // 8)]
    return float(np.median([np.linalg.norm(cv2.blur(frame - background, (3, 3)), axis=-1) for frame in sample]))


def jittered(background: np.ndarray) -> np.ndarray:
    """A background (h, w, 3), and moved by a pixel each way: (5, h, w, 3). Edges that tremble are no object."""
    h, w, _ = background.shape
    padded = np.pad(background, ((1, 1), (1, 1), (0, 0)), mode="edge")
    return np.stack([padded[y : y + h, x : x + w] for y, x in ((1, 1), (0, 1), (2, 1), (1, 0), (1, 2))])


def object_mask(frame: np.ndarray, backgrounds: np.ndarray, faint: float) -> np.ndarray:
    """A soft mask (h, w) of where a frame (h, w, 3) shows something large, its holes filled.

    backgrounds: (5, h, w, 3), each of which may be seen. faint: distance up to which a pixel is background.
    """
    difference = frame - backgrounds
    distance = np.sqrt(np.einsum("khwc,khwc->khw", difference, difference).min(0))
    nearby = cv2.blur(difference[0], (3, 3))
    distance[np.einsum("hwc,hwc->hw", nearby, nearby) < faint**2] = 0  # lone noisy pixels
    # Compared with the strongest difference nearby, an edge pixel tells how much of it is covered.
    strongest = np.maximum(cv2.dilate(distance, np.ones((5, 5), np.uint8)), faint + CLEAR)
    soft = np.clip((distance - faint) / (strongest - faint), 0, 1)
    kept = large_parts((distance > faint + CLEAR / 2).astype(np.uint8), 1, LEAST_PART)
    contours, _ = cv2.findContours(kept, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = cv2.drawContours(np.zeros_like(kept), contours, -1, 1, cv2.FILLED)
    inner = cv2.erode(filled, np.ones((3, 3), np.uint8))
    soft[cv2.dilate(filled, np.ones((3, 3), np.uint8)) == 0] = 0
    return np.maximum(soft, inner).astype(np.float32)


def bounding_box(mask: np.ndarray) -> np.ndarray:
    """The middle (x, y) of the box that holds a soft mask, and half of its longer side, in pixels."""
    (left, right), (top, bottom) = (span(mask.max(axis)) for axis in (0, 1))
    return np.array([(left + right) / 2, (top + bottom) / 2, max(right - left, bottom - top) / 2])


def span(profile: np.ndarray) -> tuple[float, float]:
    """Where a soft profile begins and ends: the outermost samples count as much as they are covered."""
    inside = np.flatnonzero(profile > 0.5)
    if not len(inside):
        return 0.0, 0.0
    first, last = inside[[0, -1]]
    padded = np.pad(profile, 1)
    return float(first + 1 - padded[first : first + 2].sum()), float(last + padded[last + 1 : last + 3].sum())


def polar_pictures(pictures: np.ndarray, observed: Observation, times: np.ndarray) -> np.ndarray:
    """Pictures (T, h, w, C) at these times about the object's centre, scaled to its size: (N, RADII, ANGLES, C).

    A turn of the object is a shift along the angles, clockwise from the right.
    """
    angle = 2 * np.pi * np.arange(ANGLES) / ANGLES
    radius = (np.arange(RADII) + 0.5)[:, None] / RADII * POLAR_REACH
    right, down = (radius * np.cos(angle)).astype(np.float32), (radius * np.sin(angle)).astype(np.float32)
    side = min(pictures.shape[1:3])
    disc = side * np.sqrt(observed.areas / np.pi)  # pixels
    polar = np.stack(
        [
            cv2.remap(
                pictures[t],
                (observed.centers[t, 0] - 0.5 + disc[t] * right).astype(np.float32),
                (observed.centers[t, 1] - 0.5 + disc[t] * down).astype(np.float32),
                cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_CONSTANT,
            )
            for t in times
        ]
    )
    return polar.reshape(len(times), RADII, ANGLES, pictures.shape[-1])  # OpenCV drops a single channel's axis


def wobble(observed: Observation) -> float:
    """How much the outline changes from frame to frame, beyond moving, growing and turning.

    The mean over neighbouring frames of 1 - intersection over union of the soft masks, about their centres, scaled to
    one area and turned to fit best. 0 is a rigid outline; NaN where the object is seldom seen.
    """
    pairs = np.flatnonzero(observed.seen[:-1] & observed.seen[1:])
    if not observed.present or not len(pairs):
        return float("nan")
    times = np.union1d(pairs, pairs + 1)
    polar = polar_pictures(observed.masks[..., None], observed, times)[..., 0]  # (N, RADII, ANGLES)
    polar *= (np.arange(RADII)[:, None] + 0.5) / RADII  # as their areas are
    place = np.searchsorted(times, pairs)
    first, second = polar[place], polar[place + 1]
    source = np.arange(ANGLES) - best_turns(first, second)[:, None]
    shared = np.stack(
        [
            np.minimum(np.take_along_axis(first, (source - turn)[:, None] % ANGLES, 2), second).sum((1, 2))
            for turn in NEARBY_TURNS
        ]
    ).max(0)
    either = np.maximum(first.sum((1, 2)) + second.sum((1, 2)) - shared, 1e-6)
    return float(np.mean(1 - shared / either))


def best_turns(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """By how many samples polar masks (N, RADII, ANGLES) must be turned to correlate most with others: (N,)."""
    spectra = np.conj(np.fft.rfft(first, axis=2)) * np.fft.rfft(second, axis=2)
    return np.fft.irfft(spectra.sum(1), ANGLES).argmax(1)
