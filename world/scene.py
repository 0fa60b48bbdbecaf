"""What happens in a clip: one or two objects of a cast, each with a motion, on a background; nothing of pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .backgrounds import GROUP_WEIGHTS, GROUPS, KNOBS
from .cast import Cast
from .motions import MOTIONS, PACES, TURNING, Motion, draw_motion, has_pace

SPLITS = ("train", "held_out", "all")
HELD_OUT_STEP, HELD_OUT_MOTION = 5, 3
# Half the side of a lone object's picture: of what stays in its place, of what changes its size (at its largest), and
# of what moves about; then of each of two. Our choices (unpublished).
PLACED_RADIUS, RESIZING_RADIUS, MOVING_RADIUS, PAIR_RADIUS = (0.24, 0.34), (0.28, 0.38), (0.22, 0.27), (0.15, 0.2)
RADIUS = {
    "staying still": PLACED_RADIUS,
    "spinning": PLACED_RADIUS,
    "shaking": PLACED_RADIUS,
    "growing": RESIZING_RADIUS,
    "shrinking": RESIZING_RADIUS,
}
PAIR_HALVES = ((0.0, 0.5), (0.5, 1.0))


@dataclass(frozen=True)
class Actor:
    """One object: a name of the cast, how it moves, and the pace that a caption may state (of PACES)."""

    name: str
    motion: Motion
    pace: str = "normal"

    @property
    def moves(self) -> str:
        return self.motion.kind


@dataclass(frozen=True)
class Scene:
    """One or two objects, the first drawn first, on a background of BACKGROUNDS varied by `knobs`."""

    actors: tuple[Actor, ...]
    background: str
    knobs: tuple[float, ...] = (0.5,) * KNOBS


def is_held_out(cast: Cast, name: str, motion: str) -> bool:
    """Whether training never shows this object move like this: a Latin square, one motion for each object."""
    return (HELD_OUT_STEP * cast.index(name) + list(MOTIONS).index(motion)) % len(MOTIONS) == HELD_OUT_MOTION


def combinations(cast: Cast, split: str = "train") -> list[tuple[str, str]]:
    """All (name, motion) of a split: "train", "held_out" or "all". Round things do not spin: nobody could tell."""
    if split not in SPLITS:
        raise ValueError(f"combinations: split must be one of {', '.join(SPLITS)}; got {split!r}.")
    return [
        (member.name, motion)
        for member in cast.members
        for motion in MOTIONS
        if (motion not in TURNING or member.shows_turns)
        and split in ("all", "held_out" if is_held_out(cast, member.name, motion) else "train")
    ]


class SceneSampler:
    """Random scenes of a cast. motions: how many times as often as others a motion is drawn."""

    def __init__(
        self, cast: Cast, split: str = "train", two_objects: float = 0.1, motions: Mapping[str, float] | None = None
    ):
        self.pairs = combinations(cast, split)
        self.two_objects = two_objects if len({name for name, _ in self.pairs}) > 1 else 0.0
        weights = np.array([(motions or {}).get(motion, 1.0) for _, motion in self.pairs])
        self.cumulative = np.cumsum(weights / weights.sum())

    def __call__(self, rng: np.random.Generator) -> Scene:
        first = self._pair(rng)
        if rng.random() >= self.two_objects:
            return make_scene(*first, draw_background_name(rng), rng)
        second = self._pair(rng)
        while second[0] == first[0]:
            second = self._pair(rng)
        return make_two(first, second, draw_background_name(rng), rng)

    def _pair(self, rng: np.random.Generator) -> tuple[str, str]:
        return self.pairs[min(int(np.searchsorted(self.cumulative, rng.random())), len(self.pairs) - 1)]


def make_scene(name: str, motion: str, background: str, rng: np.random.Generator, pace: str | None = None) -> Scene:
    """One object with a random size, course and, unless given, pace."""
    radius = rng.uniform(*RADIUS.get(motion, MOVING_RADIUS))
    return Scene((make_actor(name, motion, radius, rng, pace),), background, draw_knobs(rng))


def make_two(first: tuple[str, str], second: tuple[str, str], background: str, rng: np.random.Generator) -> Scene:
    """Two small objects side by side, in either order."""
    halves = PAIR_HALVES if rng.random() < 0.5 else PAIR_HALVES[::-1]
    actors = [
        make_actor(*words, rng.uniform(*PAIR_RADIUS), rng, within=half)
        for words, half in zip((first, second), halves, strict=True)
    ]
    return Scene(tuple(actors), background, draw_knobs(rng))


def make_actor(
    name: str, motion: str, radius: float, rng: np.random.Generator, pace: str | None = None, within=(0.0, 1.0)
) -> Actor:
    if motion not in MOTIONS:
        raise ValueError(f"make_actor: motion must be one of {', '.join(MOTIONS)}; got {motion!r}.")
    if pace is None:
        pace = PACES[int(rng.choice(3, p=(0.6, 0.2, 0.2)))] if has_pace(motion) else "normal"
    return Actor(name, draw_motion(motion, pace, radius, rng, within), pace)


def draw_background_name(rng: np.random.Generator) -> str:
    return pick(rng, GROUPS[int(rng.choice(len(GROUPS), p=GROUP_WEIGHTS))])


def draw_knobs(rng: np.random.Generator) -> tuple[float, ...]:
    return tuple(rng.random(KNOBS).tolist())


def pick(rng: np.random.Generator, choices):
    """One of a sequence, evenly; many times faster than rng.choice on a short tuple."""
    return choices[int(rng.integers(len(choices)))]
