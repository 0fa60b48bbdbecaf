"""Judging single frames, to watch a text-to-image net learn: shape, colour and background, with no motion to see."""

from collections.abc import Callable, Sequence

import numpy as np

from ..toy_world import Scene
from .judge import judge_clip
from .prompts import plan_prompts

STILL_TRAITS = ("shape", "color", "background")


def evaluate_stills(generate_batch: Callable[[list[str]], np.ndarray], n: int, seed: int) -> dict[str, float]:
    """Accuracies of `generate_batch(n prompts) -> frames (n, H, W, 3)`, float in [0, 1] or uint8, in one batch."""
    prompts = plan_prompts(n, seed)
    return judge_stills(generate_batch([prompt.text for prompt in prompts]), [prompt.scene for prompt in prompts])


def judge_stills(frames: np.ndarray, scenes: Sequence[Scene]) -> dict[str, float]:
    """The shares of frames (N, H, W, 3) that show their one-object scene's shape, color, background, and all three."""
    if len(frames) != len(scenes):
        raise ValueError(f"judge_stills: each frame needs a scene; got {len(frames)} frames and {len(scenes)} scenes.")
    judged = [judge_clip(frame[None]) for frame in frames]
    truth = [(scene.objects[0].shape, scene.objects[0].color, scene.background) for scene in scenes]
    shown = [tuple(getattr(judgement, trait) for trait in STILL_TRAITS) for judgement in judged]
    correct = np.array(shown) == np.array(truth)  # (N, traits)
    accuracies = dict(zip(STILL_TRAITS, correct.mean(0).tolist(), strict=True))
    return accuracies | {"all": float(correct.all(1).mean())}
