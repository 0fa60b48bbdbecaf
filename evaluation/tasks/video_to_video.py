"""Tasks: a given video of one object made into one of another that takes the same path, at one strength or at several.

All measures are our choice: unpublished.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np
import torch

from ...lumiere_core.pipeline import DEFAULT_STRENGTH, Start
from ...world.cast import Cast
from ..judge.judgement import see_clip
from ..judge.outline import LEAST_PRESENCE
from ..judge.temporal import LEAST_MOVEMENT
from ..prompts import Prompt
from ..report.charts import draw_sweep
from .runs import plan_changed
from .task import ClipSize, JudgedClip, Material, Run, Task, mean_of

STRENGTHS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
STRAIGHT = ("moving left", "moving right", "moving up", "moving down")
ROVING = (*STRAIGHT, "bouncing", "jumping", "orbiting", "swinging", "falling")  # whose path is long enough
LEAST_CORRELATION = 0.8
TARGETS = {"path_correlation": LEAST_CORRELATION, "noun": 0.8, "path_and_noun": 0.8}
CURVES = {
    "path_correlation": "path's mean correlation",
    "noun": "noun as asked",
    "noun_top5": "noun as asked among the best five",
    "path_and_noun": "path kept and noun as asked",
}


def plan(cast: Cast, count: int, seed: int, strength: float = DEFAULT_STRENGTH) -> list[Run]:
    """Videos of objects that travel, to be made into others."""
    runs = plan_changed(cast, count, seed, travels)
    return [run._replace(variant=f"strength {strength:g}", setting=strength) for run in runs]


def plan_strengths(cast: Cast, count: int, seed: int) -> list[Run]:
    """At least `count` runs: the same videos at each of STRENGTHS."""
    share = ceil(count / len(STRENGTHS))
    return [run for strength in STRENGTHS for run in plan(cast, share, seed, strength)]


def travels(prompt: Prompt) -> bool:
    """Whether its object has a path."""
    return prompt.words()["motion"] in ROVING


def give(run: Run, size: ClipSize, frames: np.ndarray) -> Material:
    return Material({"start": Start(torch.from_numpy(frames), run.setting)}, frames)


def judge(run: Run, material: Material, made: JudgedClip) -> dict:
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


def trend(runs: Sequence[Run], found: Sequence[dict]) -> dict:
    """By strength the mean of all that is found; best: that at which path and noun are both right most often."""
    groups = [[clip for run, clip in zip(runs, found, strict=True) if run.setting == s] for s in STRENGTHS]
    means = {name: [mean_of(group, name) for group in groups] for name in found[0]}
    return {"strength": list(STRENGTHS), **means, "best": STRENGTHS[int(np.argmax(means["path_and_noun"]))]}


def sentences(trend: dict) -> list[str]:
    return [f"Path and noun are right most often at strength {trend['best']:g}."]


def plot(result: dict):
    """Path and noun against strength as a PIL image."""
    curves = {title: [figures[name] for figures in result["figures"].values()] for name, title in CURVES.items()}
    return draw_sweep(result["trend"]["strength"], curves, "video to video by strength, with 95 % intervals")


TASK = Task(name="video_to_video", plan=plan, give=give, judge=judge, targets=TARGETS)
SWEEP = Task(
    name="strengths",
    plan=plan_strengths,
    give=give,
    judge=judge,
    targets=TARGETS,
    trend=trend,
    sentences=sentences,
    plot=plot,
)
