"""Task: a clip that goes on from its given first frame. All measures are our choice: unpublished."""

from __future__ import annotations

import numpy as np
import torch

from ...lumiere_core.conditioning.given import Given
from ..judge.judgement import name_sight
from ..judge.temporal import size_jump
from .given_pixels import is_exact, known_frames
from .runs import plan_same
from .task import ClipSize, JudgedClip, Material, Run, Task

LAST_FRAMES = 8  # in which what the first frame shows must still be there


def give(run: Run, size: ClipSize, frames: np.ndarray) -> Material:
    given = Given("first_frame", torch.from_numpy(frames[:1]))
    return Material({"given": given}, frames, known_frames(size, [0]))


def judge(run: Run, material: Material, made: JudgedClip) -> dict:
    """persists: the last frames still show the given noun. size_jump: from the given frame to the next."""
    end = name_sight(made.sight.last(LAST_FRAMES), made.cast)
    return {
        "exact": is_exact(material, made.frames),
        "persists": run.asked.words()["noun"] in end.names[:1],
        "motion": made.shows(run)["motion"],
        "size_jump": size_jump(made.judged.areas, [0]),
    }


TASK = Task(
    name="first_frame",
    plan=plan_same,
    give=give,
    judge=judge,
    targets={"exact": 1.0, "persists": 0.9, "motion": 0.85},
)
