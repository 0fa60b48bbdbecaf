"""Task: a clip between its given first and last frame. All measures are our choice: unpublished."""

from __future__ import annotations

import numpy as np
import torch

from ...lumiere_core.conditioning.given import Given
from ...world.cast import Cast
from ..judge.judgement import Judgement
from ..judge.temporal import size_jump
from ..prompts import Prompt
from .given_pixels import is_exact, known_frames
from .runs import plan_same
from .task import ClipSize, JudgedClip, Material, Run, Task

KEYFRAMES = (0, -1)  # indices of what is given
LINEAR_DIRECTIONS = {"moving left": (-1, 0), "moving right": (1, 0), "moving up": (0, -1), "moving down": (0, 1)}
SMOOTHING = 5  # frames
MOST_SETBACK = 0.1  # of the way from the first keyframe to the last: about two pixels of 64 for a path
MOST_LEAP = 0.25  # of it; an even pace takes 1/79


def plan(cast: Cast, count: int, seed: int) -> list[Run]:
    return plan_same(cast, count, seed, passes)


def passes(prompt: Prompt) -> bool:
    """Whether its motion leads from one state to another by way of those between."""
    return prompt.words()["motion"] in (*LINEAR_DIRECTIONS, "growing", "shrinking")


def give(run: Run, size: ClipSize, frames: np.ndarray) -> Material:
    given = Given("keyframes", torch.from_numpy(frames[list(KEYFRAMES)]), indices=KEYFRAMES)
    return Material({"given": given}, frames, known_frames(size, KEYFRAMES))


def judge(run: Run, material: Material, made: JudgedClip) -> dict:
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
        "size_jump": size_jump(made.judged.areas, KEYFRAMES),
    }


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


TASK = Task(name="keyframes", plan=plan, give=give, judge=judge, targets={"exact": 1.0, "monotone": 0.85})
