"""Text to video, counted: each clip is judged once and reduced to a few words and numbers, then clips are counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...world.cast import Cast
from ...world.motions import MOTIONS
from ..judge.backdrop import NONE
from ..judge.judgement import judge_clip
from ..judge.temporal import Periodicity, adjacent_frame_mse, periodicity
from ..judge.traits import ALL, BEST, TRAITS, correct_traits, words_of
from ..prompts import SPLITS, Prompt
from ..statistics import share, spread

PERIODIC_MOTIONS = ("bouncing", "jumping", "orbiting", "swinging")
LEAST_CYCLES = 2  # of a motion in a clip, so that it repeats
CLEAR_PEAK = 0.8  # of the autocorrelation; ground truth, also with noise, has at least 0.9


class Measurement(NamedTuple):
    """What is kept of one clip.

    words: by trait, "none" where nothing is recognised. best: the BEST likeliest nouns. wobble, flicker: NaN if they
    cannot be measured. frame_mse: (T-1,).
    """

    words: dict[str, str]
    best: tuple[str, ...]
    wobble: float
    flicker: float
    periodicity: Periodicity
    frame_mse: np.ndarray


def measure(frames: np.ndarray, cast: Cast) -> Measurement:
    """Judge one clip (T, H, W, 3), float in [0, 1] or uint8."""
    judged = judge_clip(frames, cast)
    repeats = periodicity(judged.centroids)
    best = judged.ranking[:BEST]
    return Measurement(words_of(judged), best, judged.wobble, judged.flicker, repeats, adjacent_frame_mse(frames))


def count_clips(prompts: Sequence[Prompt], measured: Sequence[Measurement]) -> dict:
    """All figures of a set of clips, in types that JSON knows; a missing figure is None."""
    pairs = list(zip(prompts, measured, strict=True))
    return {
        "prompts": len(pairs),
        "accuracy": {split: accuracy([pair for pair in pairs if pair[0].split == split]) for split in SPLITS},
        "motion_by_word": {motion: motion_accuracy(pairs, motion) for motion in MOTIONS},
        "confusion": {"motion": motion_confusion(pairs)},
        "wobble": spread([m.wobble for m in measured]),
        "flicker": spread([m.flicker for m in measured]),
        "periodicity": {motion: repeating(pairs, motion) for motion in PERIODIC_MOTIONS},
    }


def accuracy(pairs: Sequence[tuple[Prompt, Measurement]]) -> dict[str, dict]:
    """The share of clips that show what their prompt says, by trait, and in all words."""
    right = [correct_traits(p.words(), m.words, m.best) for p, m in pairs]
    return {trait: share(sum(clip[trait] for clip in right), len(pairs)) for trait in (*TRAITS, ALL)}


def motion_accuracy(pairs: Sequence[tuple[Prompt, Measurement]], motion: str) -> dict:
    shown = [m.words["motion"] for p, m in pairs if p.words()["motion"] == motion]
    return share(shown.count(motion), len(shown))


def motion_confusion(pairs: Sequence[tuple[Prompt, Measurement]]) -> dict:
    """counts[i][j]: clips whose prompt says asked[i] and that show shown[j]."""
    asked, shown = list(MOTIONS), [*MOTIONS, NONE]
    counts = np.zeros((len(asked), len(shown)), int)
    for prompt, measurement in pairs:
        counts[asked.index(prompt.words()["motion"]), shown.index(measurement.words["motion"])] += 1
    return {"asked": asked, "shown": shown, "counts": counts.tolist()}


def repeating(pairs: Sequence[tuple[Prompt, Measurement]], motion: str) -> dict:
    """How many clips that should repeat a path do so clearly, and the median period of those, in frames."""
    asked = [m.periodicity for p, m in pairs if repeats(p, motion)]
    clear = [found.period_frames for found in asked if found.strength >= CLEAR_PEAK]
    return share(len(clear), len(asked)) | {"median_period_frames": float(np.median(clear)) if clear else None}


def repeats(prompt: Prompt, motion: str) -> bool:
    (actor,) = prompt.scene.actors
    return actor.moves == motion and actor.motion.cycles >= LEAST_CYCLES
