"""Which of the world's motions an object follows: its path, its size and its turning against those that motions have.

Every motion's own course, at many rates and phases, is fitted to the measured one; what a course leaves unexplained is
its cost, and what its turning leaves unexplained of the object's look is added. Our choice throughout: unpublished.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ...world.motions import MOTIONS, Motion, has_pace
from .backdrop import NONE
from .filming import clip_times
from .outline import ANGLES, RADII, Observation, polar_pictures

SIZE_WEIGHT = 0.25  # of the log of the radius beside places: about an object's radius
TOLERANCE = 0.008  # of the side: differences to a course below it mean little
SLACK = (0.5, 1.6)  # times the world's smallest and largest extent is still the motion
SLOWEST_TRAVEL = 0.1  # extent of slow straight paths
CYCLE_STEP, CYCLE_MARGIN, PHASES = 0.25, 0.5, 16
LEAST_FRAMES = 4
TURNING_FRAMES = 48  # spread over the clip, on which turning is looked for
HARMONICS = 12
PLAINNESS = 0.03  # of the look's energy: less of it depends on the angle where an object is as good as round
TURNING_WEIGHT = 4.0
MOST_ECCENTRIC = 0.1  # of the side: how far the centre of mass is from the middle that an object spins about
SPIN_RATES = np.arange(0.75, 4.76, 0.25)  # turns in a clip


class Courses(NamedTuple):
    """The bank of courses, N rows: kinds; curves (N, 3, T): x, y and weighted log radius at extent 1; limits (N, 2)."""

    kinds: np.ndarray
    curves: np.ndarray
    limits: np.ndarray


def read_motion(frames: np.ndarray, observed: Observation) -> str:
    """The motion, of MOTIONS, of the object in a whole clip (T, h, w, 3), or "none" where it is seldom seen.

    Frames are taken to span CLIP_SECONDS, however many there are.
    """
    if not observed.present or observed.seen.sum() < LEAST_FRAMES:
        return NONE
    costs = path_costs(observed)
    turning = turning_costs(frames, observed)
    costs = {kind: costs[kind] + TURNING_WEIGHT * turning.get(kind, turning["upright"]) for kind in MOTIONS}
    return min(costs, key=costs.get)


def path_costs(observed: Observation) -> dict[str, float]:
    """By motion, the log of the mean squared distance between the measured course and its nearest one."""
    courses = draw_courses(len(observed.seen))
    radius = 0.5 * SIZE_WEIGHT * np.log(observed.areas[observed.seen])
    measured = np.concatenate([observed.centroids[observed.seen].T, radius[None]])  # (3, t)
    measured = (measured - measured.mean(1, keepdims=True)).ravel()
    curves = courses.curves[..., observed.seen]
    curves = (curves - curves.mean(2, keepdims=True)).reshape(len(curves), -1)
    energy, shared = np.maximum((curves**2).sum(1), 1e-9), curves @ measured
    extent = np.clip(shared / energy, *courses.limits.T)
    left = (measured @ measured - 2 * extent * shared + extent**2 * energy) / observed.seen.sum()
    costs = np.log(np.maximum(left, 0) + TOLERANCE**2)
    return {kind: float(costs[courses.kinds == kind].min()) for kind in MOTIONS}


@lru_cache(maxsize=16)
def draw_courses(count: int) -> Courses:
    """Every motion at all rates and phases, `count` frames in CLIP_SECONDS."""
    seconds = clip_times(count)
    motions = [
        Motion(kind, 0.0, 0.0, 1.0, 1.0, cycles, phase, turn)
        for kind, of in MOTIONS.items()
        for cycles in rates(of.cycles)
        for phase in (np.arange(PHASES) / PHASES if of.repeats else (0.0,))
        for turn in ((1, -1) if kind in ("orbiting", "spinning") else (1,))
    ]
    # What spins has its centre of mass on a circle.
    seen_as = [replace(motion, kind="orbiting") if motion.kind == "spinning" else motion for motion in motions]
    tracks = [motion.track(seconds) for motion in seen_as]
    curves = np.stack([(track.x, track.y, SIZE_WEIGHT * np.log(track.radius)) for track in tracks])
    limits = [extent_limits(motion.kind) for motion in motions]
    return Courses(np.array([motion.kind for motion in motions]), curves, np.array(limits))


def rates(cycles: tuple[int, ...]) -> np.ndarray:
    """Cycles in a clip to try, about a motion's own; a single 0 for what does not repeat."""
    if not cycles:
        return np.zeros(1)
    return np.arange(max(min(cycles) - CYCLE_MARGIN, 0.75), max(cycles) + CYCLE_MARGIN + 0.01, CYCLE_STEP)


def extent_limits(kind: str) -> tuple[float, float]:
    if kind == "spinning":
        return 0.0, MOST_ECCENTRIC
    low, high = MOTIONS[kind].extent
    low = min(low, SLOWEST_TRAVEL) if has_pace(kind) and not MOTIONS[kind].repeats else low
    return SLACK[0] * low, SLACK[1] * high


def turning_costs(frames: np.ndarray, observed: Observation) -> dict[str, float]:
    """What is left unexplained of how the object looks from each angle, 0 to 1, if it stays upright, spins or falls."""
    seen = np.flatnonzero(observed.seen)
    times = seen[np.unique(np.linspace(0, len(seen) - 1, TURNING_FRAMES).round().astype(int))]
    part = times / len(observed.seen)
    look = angular_spectrum(frames, observed, times)
    both = np.array([1.0, -1.0])[:, None]
    turns = {
        "upright": np.zeros((1, len(part))),
        "spinning": np.concatenate([both * rate * part for rate in SPIN_RATES]),
        "falling": both * part**1.5,
    }
    return {kind: float(incoherence(look, turned).min()) for kind, turned in turns.items()}


def angular_spectrum(frames: np.ndarray, observed: Observation, times: np.ndarray) -> np.ndarray:
    """The object's look about its centre, by angular frequency: (N, HARMONICS + 1, values) complex."""
    masks = observed.masks[..., None]
    pictures = np.concatenate([frames * masks, masks], axis=-1)
    polar = polar_pictures(pictures, observed, times) * np.sqrt((np.arange(RADII) + 0.5) / RADII)[:, None, None]
    spectrum = np.fft.rfft(polar, axis=2)[:, :, : HARMONICS + 1] / ANGLES
    return spectrum.transpose(0, 2, 1, 3).reshape(len(times), HARMONICS + 1, -1)


def incoherence(look: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """How unlike the frames of a spectrum (N, M, values) are once turned back by `turns` (K, N), in turns: (K,)."""
    orders = np.arange(1, look.shape[1])
    back = np.exp(2j * np.pi * turns[:, :, None] * orders)  # (K, N, M - 1)
    mean = np.einsum("knm,nmv->kmv", back, look[:, 1:]) / len(look)
    energy = (np.abs(look) ** 2).sum(2).mean(0)
    depends = energy[1:].sum()
    return (depends - (np.abs(mean) ** 2).sum((1, 2))) / max(depends + PLAINNESS * energy[0], 1e-9)
