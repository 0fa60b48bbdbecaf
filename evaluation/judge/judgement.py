"""Reads noun, motion and background off the pixels of a clip of one object, by classical vision only.

The judge is not learned and never sees the caption, so it cannot share a generator's mistakes: see `backdrop` for the
background and `outline` for the object in front of it, `naming` for its noun, `motion_reading` for its motion.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...world.cast import Cast
from .backdrop import NONE, Backdrop, see_backdrop
from .filming import as_float_frames, average_down
from .motion_reading import read_motion
from .naming import LEAST_LIKENESS, Naming, name_object
from .outline import Observation, observe, wobble
from .temporal import static_background_flicker

UNNAMED = Naming((), 0.0)


class Sight(NamedTuple):
    """A clip before anything in it is named. frames: (T, h, w, 3) float32 in [0, 1], averaged down."""

    frames: np.ndarray
    backdrop: Backdrop
    observed: Observation

    def last(self, count: int) -> Sight:
        """The last frames alone, before the background of all."""
        return Sight(self.frames[-count:], self.backdrop, Observation(*(values[-count:] for values in self.observed)))


class Judgement(NamedTuple):
    """What the pixels show; words are "none" where there is no recognisable object, or background.

    ranking: all nouns of the cast, the likeliest first, empty where nothing is seen. likeness: of the first, 1 at best.
    background_distance: RGB distance to the nearest drawing. wobble: see `outline.wobble`. flicker: see
    `temporal.static_background_flicker`. centroids: (T, 2) x, y, areas: (T,) of the side (squared); NaN where unseen.
    """

    noun: str
    motion: str
    background: str
    ranking: tuple[str, ...]
    likeness: float
    background_distance: float
    wobble: float
    flicker: float
    centroids: np.ndarray
    areas: np.ndarray


def see_clip(frames: np.ndarray) -> Sight:
    """Tell background and object of a clip (T, H, W, 3), float in [0, 1] or uint8, apart."""
    frames = average_down(as_float_frames(frames))
    backdrop = see_backdrop(frames)
    return Sight(frames, backdrop, observe(frames, backdrop.image))


def judge_clip(frames: np.ndarray, cast: Cast) -> Judgement:
    """Judge a clip (T, H, W, 3), float in [0, 1] or uint8, of one object of a cast.

    Motion is that of the whole clip, which is taken to span CLIP_SECONDS. All else can be judged from one frame.
    """
    return judge_sight(see_clip(frames), cast)


def judge_sight(sight: Sight, cast: Cast) -> Judgement:
    frames, backdrop, observed = sight
    ranking, likeness = name_sight(sight, cast)
    return Judgement(
        noun=ranking[0] if likeness >= LEAST_LIKENESS else NONE,
        motion=read_motion(frames, observed),
        background=backdrop.name,
        ranking=ranking,
        likeness=likeness,
        background_distance=backdrop.distance,
        wobble=wobble(observed),
        flicker=static_background_flicker(frames, observed),
        centroids=observed.centroids,
        areas=observed.areas,
    )


def name_sight(sight: Sight, cast: Cast) -> Naming:
    """The cast's members by likeness to the object; none where it is seldom seen."""
    if not sight.observed.present:
        return UNNAMED
    return name_object(sight.frames, sight.backdrop.image, sight.observed, cast)
