"""Which scenes a task's runs are of: those of the seeded prompts, a quarter of them combinations never trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ...world.captions import Captioner
from ...world.cast import Cast
from ...world.motions import TURNING
from ...world.scene import is_held_out, pick
from ..prompts import Prompt, clip_seed, plan_prompts
from .task import Run


def any_prompt(prompt: Prompt) -> bool:
    return True


def plan_same(cast: Cast, count: int, seed: int, accepts: Callable[[Prompt], bool] = any_prompt) -> list[Run]:
    """Runs that ask for what is given."""
    prompts = choose_prompts(cast, count, seed, accepts)
    return [Run(i, clip_seed(seed, i), prompt.scene, prompt) for i, prompt in enumerate(prompts)]


def plan_changed(cast: Cast, count: int, seed: int, accepts: Callable[[Prompt], bool] = any_prompt) -> list[Run]:
    """Runs that ask for another noun, moving as the given one."""
    runs = plan_same(cast, count, seed, accepts)
    return [run._replace(asked=changed(cast, run.asked, np.random.default_rng([seed, run.index]))) for run in runs]


def choose_prompts(cast: Cast, count: int, seed: int, accepts: Callable[[Prompt], bool]) -> list[Prompt]:
    """`count` acceptable prompts, out of as many more as that takes."""
    planned = count
    while True:
        chosen = [prompt for prompt in plan_prompts(cast, planned, seed) if accepts(prompt)]
        if len(chosen) >= count:
            return chosen[:count]
        planned *= 2


def changed(cast: Cast, prompt: Prompt, rng: np.random.Generator) -> Prompt:
    """A prompt for another noun; size, place, motion and background stay, and the split where that can be.

    Raises ValueError for a cast without another noun.
    """
    (actor,) = prompt.scene.actors
    nouns = [
        member.name
        for member in cast.members
        if member.name != actor.name and (actor.moves not in TURNING or member.shows_turns)
    ]
    if not nouns:
        raise ValueError(f"cast {cast.name!r}: to ask for another noun than {actor.name!r} there must be another.")
    alike = [noun for noun in nouns if split_of(cast, noun, actor.moves) == prompt.split]
    noun = pick(rng, alike or nouns)
    scene = replace(prompt.scene, actors=(replace(actor, name=noun),))
    return Prompt(Captioner(cast).canonical(scene).text, scene, split_of(cast, noun, actor.moves))


def split_of(cast: Cast, noun: str, motion: str) -> str:
    return "held_out" if is_held_out(cast, noun, motion) else "trained"
