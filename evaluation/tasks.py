"""What `lumiere evaluate` has a pipeline do beyond text to video: the paper's applications, a table entry each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ..world.cast import Cast
from .findings import (
    LEAST_CORRELATION,
    Footage,
    judge_first_frame,
    judge_inpaint,
    judge_keyframes,
    judge_region,
    judge_shapes,
    judge_style,
    judge_video,
    relate_styles,
)
from .planning import (
    Film,
    Material,
    Run,
    give_ends,
    give_film,
    give_first_frame,
    give_nothing,
    give_still,
    give_surroundings,
    give_video,
    moves_within,
    passes,
    plan_changed,
    plan_same,
    plan_shapes,
    plan_strength,
    plan_strengths,
    plan_styles,
)


class Task(NamedTuple):
    """plan(cast, count, seed): the runs, in the order in which they are made.

    give(run, film, frames): a run's material; frames are its source's, see `planning.shoot`.
    judge(run, material, made): its findings by name: bool, a number, or None, or an array that only `relate` reads.
    targets: the share of runs, or the mean, to be reached. relate(runs, findings): the findings that take several runs.
    """

    plan: Callable[[Cast, int, int], list[Run]]
    give: Callable[[Run, Film, np.ndarray], Material]
    judge: Callable[[Run, Material, Footage], dict]
    targets: Mapping[str, float]
    relate: Callable[[Sequence[Run], Sequence[dict]], list[dict]] = lambda runs, findings: list(findings)


VIDEO_TARGETS = {"path_correlation": LEAST_CORRELATION, "noun": 0.8, "path_and_noun": 0.8}
TASKS: dict[str, Task] = {
    "first_frame": Task(
        plan_same, give_first_frame, judge_first_frame, {"exact": 1.0, "persists": 0.9, "motion": 0.85}
    ),
    "keyframes": Task(
        lambda cast, count, seed: plan_same(cast, count, seed, passes),
        give_ends,
        judge_keyframes,
        {"exact": 1.0, "monotone": 0.85},
    ),
    "inpaint": Task(plan_changed, give_surroundings, judge_inpaint, {"exact": 1.0, "object": 0.85}),
    "region": Task(
        lambda cast, count, seed: plan_same(cast, count, seed, moves_within),
        give_still,
        judge_region,
        {"exact": 1.0, "still_outside": 1.0, "moves_inside": 1.0},
    ),
    "shapes": Task(plan_shapes, give_film, judge_shapes, {}),
    "style": Task(plan_styles, give_nothing, judge_style, {}, relate_styles),
    "video_to_video": Task(plan_strength, give_video, judge_video, VIDEO_TARGETS),
    "strengths": Task(plan_strengths, give_video, judge_video, VIDEO_TARGETS),
}
