"""Task: clips of other lengths and shapes than the checkpoint's own. All measures are our choice: unpublished."""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

import numpy as np

from ...world.cast import Cast
from .runs import plan_same
from .task import ClipSize, JudgedClip, Material, Run, Task

LENGTHS = (8, 16, 40, 120, 160)  # frames, none of them the usual number
# Height and width in units of the checkpoint's size, of about equal area.
SHAPES = {"9:16": (1.3125, 0.75), "3:4": (1.125, 0.875), "4:3": (0.875, 1.125), "16:9": (0.75, 1.3125)}
SIDE_STEP = 8  # pixels, of which all sides are multiples


class Reshaping(NamedTuple):
    """How a clip differs from the checkpoint's own. frames: of LENGTHS. sides: of SHAPES. None is the usual."""

    frames: int | None = None
    sides: tuple[float, float] | None = None


def plan(cast: Cast, count: int, seed: int) -> list[Run]:
    """At least `count` runs: the same prompts at each of LENGTHS in square frames, and in each of SHAPES."""
    variants = {f"{frames} frames": Reshaping(frames=frames) for frames in LENGTHS}
    variants |= {name: Reshaping(sides=sides) for name, sides in SHAPES.items()}
    runs = plan_same(cast, ceil(count / len(variants)), seed)
    return [
        run._replace(variant=name, truth=name, setting=reshaping)
        for name, reshaping in variants.items()
        for run in runs
    ]


def reshaped(run: Run, usual: ClipSize) -> ClipSize:
    frames, shares = run.setting
    sides = usual.height, usual.width
    if shares is not None:
        pairs = zip(shares, sides, strict=True)
        sides = (SIDE_STEP * max(1, round(share * side / SIDE_STEP)) for share, side in pairs)
    return ClipSize(frames or usual.frames, *sides)


def give(run: Run, size: ClipSize, frames: np.ndarray) -> Material:
    """Nothing but how long and large the clip is to be."""
    return Material({"frames": size.frames, "size": (size.height, size.width)})


def judge(run: Run, material: Material, made: JudgedClip) -> dict:
    """All traits, and the outline's wobble, None where no object is seen."""
    wobble = made.judged.wobble
    return {**made.shows(run), "wobble": wobble if np.isfinite(wobble) else None}


TASK = Task(name="shapes", plan=plan, give=give, judge=judge, targets={}, size=reshaped)
