"""Task: a given still of which one region is to move. All measures are our choice: unpublished."""

from __future__ import annotations

import numpy as np
import torch

from ...lumiere_core.conditioning.given import Given
from ...world.cast import Cast
from ..judge.outline import CLEAR, FAINT, LEAST_AREA
from ..prompts import Prompt
from .given_pixels import is_exact, leaves_surroundings, swept_box
from .runs import plan_same
from .task import ClipSize, JudgedClip, Material, Run, Task


def plan(cast: Cast, count: int, seed: int) -> list[Run]:
    return plan_same(cast, count, seed, moves_within)


def moves_within(prompt: Prompt) -> bool:
    """Whether its object moves, and leaves surroundings that do not."""
    return prompt.words()["motion"] != "staying still" and leaves_surroundings(prompt)


def give(run: Run, size: ClipSize, frames: np.ndarray) -> Material:
    """The first frame as a still image, of which what the object will sweep is to move."""
    still, region = frames[:1], swept_box(size, run.source)
    given = Given("region", torch.from_numpy(still), mask=torch.from_numpy(region).float()[None])
    known = np.repeat(~region[None], size.frames, axis=0)
    known[0] = True
    return Material({"given": given}, np.repeat(still, size.frames, axis=0), known)


def judge(run: Run, material: Material, made: JudgedClip) -> dict:
    """still_outside: there no pixel ever differs, not even in float32."""
    outside = material.known.all(0)
    return {
        "exact": is_exact(material, made.frames),
        "still_outside": bool((made.frames[:, outside] == made.frames[0, outside]).all()),
        "moves_inside": something_moves(made.frames),
        "motion": made.shows(run)["motion"],
    }


def something_moves(frames: np.ndarray) -> bool:
    """Whether at some time the least area that the judge takes for an object differs clearly from frame 0."""
    _, height, width, _ = frames.shape
    changed_pixels = (np.linalg.norm(frames - frames[0], axis=-1) > FAINT + CLEAR).sum((1, 2))
    return bool(changed_pixels.max() > LEAST_AREA * min(height, width) ** 2)


TASK = Task(
    name="region",
    plan=plan,
    give=give,
    judge=judge,
    targets={"exact": 1.0, "still_outside": 1.0, "moves_inside": 1.0},
)
