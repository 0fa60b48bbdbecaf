"""How steady a clip is in time: change from frame to frame, flicker, jumps of size, joints, and repetition."""

from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

import numpy as np

from .filming import as_float_frames
from .outline import Observation

EDGE_PIXELS = 2.0
LEAST_MOVEMENT = 0.01  # standard deviation of a path, of the side, below which it has no period
SHORTEST_LAG = 4  # frames; shorter repeats are jitter
LEAST_SHARED = 12  # frames that must overlap to compare a path with itself


class Periodicity(NamedTuple):
    """strength: the autocorrelation's peak, 1 for perfect repetition; period_frames: its lag. Both 0 for none."""

    strength: float
    period_frames: int


def adjacent_frame_mse(frames: np.ndarray) -> np.ndarray:
    """Mean squared difference of each frame (T, H, W, 3) to the one before: (T-1,), on values in [0, 1]."""
    return np.square(np.diff(as_float_frames(frames), axis=0)).mean((1, 2, 3))


def boundary_to_interior_ratio(mse: np.ndarray, boundaries: list[int]) -> float:
    """How much more a clip changes where windows meet than elsewhere; 1 is seamless, NaN if nothing moves elsewhere.

    mse: (T-1,) from `adjacent_frame_mse`
    boundaries: the frames, 1 to T-1, that are the first of a new window
    """
    at_boundary = np.zeros(len(mse), bool)
    for frame in boundaries:
        if not 1 <= frame <= len(mse):
            raise ValueError(f"boundary_to_interior_ratio: boundaries must lie in 1 to {len(mse)}; got {frame}.")
        at_boundary[frame - 1] = True
    if at_boundary.all() or not at_boundary.any():
        raise ValueError("boundary_to_interior_ratio: some frames must be boundaries and some not; got all or none.")
    interior = float(mse[~at_boundary].mean())
    return float(mse[at_boundary].mean()) / interior if interior > 0.0 else float("nan")


def static_background_flicker(frames: np.ndarray, observed: Observation) -> float:
    """Mean absolute change from frame to frame over pixels the object never touches; NaN if it touches all.

    Touched means within the object's box rather than unlike the background, so that strong flicker cannot hide itself
    by being taken for the object.
    """
    untouched = ~touched_pixels(observed)
    if not untouched.any() or len(frames) < 2:
        return float("nan")
    return float(np.abs(np.diff(frames[:, untouched], axis=0)).mean())


def touched_pixels(observed: Observation) -> np.ndarray:
    """Where the square around the object passes at any time: (h, w) bool."""
    height, width = observed.masks.shape[1:]
    x, y, half = (values[:, None] for values in observed.boxes[observed.seen].T)  # (N, 1)
    columns = np.abs(np.arange(width) + 0.5 - x) < half + EDGE_PIXELS
    rows = np.abs(np.arange(height) + 0.5 - y) < half + EDGE_PIXELS
    return np.einsum("tr,tc->rc", rows, columns)


def size_jump(areas: np.ndarray, given: Sequence[int]) -> float:
    """The largest relative change of the object's size between a given frame and a neighbour that is not: 0 is none.

    areas: (T,), NaN where unseen, which counts as a change by 1. given: indices, negative ones from the end.
    """
    count = len(areas)
    known = {index % count for index in given}
    pairs = [(i, j) for i in known for j in (i - 1, i + 1) if 0 <= j < count and j not in known]
    sizes = np.sqrt(areas)
    changes = [abs(float(sizes[j] / sizes[i]) - 1) for i, j in pairs]
    return max((change if np.isfinite(change) else 1.0 for change in changes), default=0.0)


def periodicity(centroids: np.ndarray) -> Periodicity:
    """How well a path (T, 2), in fractions of the side, repeats itself: for what comes back.

    The peak of the normalised autocorrelation after it first falls below zero (our choice: unpublished).
    """
    path = centroids[np.isfinite(centroids).all(1)]
    if len(path) < 2 * LEAST_SHARED or path.std(0).max() < LEAST_MOVEMENT:
        return Periodicity(0.0, 0)
    path = path - path.mean(0)
    correlation = np.array([self_correlation(path, lag) for lag in range(len(path) - LEAST_SHARED)])
    negative = np.flatnonzero(correlation < 0.0)
    first = max(int(negative[0]) if len(negative) else len(correlation), SHORTEST_LAG)
    inner = range(first, len(correlation) - 1)
    peaks = [k for k in inner if correlation[k - 1] <= correlation[k] > correlation[k + 1] and correlation[k] > 0.0]
    if not peaks:
        return Periodicity(0.0, 0)
    # The first of nearly equal peaks is the period; later ones are its multiples.
    highest = max(correlation[k] for k in peaks)
    period = next(k for k in peaks if correlation[k] >= 0.9 * highest)
    return Periodicity(float(correlation[period]), period)


def self_correlation(path: np.ndarray, lag: int) -> float:
    """Cosine similarity of a centred path (T, 2) with itself `lag` frames later, over the frames they share."""
    early, late = path[: len(path) - lag], path[lag:]
    norm = sqrt(float((early**2).sum()) * float((late**2).sum()))
    return float((early * late).sum()) / norm if norm > 0.0 else 0.0
