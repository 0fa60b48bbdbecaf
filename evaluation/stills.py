"""Judging single frames, to watch a text-to-image net learn: noun and background, with no motion to see."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..world.cast import Cast
from .judge import name_sight, see_clip
from .prompts import plan_prompts
from .scores import BEST


def judge_stills(frames: np.ndarray, cast: Cast) -> list[tuple[str, ...]]:
    """The cast's names for each of N stills (N, H, W, 3), the likeliest first; none where no object is seen."""
    return [name_sight(see_clip(frame[None]), cast).names for frame in frames]


def evaluate_stills(
    generate_batch: Callable[[list[str]], np.ndarray], cast: Cast, n: int, seed: int
) -> dict[str, float]:
    """The shares of `generate_batch(n prompts) -> frames (n, H, W, 3)` with the right noun, first or among the best
    five, and background. Frames are float in [0, 1] or uint8.
    """
    prompts = plan_prompts(cast, n, seed)
    sights = [see_clip(frame[None]) for frame in generate_batch([prompt.text for prompt in prompts])]
    rankings = [name_sight(sight, cast).names for sight in sights]
    asked = [prompt.words() for prompt in prompts]
    correct = [
        (
            words["noun"] in ranking[:1],
            words["noun"] in ranking[:BEST],
            words["background"] == sight.backdrop.name,
        )
        for words, ranking, sight in zip(asked, rankings, sights, strict=True)
    ]
    return dict(zip(("noun", "noun_top5", "background"), np.mean(correct, axis=0).tolist(), strict=True))
