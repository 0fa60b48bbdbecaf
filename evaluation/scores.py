"""From clips to figures: each clip is judged once and reduced to a few words and numbers, then clips are counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..world.cast import Cast
from ..world.motions import MOTIONS
from .backdrop import NONE
from .judge import Judgement, judge_clip
from .metrics import Periodicity, adjacent_frame_mse, periodicity, wilson_interval
from .prompts import SPLITS, Prompt

WORDS = ("noun", "motion", "background")
TRAITS = ("noun", "noun_top5", "motion", "background")
ALL = "all"  # every word of a clip at once
BEST = 5  # nouns of a ranking among which the right one is
PERIODIC_MOTIONS = ("bouncing", "jumping", "orbiting", "swinging")
LEAST_CYCLES = 2  # of a motion in a clip, so that it repeats
CLEAR_PEAK = 0.8  # of the autocorrelation; ground truth, also with noise, has at least 0.9


class Measurement(NamedTuple):
    """What is kept of one clip.

    words: by WORDS, "none" where nothing is recognised. best: the BEST likeliest nouns. wobble, flicker: NaN if they
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


def words_of(judged: Judgement) -> dict[str, str]:
    return {trait: getattr(judged, trait) for trait in WORDS}


def correct_traits(asked: dict[str, str], shown: dict[str, str], best: Sequence[str]) -> dict[str, bool]:
    """Whether a clip shows what is asked for, by TRAITS and in ALL words."""
    right = {trait: asked[trait] == shown[trait] for trait in WORDS}
    right |= {"noun_top5": asked["noun"] in best[:BEST]}
    return {trait: right[trait] for trait in TRAITS} | {ALL: asked == shown}


def summarize(prompts: Sequence[Prompt], measured: Sequence[Measurement]) -> dict:
    """All figures of a set of clips, in types that JSON knows; a missing figure is None."""
    pairs = list(zip(prompts, measured, strict=True))
    return {
        "prompts": len(pairs),
        "accuracy": {split: accuracy([pair for pair in pairs if pair[0].split == split]) for split in SPLITS},
        "motion_by_word": {motion: motion_accuracy(pairs, motion) for motion in MOTIONS},
        "confusion": {"motion": motion_confusion(pairs)},
        "wobble": spread_of([m.wobble for m in measured]),
        "flicker": spread_of([m.flicker for m in measured]),
        "periodicity": {motion: repeating(pairs, motion) for motion in PERIODIC_MOTIONS},
    }


def accuracy(pairs: Sequence[tuple[Prompt, Measurement]]) -> dict[str, dict]:
    """The share of clips that show what their prompt says, by trait, and in all words."""
    right = [correct_traits(p.words(), m.words, m.best) for p, m in pairs]
    return {trait: rate(sum(clip[trait] for clip in right), len(pairs)) for trait in (*TRAITS, ALL)}


def motion_accuracy(pairs: Sequence[tuple[Prompt, Measurement]], motion: str) -> dict:
    shown = [m.words["motion"] for p, m in pairs if p.words()["motion"] == motion]
    return rate(shown.count(motion), len(shown))


def rate(successes: int, count: int) -> dict:
    """A share of successes and its 95 % interval."""
    low, high = wilson_interval(successes, count) if count else (None, None)
    return {
        "correct": successes,
        "of": count,
        "rate": successes / count if count else None,
        "low": low,
        "high": high,
    }


def motion_confusion(pairs: Sequence[tuple[Prompt, Measurement]]) -> dict:
    """counts[i][j]: clips whose prompt says asked[i] and that show shown[j]."""
    asked, shown = list(MOTIONS), [*MOTIONS, NONE]
    counts = np.zeros((len(asked), len(shown)), int)
    for prompt, measurement in pairs:
        counts[asked.index(prompt.words()["motion"]), shown.index(measurement.words["motion"])] += 1
    return {"asked": asked, "shown": shown, "counts": counts.tolist()}


def spread_of(values: Sequence[float]) -> dict:
    """Mean and 95th percentile over the clips in which it could be measured."""
    known = np.array([value for value in values if np.isfinite(value)])
    if not len(known):
        return {"clips": 0, "mean": None, "percentile_95": None}
    return {
        "clips": len(known),
        "mean": float(known.mean()),
        "percentile_95": float(np.quantile(known, 0.95)),
    }


def repeating(pairs: Sequence[tuple[Prompt, Measurement]], motion: str) -> dict:
    """How many clips that should repeat a path do so clearly, and the median period of those, in frames."""
    asked = [m.periodicity for p, m in pairs if repeats(p, motion)]
    clear = [found.period_frames for found in asked if found.strength >= CLEAR_PEAK]
    return rate(len(clear), len(asked)) | {"median_period_frames": float(np.median(clear)) if clear else None}


def repeats(prompt: Prompt, motion: str) -> bool:
    (actor,) = prompt.scene.actors
    return actor.moves == motion and actor.motion.cycles >= LEAST_CYCLES
