"""What a generator is asked to show: seeded one-object prompts, balanced over a cast, motions and backgrounds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..lumiere_core.diffusion.noise import LARGEST_SEED
from ..world.backgrounds import BACKGROUNDS
from ..world.captions import Captioner
from ..world.cast import Cast
from ..world.scene import Scene, combinations, make_scene

SPLITS = {"trained": "train", "held_out": "held_out"}  # the world's names for them
SEED_STRIDE = 3  # a clip draws from the streams seed, seed + 1 and seed + 2: no two share noise
HELD_OUT_SHARE = 0.25  # of the prompts: enough for an interval, though held out is a fourteenth of the combinations


class Prompt(NamedTuple):
    """A canonical caption, background stated; a scene of its words; split: trained or held_out combination."""

    text: str
    scene: Scene
    split: str

    def words(self) -> dict[str, str]:
        """The words a faithful clip must show, by trait."""
        (actor,) = self.scene.actors
        return {"noun": actor.name, "motion": actor.moves, "background": self.scene.background}


def plan_prompts(cast: Cast, count: int, seed: int, held_out_share: float = HELD_OUT_SHARE) -> list[Prompt]:
    """`count` prompts in random order, each word of a split about equally often; the same for the same seed."""
    if count < 1:
        raise ValueError(f"plan_prompts: the number of prompts must be at least 1; got {count}.")
    rng, captioner = np.random.default_rng(seed), Captioner(cast)
    held_out = round(count * held_out_share)
    prompts = [
        Prompt(captioner.canonical(scene).text, scene, split)
        for split, share in (("trained", count - held_out), ("held_out", held_out))
        for scene in (
            make_scene(*words, rng) for words in balanced_words(combinations(cast, SPLITS[split]), share, rng)
        )
    ]
    return [prompts[i] for i in rng.permutation(len(prompts))]


def clip_seed(seed: int, index: int) -> int:
    """The seed of prompt `index`'s clip: `lumiere generate` makes the same one with it."""
    return (seed + SEED_STRIDE * index) % (LARGEST_SEED + 1)


def balanced_words(
    pairs: Sequence[tuple[str, str]], count: int, rng: np.random.Generator
) -> list[tuple[str, str, str]]:
    """`count` choices of (noun, motion, background): always one whose words have been seldomest so far.

    No combination of noun and motion comes a second time before all have come once.
    """
    chosen, used, left, backgrounds = [], Counter(), [], []
    for _ in range(count):
        left = left or list(pairs)
        order = rng.permutation(len(left))
        best = left.pop(min(order, key=lambda k: sum(used[word] ** 2 for word in left[k])))
        used.update(best)
        # Backgrounds come in shuffled rounds: a fixed cycle could fall into step with the words.
        backgrounds = backgrounds or rng.permutation(BACKGROUNDS).tolist()
        chosen.append((*best, backgrounds.pop()))
    return chosen
