"""What a generator is asked to show: seeded one-object prompts, balanced over the toy world's vocabulary."""

from collections import Counter
from typing import NamedTuple

import numpy as np

from ..toy_world import BACKGROUNDS, HELD_OUT_COMBINATIONS, TRAINING_COMBINATIONS, Scene, canonical_caption, make_scene

SPLITS = {"trained": TRAINING_COMBINATIONS, "held_out": HELD_OUT_COMBINATIONS}
HELD_OUT_SHARE = 0.25  # of the prompts: enough for an interval, though held out is a tenth of the combinations


class Prompt(NamedTuple):
    """A canonical caption, background stated; a scene of its words; split: trained or held_out combination."""

    text: str
    scene: Scene
    split: str

    def words(self) -> dict[str, str]:
        """The words a faithful clip must show, by trait."""
        (shown,) = self.scene.objects
        return {
            "shape": shown.shape,
            "color": shown.color,
            "background": self.scene.background,
            "motion": shown.motion,
        }


def plan_prompts(count: int, seed: int, held_out_share: float = HELD_OUT_SHARE) -> list[Prompt]:
    """`count` prompts in random order, each word of a split about equally often; the same for the same seed."""
    if count < 1:
        raise ValueError(f"plan_prompts: the number of prompts must be at least 1; got {count}.")
    rng = np.random.default_rng(seed)
    held_out = round(count * held_out_share)
    prompts = [
        Prompt(canonical_caption(scene).text, scene, split)
        for split, share in (("trained", count - held_out), ("held_out", held_out))
        for scene in (make_scene(*words, rng) for words in balanced_words(SPLITS[split], share, rng))
    ]
    return [prompts[i] for i in rng.permutation(len(prompts))]


def balanced_words(combinations, count: int, rng: np.random.Generator) -> list[tuple[str, str, str, str]]:
    """`count` choices of (shape, color, motion, background): always one whose words have been seldomest so far.

    No combination comes a second time before all have come once.
    """
    chosen, used, left, backgrounds = [], Counter(), [], []
    for _ in range(count):
        left = left or list(combinations)
        order = rng.permutation(len(left))
        best = left.pop(min(order, key=lambda k: sum(used[word] ** 2 for word in left[k])))
        used.update(best)
        # Backgrounds come in shuffled rounds: a fixed cycle could fall into step with the words.
        backgrounds = backgrounds or rng.permutation(BACKGROUNDS).tolist()
        chosen.append((*best, backgrounds.pop()))
    return chosen
