"""What the applications' tasks find in a clip, by classical vision, and what counts as done.

All measures are our choice: unpublished.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..world.cast import Cast
from .judge import Judgement, Sight, judge_sight, name_sight, see_clip
from .metrics import LEAST_MOVEMENT, size_jump
from .outline import CLEAR, FAINT, LEAST_AREA, LEAST_PRESENCE
from .planning import ENDS, LINEAR_DIRECTIONS, Material, Run
from .scores import correct_traits, words_of

LAST_FRAMES = 8  # in which what the first frame shows must still be there
LARGEST_ERROR = 1e-6  # of a known pixel in [-1, 1]: float32's rounding on the way to [0, 1] and back
SMOOTHING = 5  # frames
MOST_SETBACK = 0.1  # of the way from the first keyframe to the last: about two pixels of 64 for a path
MOST_LEAP = 0.25  # of it; an even pace takes 1/79
LEAST_CORRELATION = 0.8
PATCH = 3  # pixels, the side of the patches whose statistics are a clip's style


class Footage(NamedTuple):
    """A clip that was made, (T, H, W, 3) in [0, 1], and what the judge sees in it."""

    frames: np.ndarray
    cast: Cast
    sight: Sight
    judged: Judgement

    def shows(self, run: Run) -> dict[str, bool]:
        """Whether it shows what was asked for, by trait and in all words."""
        return correct_traits(run.asked.words(), words_of(self.judged), self.judged.ranking)


def watch(frames: np.ndarray, cast: Cast) -> Footage:
    """Judge a clip once, for all that is to be found in it."""
    sight = see_clip(frames)
    return Footage(frames, cast, sight, judge_sight(sight, cast))


def judge_first_frame(run: Run, material: Material, made: Footage) -> dict:
    """persists: the last frames still show the given noun. size_jump: from the given frame to the next."""
    end = name_sight(made.sight.last(LAST_FRAMES), made.cast)
    return {
        "exact": is_exact(material, made.frames),
        "persists": run.asked.words()["noun"] in end.names[:1],
        "motion": made.shows(run)["motion"],
        "size_jump": size_jump(made.judged.areas, [0]),
    }


def judge_keyframes(run: Run, material: Material, made: Footage) -> dict:
    """forward: from one keyframe to the other without turning back. monotone: and not by a cut; see `passage`."""
    setback, leap = passage(made.judged, run.asked.words()["motion"])
    return {
        "exact": is_exact(material, made.frames),
        "forward": setback <= MOST_SETBACK,
        "monotone": setback <= MOST_SETBACK and leap <= MOST_LEAP,
        "setback": setback,
        "leap": leap,
        "object": made.shows(run)["noun"],
        "motion": made.shows(run)["motion"],
        "size_jump": size_jump(made.judged.areas, ENDS),
    }


def judge_inpaint(run: Run, material: Material, made: Footage) -> dict:
    return {
        "exact": is_exact(material, made.frames),
        "object": made.shows(run)["noun"],
        "motion": made.shows(run)["motion"],
    }


def judge_region(run: Run, material: Material, made: Footage) -> dict:
    """still_outside: there no pixel ever differs, not even in float32."""
    outside = material.known.all(0)
    return {
        "exact": is_exact(material, made.frames),
        "still_outside": bool((made.frames[:, outside] == made.frames[0, outside]).all()),
        "moves_inside": something_moves(made.frames),
        "motion": made.shows(run)["motion"],
    }


def judge_style(run: Run, material: Material, made: Footage) -> dict:
    return {"style_distance": patch_statistics(made.frames), "motion": made.shows(run)["motion"]}


def judge_video(run: Run, material: Material, made: Footage) -> dict:
    """follows_path: a correlation of LEAST_CORRELATION with the given path, or more."""
    correlation = path_correlation(see_clip(material.frames).observed.centroids, made.judged.centroids)
    follows, right = correlation >= LEAST_CORRELATION, made.shows(run)
    return {
        "path_correlation": correlation,
        "follows_path": follows,
        "noun": right["noun"],
        "noun_top5": right["noun_top5"],
        "path_and_noun": follows and right["noun"],
    }


def judge_shapes(run: Run, material: Material, made: Footage) -> dict:
    """All traits, and the outline's wobble, None where no object is seen."""
    wobble = made.judged.wobble
    return {**made.shows(run), "wobble": wobble if np.isfinite(wobble) else None}


def is_exact(material: Material, frames: np.ndarray) -> bool:
    """Whether the known pixels are the given ones: equal in 8 bits, and within LARGEST_ERROR in [-1, 1]."""
    made, given = frames[material.known], material.frames[material.known]
    same_bytes = np.array_equal(np.rint(made * 255), np.rint(given * 255))
    return bool(same_bytes and np.abs(2 * made - 2 * given).max(initial=0) <= LARGEST_ERROR)


def passage(judged: Judgement, motion: str) -> tuple[float, float]:
    """How an object goes from where it is first to where it is last: (setback, leap), in parts of that way, 1 at most.

    Measured is the place along the motion's direction; for growing and shrinking the radius. setback: how far it ever
    falls behind where it has been, smoothed over SMOOTHING frames. leap: the most that a single frame takes of the
    way. Both are 1 where there is not an object in sight all the time, or it does not get on as asked.
    """
    if not np.isfinite(judged.areas).all():
        return 1.0, 1.0
    if motion in LINEAR_DIRECTIONS:
        place = judged.centroids @ np.array(LINEAR_DIRECTIONS[motion])
    else:
        place = np.sqrt(judged.areas) * (1 if motion == "growing" else -1)
    way = place[-1] - place[0]
    if way <= 0:
        return 1.0, 1.0
    smooth = np.convolve(place, np.full(SMOOTHING, 1 / SMOOTHING), mode="valid")
    setback = (np.maximum.accumulate(smooth) - smooth).max()
    leap = np.abs(np.diff(place)).max(initial=0)
    return float(min(setback / way, 1.0)), float(min(leap / way, 1.0))


def something_moves(frames: np.ndarray) -> bool:
    """Whether at some time the least area that the judge takes for an object differs clearly from frame 0."""
    _, height, width, _ = frames.shape
    changed_pixels = (np.linalg.norm(frames - frames[0], axis=-1) > FAINT + CLEAR).sum((1, 2))
    return bool(changed_pixels.max() > LEAST_AREA * min(height, width) ** 2)


def path_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's r of two paths (T, 2), x and y each about its mean and taken together.

    0 where one is seldom in sight, or stays where it is.
    """
    seen = np.isfinite(first).all(1) & np.isfinite(second).all(1)
    if seen.mean() < LEAST_PRESENCE:
        return 0.0
    first, second = (path[seen] - path[seen].mean(0) for path in (first, second))
    if min(first.std(0).max(), second.std(0).max()) < LEAST_MOVEMENT:
        return 0.0
    return float((first * second).sum() / np.sqrt((first**2).sum() * (second**2).sum()))


def patch_statistics(frames: np.ndarray) -> np.ndarray:
    """The mean product of each two values of a PATCH x PATCH patch of pixels, over a clip's patches: (27, 27).

    A Gram matrix as in Gatys et al. 2016 (doi:10.1109/CVPR.2016.265), of the pixels instead of a network's features.
    """
    patches = np.lib.stride_tricks.sliding_window_view(frames, (PATCH, PATCH), axis=(1, 2))  # (T, h, w, 3, 3, 3)
    values = patches.reshape(-1, 3 * PATCH**2).astype(np.float64)
    return values.T @ values / len(values)


def relate_styles(runs: Sequence[Run], findings: Sequence[dict]) -> list[dict]:
    """style_distance: the root mean square difference of a clip's patch statistics to those of its alpha 0."""
    pairs = list(zip(runs, findings, strict=True))
    original = {run.index: found["style_distance"] for run, found in pairs if run.style[1] == 0}
    return [
        found | {"style_distance": float(np.sqrt(np.square(found["style_distance"] - original[run.index]).mean()))}
        for run, found in pairs
    ]
