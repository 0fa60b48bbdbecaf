"""Task: another object in the hole where a given clip's own one passes. All measures are our choice: unpublished."""

from __future__ import annotations

import numpy as np
import torch

from ...lumiere_core.conditioning.given import Given
from ...world.cast import Cast
from .given_pixels import is_exact, leaves_surroundings, swept_box
from .runs import plan_changed
from .task import ClipSize, JudgedClip, Material, Run, Task


def plan(cast: Cast, count: int, seed: int) -> list[Run]:
    return plan_changed(cast, count, seed, leaves_surroundings)


def give(run: Run, size: ClipSize, frames: np.ndarray) -> Material:
    """The clip but for a hole where the object passes."""
    hole = swept_box(size, run.source)
    given = Given("inpaint", torch.from_numpy(frames), mask=torch.from_numpy(hole).float()[None])
    return Material({"given": given}, frames, np.broadcast_to(~hole, (size.frames, *hole.shape)))


def judge(run: Run, material: Material, made: JudgedClip) -> dict:
    return {
        "exact": is_exact(material, made.frames),
        "object": made.shows(run)["noun"],
        "motion": made.shows(run)["motion"],
    }


TASK = Task(name="inpaint", plan=plan, give=give, judge=judge, targets={"exact": 1.0, "object": 0.85})
