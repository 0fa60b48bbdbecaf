"""From clips to figures: each clip is judged once and reduced to a few words and numbers, then clips are counted."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..toy_world import MOTIONS, SHAPES
from .judge import NONE, judge_clip
from .metrics import Periodicity, adjacent_frame_mse, periodicity, static_background_flicker, wilson_interval
from .prompts import SPLITS, Prompt

TRAITS = ("shape", "color", "background", "motion")
ALL = "all"  # every trait of a clip at once
CONFUSED = {"motion": MOTIONS, "shape": SHAPES}
PERIODIC_MOTIONS = ("bouncing", "orbiting")
CLEAR_PEAK = 0.8  # of the autocorrelation; ground truth, also with noise, has at least 0.98


class Measurement(NamedTuple):
    """What is kept of one clip.

    words: by trait, "none" where nothing is recognised. flicker: NaN if it cannot be measured. frame_mse: (T-1,).
    """

    words: dict[str, str]
    motion_strength: float
    flicker: float
    periodicity: Periodicity
    frame_mse: np.ndarray


def measure(frames: np.ndarray, fps: float) -> Measurement:
    """Judge one clip (T, H, W, 3), float in [0, 1] or uint8."""
    judged = judge_clip(frames, fps)
    words = {trait: getattr(judged, trait) for trait in TRAITS}
    repeats = periodicity(judged.centroids)
    flickering = static_background_flicker(frames)
    return Measurement(words, judged.motion_strength, flickering, repeats, adjacent_frame_mse(frames))


def summarize(prompts: Sequence[Prompt], measured: Sequence[Measurement]) -> dict:
    """All figures of a set of clips, in types that JSON knows; a missing figure is None."""
    pairs = list(zip(prompts, measured, strict=True))
    return {
        "prompts": len(pairs),
        "accuracy": {split: accuracy([pair for pair in pairs if pair[0].split == split]) for split in SPLITS},
        "confusion": {trait: confusion(pairs, trait) for trait in CONFUSED},
        "flicker": flicker([m.flicker for m in measured]),
        "periodicity": {motion: repeating(pairs, motion) for motion in PERIODIC_MOTIONS},
    }


def accuracy(pairs: Sequence[tuple[Prompt, Measurement]]) -> dict[str, dict]:
    """The share of clips that show what their prompt says, by trait, and in all traits."""
    correct = {t: sum(p.words()[t] == m.words[t] for p, m in pairs) for t in TRAITS}
    correct[ALL] = sum(p.words() == m.words for p, m in pairs)
    return {trait: rate(count, len(pairs)) for trait, count in correct.items()}


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


def confusion(pairs: Sequence[tuple[Prompt, Measurement]], trait: str) -> dict:
    """counts[i][j]: clips whose prompt says asked[i] and that show shown[j]."""
    asked, shown = list(CONFUSED[trait]), [*CONFUSED[trait], NONE]
    counts = np.zeros((len(asked), len(shown)), int)
    for prompt, measurement in pairs:
        counts[asked.index(prompt.words()[trait]), shown.index(measurement.words[trait])] += 1
    return {"asked": asked, "shown": shown, "counts": counts.tolist()}


def flicker(values: Sequence[float]) -> dict:
    """Mean and 95th percentile over the clips in which some background stays untouched; on values in [0, 1]."""
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
    asked = [m.periodicity for p, m in pairs if p.words()["motion"] == motion]
    clear = [found.period_frames for found in asked if found.strength >= CLEAR_PEAK]
    return rate(len(clear), len(asked)) | {"median_period_frames": float(np.median(clear)) if clear else None}
